"""Shell. What the tests of sk_msg share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.intercept import cgroup
from tests.bpf.fixtures import cache

__all__ = ["cache", "group"]


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup in which nobody is."""
    made = cgroup.create("trial-test")
    yield made
    assert cgroup.remove(made)
