"""World. What a service manager hears, on a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.notify import notify


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@meshtrio-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(name.replace("@", "\0"))
        made.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield made


def test_the_manager_hears_each_state(manager: socket.socket) -> None:
    notify("READY=1")
    notify("STOPPING=1\nSTATUS=draining")
    assert manager.recv(100) == b"READY=1"
    assert manager.recv(100) == b"STOPPING=1\nSTATUS=draining"


@pytest.mark.parametrize("address", ["", "/nonexistent/notify", "/" + "x" * 200, "@"])
def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
