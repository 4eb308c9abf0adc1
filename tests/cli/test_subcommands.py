"""Which subcommands there are, and that one alone is imported."""

import subprocess
import sys

import click
import pytest

from meshtrio.cli.subcommands import NAMES, Subcommands


def test_each_name_is_a_command_of_that_name() -> None:
    known = Subcommands()
    assert list(known) == list(NAMES)
    assert {name: command.name for name, command in known.items()} == {name: name for name in NAMES}
    with pytest.raises(KeyError):
        known["status2"]


def test_one_can_add_and_take_away() -> None:
    known = Subcommands()
    known["more"] = made = click.Command("more")
    assert (known["more"], "more" in known, len(known)) == (made, True, len(NAMES) + 1)
    del known["more"]
    assert list(known) == list(NAMES)


def test_who_asks_for_one_does_not_pay_for_all() -> None:
    code = (
        "import sys\nfrom meshtrio.cli.main import main\n"
        "try: main(['status', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('meshtrio.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "'meshtrio.cli.status'" in done.stderr
    for absent in ("meshtrio.cli.exec", "meshtrio.cli.certs", "meshtrio.config.schema"):
        assert f"'{absent}'" not in done.stderr
