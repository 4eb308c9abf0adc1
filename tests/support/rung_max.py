"""Shell. A test run in which no connection may go beyond one rung of acceleration, and all bulk is there.

Agents and workers that tests start get it by their environment. Relays in this process get it here: below r2
they get no pipe, and with r2 a direction is spliced from its second turn on, however little it moves.
"""

import os
from typing import Any

from msgspec.structs import replace

from meshtrio.accelerate.ladder import RUNGS, SPLICE, allows
from meshtrio.config.kinds import RungMax
from meshtrio.forward.pipes import Pipes
from meshtrio.forward.relay import Relay
from meshtrio.forward.workbench import RelayLimits

_put: Any = setattr
VARIABLE = "MESHTRIO_RUNG_MAX"
FREE = "free"
"""What a test needs that bounds acceleration itself."""


def force(rung_max: RungMax) -> None:
    """Let this hold for the rest of this process, and for all processes that it starts."""
    os.environ[VARIABLE] = rung_max
    begin, allow = Relay.__init__, Pipes.allow

    def begin_eager(relay: Relay, limits: RelayLimits | None = None) -> None:
        begin(relay, replace(limits or RelayLimits(), bulk_bytes=0, pressed_bytes=1))

    def begin_plain(relay: Relay, limits: RelayLimits | None = None) -> None:
        begin(relay, limits)
        relay.allow_splice(allowed=False)

    if allows(rung_max, SPLICE):
        _put(Relay, "__init__", begin_eager)
    else:
        _put(Relay, "__init__", begin_plain)
        _put(Pipes, "allow", lambda pipes, most: allow(pipes, 0))


def why_not(least: Any, rung_max: RungMax | None) -> str:
    """Say why a test that needs this much cannot run, or nothing if it can."""
    if rung_max is None:
        return ""
    if least == FREE or RUNGS.index(rung_max) < RUNGS.index(least):
        return f"needs {least}, and --rung-max is {rung_max}"
    return ""
