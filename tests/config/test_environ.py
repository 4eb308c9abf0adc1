"""The environment and the file, as they really are."""

import socket
from pathlib import Path

import pytest

from meshtrio.config import environ
from meshtrio.config.environ import config_path, configured, environment, named, read_text
from meshtrio.config.fault import Faults
from meshtrio.config.load import ConfigFaults
from meshtrio.config.schema import Config


@pytest.fixture(autouse=True)
def _no_variables_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in environment():
        monkeypatch.delenv(name)
    monkeypatch.setattr(environ, "DEFAULT_PATH", str(tmp_path / "default.yaml"))


def test_only_our_variables_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHTRIO_WORKERS", "2")
    assert environment() == {"MESHTRIO_WORKERS": "2"}


def test_file_environment_and_flags_come_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "meshtrio.yaml"
    path.write_text("node: one\nworkers: 1\nrung: nft\n")
    monkeypatch.setenv("MESHTRIO_WORKERS", "2")
    config = configured(str(path), {"rung": "ebpf"})
    assert (config.node, config.workers, config.rung) == ("one", 2, "ebpf")


def test_a_node_without_a_name_is_called_as_its_host() -> None:
    assert configured(None, {}).node == socket.gethostname()
    assert named(Config(node="x")).node == "x"


def test_the_file_is_the_one_named_or_that_of_the_variable_or_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert config_path() is None
    default = tmp_path / "default.yaml"
    default.write_text("")
    assert config_path() == str(default)
    monkeypatch.setenv("MESHTRIO_CONFIG", "/by/variable")
    assert config_path() == "/by/variable"
    assert config_path("/by/name") == "/by/name"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"#" * 101, "is larger than 100 bytes"),
        (b"a: 1\nb: \xff\n", "is not UTF-8: byte 0xff [line 2]"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_fault(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Faults) as caught:
        read_text(str(path), 100)
    assert [str(fault) for fault in caught.value.faults] == [f"{path} {says}"]


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match="cannot be read"):
        configured(str(tmp_path), {})


def test_the_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("ä" * 50)
    assert read_text(str(path), 100) == "ä" * 50
