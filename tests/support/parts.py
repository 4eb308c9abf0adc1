"""Shell. How a run in several processes is divided. Needs pytest-xdist, and is imported only where it runs.

Tests of the kernel and of the world would meet each other in this machine. Those whose meshes stand in
namespaces of their own are one part; those that use the machine's own, with its ports, are another.
`meshtrio cleanup` takes orphans and empty cgroups from everybody; its tests are with those that make most of
them. All other files go where there is room, each whole, for its tests share a mesh.
"""

import functools
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

APART, AT_HOME = "in namespaces of their own", "in the machine's namespace"
OF_APART = (
    "tests/e2e/", "tests/integrity/", "tests/programs/",
    "tests/cli/test_cleanup.py", "tests/intercept/test_kernel_pins.py", "tests/intercept/test_nft_life.py",
)  # fmt: skip
MARKS = ("pytest.mark.kernel", "pytest.mark.world")


class ByRing(LoadFileScheduling):  # type: ignore[misc]
    """Gives out files as they were collected, and those of the outer rings as two parts."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        if not is_outer(Path(self.config.rootpath, file)):
            return file
        return APART if file.startswith(OF_APART) else AT_HOME


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
