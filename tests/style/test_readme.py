"""The README's examples: what it shows of configuration and commands is there."""

import re

import click
import pytest

from meshtrio.catalog.document import read_services
from meshtrio.cli.main import main
from meshtrio.config.load import load
from tests.support.tree import TREE

TEXT = (TREE / "README.md").read_text()
YAML = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
CALLS = sorted(set(re.findall(r"\bmeshtrio((?: [a-z]+)+)", "\n".join(re.findall(r"`[^`\n]+`", TEXT)))))


def test_there_are_examples() -> None:
    assert len(YAML) > 5
    assert " endpoints orders" in CALLS


@pytest.mark.parametrize("text", YAML)
def test_each_configuration_can_be_read(text: str) -> None:
    load(text, {}, {})


def test_the_services_can_be_read() -> None:
    (text,) = re.findall(r"^cat > services.yaml <<'EOF'\n(.*?)^EOF", TEXT, re.MULTILINE | re.DOTALL)
    (web,) = read_services(text)
    assert web.vips == () and f"http://{web.name}.mesh/" in TEXT


@pytest.mark.parametrize("words", CALLS)
def test_each_command_is_there(words: str) -> None:
    command: click.Command = main
    for word in words.split():
        if not isinstance(command, click.Group):
            return  # an argument
        assert word in command.commands, f"meshtrio{words}"
        command = command.commands[word]


@pytest.mark.parametrize("name", ["services", "endpoints", "discovery"])
def test_each_flag_of_the_table_is_there(name: str) -> None:
    (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `meshtrio {name}")]
    known = {option for parameter in main.commands[name].params for option in parameter.opts}
    assert {*re.findall(r"--[a-z]+", row), "--watch", "--json"} <= known
