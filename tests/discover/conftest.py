"""Shell. A Kubernetes API server for one test, and a kubeconfig that leads to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kubernetes import ApiServer
from tests.support.kubernetes_side import kubeconfig


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """A server, serving. It has ended, with all its threads, when the test has."""
    with ApiServer() as server:
        yield server


@pytest.fixture
def config(api: ApiServer, tmp_path: Path) -> Path:
    """A kubeconfig that leads to it."""
    return kubeconfig(tmp_path / "config", api.url)
