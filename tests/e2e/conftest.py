"""Shell. What whole-mesh tests share: each test once a rung, and one cache of compiled programs."""

import shutil
from collections.abc import Iterator

import pytest

from tests.support.mesh import CACHE

RUNGS = ("ebpf", "nft")


@pytest.fixture(scope="module", params=RUNGS)
def rung(request: pytest.FixtureRequest) -> str:
    """The rung on which this test's mesh stands."""
    found: str = request.param
    return found


@pytest.fixture(scope="session", autouse=True)
def cache() -> Iterator[None]:
    """Compile once a run."""
    yield
    shutil.rmtree(CACHE, ignore_errors=True)
