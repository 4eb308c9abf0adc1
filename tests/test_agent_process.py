"""World. The agent as a process of its own: how it begins, what it says when it cannot, how it ends."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from meshtrio.agent_start import Start

pytestmark = pytest.mark.world


def settings(folder: Path, **changes: object) -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        admin = probe.getsockname()[1]
    path = folder / "meshtrio.yaml"
    wanted: dict[str, object] = {
        "rung": "nft",
        "workers": 1,
        "paths": {"control": str(folder / "control.sock"), "cache": str(folder)},
        "ports": {"admin": admin},
    }
    path.write_text(yaml.safe_dump(wanted | changes))
    return str(path)


def process(start: Start) -> "subprocess.Popen[str]":
    words = json.dumps({"config_path": start.config_path, "flags": start.flags})
    return subprocess.Popen(
        [sys.executable, "-m", "meshtrio.agent_process", words], stderr=subprocess.PIPE, text=True
    )


def test_it_lives_until_sigterm_and_ends_with_zero(tmp_path: Path) -> None:
    with process(Start(settings(tmp_path), {"log.format": "text"})) as one:
        until = time.monotonic() + 15
        while not (tmp_path / "control.sock").exists() and time.monotonic() < until:
            time.sleep(0.02)
        assert Path(f"/proc/{one.pid}/comm").read_text() == "meshtrio-agent\n"
        assert "click" not in Path(f"/proc/{one.pid}/maps").read_text()
        one.send_signal(signal.SIGTERM)
        _, said = one.communicate(timeout=20)
    assert one.returncode == 0
    assert "draining" in said
    assert not (tmp_path / "control.sock").exists()


def test_a_configuration_that_went_bad_is_told_with_all_its_faults(tmp_path: Path) -> None:
    with process(Start(settings(tmp_path, wrkers=3, passthrough="maybe"), {})) as one:
        _, said = one.communicate(timeout=20)
    assert one.returncode == 2
    assert all(line.startswith("meshtrio: ") for line in said.splitlines())
    assert "wrkers" in said
    assert "passthrough" in said


def test_a_catalog_that_is_not_there_is_no_start(tmp_path: Path) -> None:
    catalog = tmp_path / "services.yaml"
    wanted = settings(tmp_path, catalog={"file": str(catalog)}, identity={"source": "off"})
    with process(Start(wanted, {})) as one:
        _, said = one.communicate(timeout=20)
    assert one.returncode == 2
    assert said.startswith(f"meshtrio: catalog {catalog}: cannot be read: ") and said.count("\n") == 1
    assert not (tmp_path / "control.sock").exists()


def test_what_cannot_begin_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = settings(tmp_path, ports={"admin": taken.getsockname()[1]})
        with process(Start(path, {})) as one:
            _, said = one.communicate(timeout=20)
    assert one.returncode == 1
    assert said.count("\n") == 1
    assert "admin port" in said
