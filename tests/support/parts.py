"""Shell. How a run in several processes is divided. Needs pytest-xdist, and is imported only where it runs.

Tests of the kernel and of the world that use the machine's own namespace, with its ports, would meet each
other; their files are one part. All other files go where there is room, each whole, for its tests share a
mesh: those whose meshes stand in namespaces of their own first, for they take longest. They meet nobody:
cgroups, pins and workloads carry the process id of who tests, and `meshtrio cleanup`, which takes orphans
and empty cgroups from everybody, is tested in a box. Nor do meshes of `meshtrio exec`, whose doors have ports
that the kernel chose. Demos may stand beside all others, but not beside each other, for each looks whether
one has left pins; so they are one part, too.
"""

import contextlib
import functools
import importlib
import warnings
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

AT_HOME = "in the machine's namespace"
DEMO = "the demo"
OF_DEMO = ("tests/cli/test_demo.py", "tests/cli/test_stage.py", "tests/cli/test_wire_scenes.py")
OF_APART = (
    "tests/e2e/", "tests/integrity/", "tests/programs/", "tests/style/",
    "tests/cli/test_cleanup.py", "tests/cli/test_exec.py", "tests/discover/test_kubernetes_partition.py",
    "tests/intercept/test_kernel_pins.py", "tests/intercept/test_nft_life.py",
)  # fmt: skip
MARKS = ("pytest.mark.kernel", "pytest.mark.world")


class ByRing(LoadFileScheduling):  # type: ignore[misc]
    """Gives out files as they were collected, but as one those of the outer rings at home, and the demo's."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        if file in OF_DEMO:
            return DEMO
        at_home = not file.startswith(OF_APART) and is_outer(Path(self.config.rootpath, file))
        return AT_HOME if at_home else file


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


def import_share(config: pytest.Config) -> None:
    """Import this part's share of all test files, if all are to run.

    To rewrite their assertions takes longer than all the rest of the collection. What one part has rewritten
    is bytecode on disk when the others come to it. A file that cannot be imported says so when collected.
    """
    if [config.rootpath / name for name in config.args] != [config.rootpath / "tests"]:
        return
    of_part: dict[str, object] = config.workerinput  # type: ignore[attr-defined]
    part, parts = int(str(of_part["workerid"]).removeprefix("gw")), int(str(of_part["workercount"]))
    for file in sorted((config.rootpath / "tests").rglob("test_*.py"))[part::parts]:
        with contextlib.suppress(Exception, pytest.skip.Exception), warnings.catch_warnings():
            warnings.simplefilter("error")
            importlib.import_module(".".join(file.relative_to(config.rootpath).with_suffix("").parts))
