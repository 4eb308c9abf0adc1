"""The command becomes the agent without having imported one."""

import subprocess
import sys


def test_who_begins_an_agent_does_not_pay_for_one_twice() -> None:
    code = "import sys, meshtrio.cli.main, meshtrio.agent_start as s; sys.exit('trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_the_command_knows_reaches_the_agent() -> None:
    """By its own words: a file that is not there is named, with the code of a bad configuration."""
    code = "import meshtrio.agent_start as s; s.begin('/no/such.yaml', {'workers': 'many'})"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "/no/such.yaml" in done.stderr
