"""Core. What clients do in slots, and how fast that should be with a mesh beside."""

from collections.abc import Mapping
from typing import NamedTuple

USUAL_PORTS = {"ip_local_port_range": "32768 60999", "tcp_tw_reuse_delay": "1000"}
"""As the kernel has them. At such rates most are those of the last second, in TIME_WAIT, and to find another
is much of what a connection takes. The second is there since Linux 6.14."""
MANY_PORTS = {"ip_local_port_range": "1024 65535", "tcp_tw_reuse_delay": "1"}
"""So that one is found at once, and what a mesh adds is a larger part of all."""


class Load(NamedTuple):
    """One thing that clients do."""

    title: str
    words: tuple[str, str]
    """As slots.c wants them."""
    operation: str
    goal: float
    """How many times the unmeshed rate it should be."""
    slot_ms: int = 20
    scale: float = 1
    """So many of what slots.c counts are an operation."""
    ports: Mapping[str, str] = MANY_PORTS


LOADS = {
    "connect": Load("connect, first byte, close: one at a time", ("connect", "1"), "connection", 0.95),
    "connect-16": Load("connect, first byte, close: 16 at a time", ("connect", "16"), "connection", 0.95),
    "connect-usual": Load(
        *(
            "connect, first byte, close: one at a time, the kernel's ports",
            ("connect", "1"),
            "connection",
            0.95,
        ),
        ports=USUAL_PORTS,
    ),
    "connect-usual-16": Load(
        *(
            "connect, first byte, close: 16 at a time, the kernel's ports",
            ("connect", "16"),
            "connection",
            0.95,
        ),
        ports=USUAL_PORTS,
    ),
    "roundtrip-1": Load("1 byte there and back", ("roundtrip", "1"), "round trip", 0.99),
    "roundtrip-1024": Load("1 KiB there and back", ("roundtrip", "1024"), "round trip", 0.99),
    "roundtrip-65536": Load("64 KiB there and back", ("roundtrip", "65536"), "round trip", 0.99),
    "bulk-up": Load("bulk, client to server", ("up", "0"), "MB", 0.99, 50, 1e6),
    "bulk-down": Load("bulk, server to client", ("down", "0"), "MB", 0.99, 50, 1e6),
}
GRANTED_GOALS = {"bulk-up": 1.5, "bulk-down": 1.5}
"""Where more is wanted of granted connections than of direct ones."""
