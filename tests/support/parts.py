"""Shell. How a run in several processes is divided. Needs pytest-xdist, and is imported only where it runs.

One process has all files with tests of the kernel and of the world, one after the other: in this machine's
namespaces they would meet each other. A file stays in one process anyway, for its tests share a mesh.
"""

import functools
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

OUTER = "the outer rings"
MARKS = ("pytest.mark.kernel", "pytest.mark.world")


class ByRing(LoadFileScheduling):  # type: ignore[misc]
    """Gives out files in the order in which they were collected, and those of the outer rings as one."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return OUTER if is_outer(Path(self.config.rootpath, file)) else file


@functools.cache
def is_outer(file: Path) -> bool:
    """Say whether a file has tests of the kernel or of the world: whether it names one of those marks.

    Whoever divides the tests knows their names only, not their marks.
    """
    text = file.read_text()
    return any(mark in text for mark in MARKS)


def by_ring(config: pytest.Config, log: Producer) -> ByRing:
    """Divide the tests of this run. Their order is that of the collection (see conftest.py)."""
    config.option.loadscopereorder = False
    return ByRing(config, log)
