"""Flags that several commands have."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from meshtrio.cli.complaint import Code, Complaint
from meshtrio.cli.options import absolute, configured, control_path, set_option


@click.command()
@set_option
def command(settings: tuple[tuple[str, str], ...]) -> None:
    click.echo(repr(settings))


def test_settings_are_split_at_the_first_equals_sign() -> None:
    done = CliRunner().invoke(command, ["--set", "a.b=c=d", "--set", "e="])
    assert done.output == "(('a.b', 'c=d'), ('e', ''))\n"


@pytest.mark.parametrize("given", ["a.b", "=c"])
def test_what_is_no_setting_is_refused(given: str) -> None:
    done = CliRunner().invoke(command, ["--set", given])
    assert done.exit_code == 2
    assert "is not section.key=value" in done.stderr


def test_faults_are_told_all_at_once_and_end_with_two(tmp_path: Path) -> None:
    path = tmp_path / "meshtrio.yaml"
    path.write_text("workers: many\nnonsense: 1\n")
    with pytest.raises(Complaint) as refused:
        configured(str(path), {})
    assert refused.value.code is Code.USAGE
    said = str(refused.value).splitlines()
    assert said[0] == f"the configuration has 2 faults ({path}, environment and flags):"
    assert any("workers" in line for line in said) and any("nonsense" in line for line in said)
    with pytest.raises(Complaint, match=r"^config: rung is"):
        configured(None, {"rung": "x"})


def test_one_fault_of_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "meshtrio.yaml"
    path.write_text("nonsense: 1\n")
    with pytest.raises(Complaint) as refused:
        configured(str(path), {})
    assert str(refused.value).startswith("config: nonsense is not known")
    assert str(refused.value).endswith(f" [line 1] ({path})")
    path.write_text("workers: 1\n")
    with pytest.raises(Complaint) as refused:
        configured(str(path), {"rung": "x"})
    assert str(path) not in str(refused.value), "the flag is at fault"


def test_the_control_socket_is_the_one_named_or_the_configured_one(tmp_path: Path) -> None:
    path = tmp_path / "meshtrio.yaml"
    path.write_text("paths: {control: /x/y.sock}\n")
    assert control_path("a.sock") == f"{Path.cwd()}/a.sock"
    assert control_path(None, str(path)) == "/x/y.sock"


def test_symbolic_links_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    assert absolute(str(tmp_path / "link")) == str(tmp_path / "link")
