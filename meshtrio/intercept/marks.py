"""Core. The socket marks (SO_MARK) by which the kernel knows our own dials. Does not know about sockets.

A mark has 32 bits and is shared with everybody on the machine (VPNs, CNI plugins, policy routing), so we own
the upper 24 bits of two values only and always compare under `MASK`; the lowest byte is left to the user.
"""

MASK = 0xFFFF_FF00
"""The bits that we compare. 0x4d54 is "MT"."""

OUTBOUND_DIAL = 0x4D54_0100
"""The worker dials an endpoint: never caught as outbound, but by the inbound side of another workload."""

APP_DIAL = 0x4D54_0200
"""The worker dials the application behind an inbound door: caught by nobody."""

ZONE = 0x4D54
"""The conntrack zone of what our resolver asks."""

USER_BITS = 0xFFFF_FFFF & ~MASK
"""The bits that stay the user's."""


def marked(ours: int, user: int = 0) -> int:
    """Return the mark to set on a socket: one of ours, with the user's own low bits kept."""
    return ours | (user & USER_BITS)


def is_ours(mark: int) -> bool:
    """Say whether a socket with this mark was dialled by one of our workers."""
    return mark & MASK in (OUTBOUND_DIAL, APP_DIAL)
