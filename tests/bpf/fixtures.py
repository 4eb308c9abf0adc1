"""Shell. Fixtures of the tests that load our programs, for conftest.py of tests/bpf and tests/intercept."""

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from meshtrio.intercept.kernel import Kernel, open_kernel
from tests.bpf.pod import Pod, pod_in
from tests.support import native
from tests.support.namespace import Namespace


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The decisions, built for this machine."""
    return native.build(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One compile cache a session, so that the text is compiled once."""
    folder = tmp_path_factory.getbasetemp() / "bpf-cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def kernel(cache: Path) -> Iterator[Kernel]:
    """Our maps and programs, held: they go with the session."""
    loaded = trio.run(open_kernel, None, cache)
    yield loaded
    loaded.close()


@pytest.fixture
def pod(kernel: Kernel) -> Iterator[Pod]:
    """A workload in a namespace and a cgroup of its own, described to the hooks, with a fresh heartbeat."""
    with Namespace() as space, pod_in(kernel, space) as made:
        yield made


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    """A file system for pins that nobody else sees."""
    folder = tmp_path / "bpffs"
    folder.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(folder)], check=True)
    ours = folder / "ours"  # beside the files that the kernel puts into each bpffs
    ours.mkdir()
    yield ours
    subprocess.run(["umount", str(folder)], check=True)
