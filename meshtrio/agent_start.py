"""Shell. How the command `meshtrio agent` becomes the agent. Does not know what an agent is.

Apart from `agent_process.py`, for the command would else import the whole agent, only to be replaced by a
process that imports it again: half a second of a start.
"""

import os
import signal

import msgspec

from meshtrio import program


class Start(msgspec.Struct, frozen=True):
    """What the command knows: the configuration file that was chosen, and the flags over it."""

    config_path: str
    flags: dict[str, object]


def begin(config_path: str, flags: dict[str, object]) -> None:
    """Become the agent: same process, another program. Does not return."""
    # It would end an agent that does not listen for signals yet, and whoever reloads does not want that.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    start = msgspec.json.encode(Start(config_path, flags)).decode()
    # Without the columns of each instruction, which only draw carets below traces: 0.4 MB less.
    frugal = ("-X", "no_debug_ranges")
    words = program.command("meshtrio.agent_process", start, options=frugal)
    os.execv(words[0], words)
