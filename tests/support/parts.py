"""Shell. How a run in several processes is divided. Needs pytest-xdist, and is imported only where it runs.

A file stays in one process, for its tests share a mesh. So does a folder whose tests use fixed ports in the
machine's own network namespace.
"""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

TOGETHER = ("tests/bpf/", "tests/intercept/")


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """Gives out files in the order in which they were collected, and some folders as if they were a file."""

    def _split_scope(self, nodeid: str) -> str:
        folder = next((folder for folder in TOGETHER if nodeid.startswith(folder)), None)
        return folder or super()._split_scope(nodeid)


def by_file(config: pytest.Config, log: Producer) -> ByFile:
    """Divide the tests of this run. Their order is that of the collection (see conftest.py)."""
    config.option.loadscopereorder = False
    return ByFile(config, log)
