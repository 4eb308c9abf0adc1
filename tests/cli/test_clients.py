"""The programs that dial in the demo, and what a machine may lack for them."""

import shutil
from pathlib import Path

import pytest

from meshtrio.cli import clients


def test_curl_goes_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert clients.browser() == "curl"
    assert clients.fetching("fd00::1", 2)[2] == (
        "for i in 0 1; do curl -gsS -m 5 'http://[fd00::1]/' || exit; done"
    )


def test_without_curl_python_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert clients.browser() == "python urllib"
    command = clients.fetching("shop.mesh", 2)
    assert "python" in command[0]
    assert command[-2:] == ["http://shop.mesh/"] * 2


@pytest.mark.parametrize(
    ("hosts", "there", "instead"),
    [
        ("files dns", (), ""),
        ("files dns", ("resolve",), ""),
        ("files resolve [!UNAVAIL=return] dns", ("resolve",), "resolve"),
        ("files resolve dns", (), ""),
        ("files dns", ("nscd",), "nscd"),
    ],
)
def test_names_that_are_not_asked_for_by_dns_are_found_out(
    hosts: str, there: tuple[str, ...], instead: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    switch = tmp_path / "nsswitch.conf"
    switch.write_text(f"# hosts: resolve\npasswd: files\nhosts:          {hosts}\n")
    monkeypatch.setattr(clients, "_NSSWITCH", switch)
    monkeypatch.setattr(clients, "_ASKED_INSTEAD", {name: tmp_path / name for name in clients._ASKED_INSTEAD})
    for name in there:
        (tmp_path / name).touch()
    assert clients.why_no_names() == (
        f"programs ask for names at {tmp_path / instead} here, and not by DNS" if instead else ""
    )


def test_a_machine_without_the_file_asks_by_dns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clients, "_NSSWITCH", tmp_path / "none")
    monkeypatch.setattr(clients, "_ASKED_INSTEAD", {"resolve": tmp_path})
    assert clients.why_no_names() == ""
