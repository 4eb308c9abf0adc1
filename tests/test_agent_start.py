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


def test_a_reload_before_it_listens_does_not_end_it() -> None:
    """The configuration is bad, so that it ends by itself as soon as it has read that."""
    code = """
import os, signal, time, meshtrio.agent_start as s
pid = os.getpid()
signal.signal(signal.SIGHUP, lambda *_: None)
if os.fork() == 0:
    try:
        for _ in range(500):
            os.kill(pid, signal.SIGHUP)
            time.sleep(0.002)
    finally:
        os._exit(0)
s.begin('/no/such.yaml', {})
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
