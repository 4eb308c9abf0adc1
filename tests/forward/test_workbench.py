"""The limits fit together."""

import math
import socket

from meshtrio.forward.workbench import RelayLimits
from tests.forward.peers import pattern

V4, V6 = socket.AF_INET, socket.AF_INET6
SMALL, HUGE = pattern(1000, 1), pattern(40_000_000, 3)


def test_limits_make_sense() -> None:
    assert RelayLimits().pressed_bytes <= RelayLimits().chunk_bytes <= RelayLimits().turn_bytes
    assert math.isfinite(RelayLimits().drain_s)
