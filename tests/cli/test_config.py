"""`meshtrio config`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from meshtrio.cli.main import main
from meshtrio.config import environ
from meshtrio.config.load import load, setting_paths
from meshtrio.config.schema import Config


@pytest.fixture(autouse=True)
def _no_variables_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in environ.environment():
        monkeypatch.delenv(name)
    monkeypatch.setattr(environ, "DEFAULT_PATH", str(tmp_path / "default.yaml"))


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["config", *words], prog_name="meshtrio")


def test_the_default_reads_back_as_the_default() -> None:
    assert load(run("default").output, {}, {}) == Config()


def test_a_good_file_is_ok(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("workers: 2\n")
    assert (run("validate", str(path)).exit_code, run("validate", str(path)).output) == (0, f"{path}: ok\n")
    assert run("validate").output == "no file, so every setting has its default: ok\n"


def test_all_faults_are_told_with_path_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("workers: many\n\ntimeouts: {drain_s: -1}\n")
    done = run("validate", str(path))
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("meshtrio: config: workers ") and lines[0].endswith("[line 1]")
    assert lines[1].startswith("meshtrio: config: timeouts.drain_s ") and lines[1].endswith("[line 3]")
    told = json.loads(run("validate", str(path), "--json").output)
    assert (told["ok"], told["file"]) == (False, str(path))
    assert [fault["path"] for fault in told["faults"]] == ["workers", "timeouts.drain_s"]
    assert run("validate", str(path), "--json").exit_code == 2


def test_the_catalog_that_it_names_is_looked_at_too(tmp_path: Path) -> None:
    path, catalog = tmp_path / "a.yaml", tmp_path / "services.yaml"
    path.write_text(f"catalog: {{file: {catalog}}}\n")
    assert "catalog: " in run("validate", str(path)).stderr  # it is not there
    catalog.write_text("services: [{name: web, ports: [{port: 0}]}]\n")
    done = run("validate", str(path))
    assert done.exit_code == 2
    assert done.stderr.startswith("meshtrio: catalog: services[0].ports[0].port ")
    catalog.write_text("services: []\n")
    assert run("validate", str(path)).output == f"{path}: ok\n{catalog}: ok\n"


@pytest.mark.parametrize("text", [b"\xff", b"a: [", b"- x", b"workers: 1\n---\nworkers: 2\n"])
def test_what_is_no_configuration_is_one_sentence(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(text)
    done = run("validate", str(path))
    assert done.exit_code == 2
    assert done.stderr.startswith("meshtrio: config: ") and done.stderr.count("\n") == 1


def test_a_missing_file_is_told() -> None:
    done = run("validate", "/nowhere/meshtrio.yaml")
    assert done.exit_code == 2
    assert (
        done.stderr == "meshtrio: config: /nowhere/meshtrio.yaml cannot be read: No such file or directory\n"
    )


def test_show_says_where_each_value_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("workers: 2\nlimits:\n  pending: 7\n")
    monkeypatch.setenv("MESHTRIO_LOG__LEVEL", "error")
    done = run("show", "--config", str(path), "--set", "timeouts.drain_s=9", "--json")
    told = json.loads(done.output)
    assert told["file"] == str(path)
    assert tuple(told["settings"]) == setting_paths()
    assert told["settings"]["workers"] == {"value": 2, "origin": "line 1"}
    assert told["settings"]["limits.pending"] == {"value": 7, "origin": "line 3"}
    assert told["settings"]["log.level"] == {"value": "error", "origin": "MESHTRIO_LOG__LEVEL"}
    assert told["settings"]["timeouts.drain_s"] == {"value": 9.0, "origin": "flag"}
    assert told["settings"]["limits.connections"]["origin"] == "default"
    table = run("show", "--config", str(path)).output
    assert f"FROM {path}" in table
    assert "exclude.inbound_ports" in table and "(none)" in table


def test_show_names_what_is_in_a_list_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "health_checks: [{service: orders, headers: {authorization: Bearer sesame}}, {service: shop/db}]\n"
        "discovery: {dns: [{name: db, host: db.example.com, port: 1}]}\n"
    )
    table = run("show", "--config", str(path)).output
    rows = {row[0]: " ".join(row[1:-2]) for row in map(str.split, table.splitlines()) if row}
    assert (rows["health_checks"], rows["discovery.dns"]) == ("orders, shop/db", "db")
    assert "sesame" not in table and "Bearer" not in table


def test_show_refuses_what_an_agent_would_refuse() -> None:
    assert run("show", "--set", "rung=warp").exit_code == 2
