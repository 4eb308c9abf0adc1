"""Shell. What the tests of the CA share."""

from pathlib import Path

import pytest

from tests.support.ca_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
