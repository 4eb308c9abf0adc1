"""Core. What a rule looks at and does, in nf_tables expressions as plain values. Does not know rules or
netlink.

An expression is its name and its attributes without the NFTA_ prefix; numbers are those of
linux/netfilter/nf_tables.h. Each function returns expressions that load register one and compare it: if
the comparison fails, the rule ends there.
"""

import sys

from meshtrio.intercept import marks

Expression = tuple[str, dict[str, int | bytes | str]]

ACCEPT, GOTO = 1, -4
"""Verdicts. In a nat chain ACCEPT ends only the base chain it is in (see nft_rules.py)."""

# REG32_00 and the next ones are four bytes each; a key longer than that runs on into them.
_REG, _AFTER_V4, _AFTER_V6 = 8, 9, 12
_V4, _V6 = 2, 10
_RTN_LOCAL = 2


def mark(ours: int, *, equal: bool = True) -> tuple[Expression, ...]:
    """Match packets whose mark is ours under the mask, or all others."""
    return (
        ("meta", {"DREG": _REG, "KEY": 3}),
        _masked(_host(marks.MASK, 4)),
        _compare(_host(ours, 4), equal=equal),
    )


def tcp() -> tuple[Expression, ...]:
    """Match TCP."""
    return (("meta", {"DREG": _REG, "KEY": 16}), _compare(b"\x06"))


def asks_names(protocol: int) -> tuple[Expression, ...]:
    """Match TCP (6) or UDP (17) to port 53."""
    return (
        ("meta", {"DREG": _REG, "KEY": 16}),
        _compare(bytes([protocol])),
        _load_port(_REG),
        _compare(b"\x00\x35"),
    )


def in_cgroup(level: int, identity: int) -> tuple[Expression, ...]:
    """Match packets of sockets that were made in this cgroup or below it. Since 5.13."""
    return (("socket", {"DREG": _REG, "KEY": 3, "LEVEL": level}), _compare(_host(identity, 8)))


def to_network(network: bytes, mask: bytes) -> tuple[Expression, ...]:
    """Match a destination network, of the family that the length says."""
    family = _V4 if len(network) == 4 else _V6
    nfproto: Expression = ("meta", {"DREG": _REG, "KEY": 15})
    return (
        nfproto,
        _compare(bytes([family])),
        _load_destination(len(network)),
        _masked(mask),
        _compare(network),
    )


def to_this_host(*, equal: bool = True) -> tuple[Expression, ...]:
    """Match destinations that are addresses of this network namespace, or all others."""
    return (("fib", {"DREG": _REG, "RESULT": 3, "FLAGS": 2}), _compare(_host(_RTN_LOCAL, 4), equal=equal))


def port_in(set_name: str) -> tuple[Expression, ...]:
    """Match TCP to a port of the set."""
    return (*tcp(), _load_port(_REG), _lookup(set_name, invert=False))


def loopback_not_in(set_name: str, *, v6: bool) -> tuple[Expression, ...]:
    """Match TCP to loopback, unless address and port are in the set."""
    network, mask = (bytes(15) + b"\x01", b"\xff" * 16) if v6 else (b"\x7f\0\0\0", b"\xff\0\0\0")
    key = (_load_destination(len(network)), _load_port(_AFTER_V6 if v6 else _AFTER_V4))
    return (*tcp(), *to_network(network, mask), *key, _lookup(set_name, invert=True))


def counter() -> Expression:
    """Count what came so far."""
    return ("counter", {})


def verdict(code: int, chain: str = "") -> tuple[Expression, ...]:
    """End the rule with a verdict."""
    return (("immediate", {"DREG": 0, "VERDICT": code, "CHAIN": chain}),)


def redirect(port: int) -> tuple[Expression, ...]:
    """Send the connection to a port of this host: in output to 127.0.0.1 or ::1."""
    return (_port_value(port), ("redir", {"REG_PROTO_MIN": _REG}))


def dnat_port(port: int) -> tuple[Expression, ...]:
    """Send the connection to another port of the address that it has."""
    return (_port_value(port), ("nat", {"TYPE": 1, "FAMILY": 1, "REG_PROTO_MIN": _REG}))


def tracked() -> tuple[Expression, ...]:
    """Match everything; while such a rule exists, conntrack works in this network namespace."""
    return (("ct", {"DREG": _REG, "KEY": 0}),)


def untracked() -> tuple[Expression, ...]:
    """Keep the packet out of conntrack."""
    return (("notrack", {}),)


def to_zone(number: int) -> tuple[Expression, ...]:
    """Look up what goes this way in a conntrack zone of its own, and its answers where all are."""
    value: Expression = ("immediate", {"DREG": _REG, "DATA": _host(number, 2)})
    return (value, ("ct", {"SREG": _REG, "KEY": 17, "DIRECTION": 0}))


def _host(value: int, size: int) -> bytes:
    # Marks, cgroup ids and routing types are compared as they lie in memory.
    return value.to_bytes(size, sys.byteorder)


def _load_destination(size: int) -> Expression:
    return ("payload", {"DREG": _REG, "BASE": 1, "OFFSET": 16 if size == 4 else 24, "LEN": size})


def _load_port(register: int) -> Expression:
    return ("payload", {"DREG": register, "BASE": 2, "OFFSET": 2, "LEN": 2})


def _port_value(port: int) -> Expression:
    return ("immediate", {"DREG": _REG, "DATA": port.to_bytes(2, "big")})


def _lookup(set_name: str, *, invert: bool) -> Expression:
    return ("lookup", {"SET": set_name, "SREG": _REG, "FLAGS": int(invert)})


def _masked(mask: bytes) -> Expression:
    return ("bitwise", {"SREG": _REG, "DREG": _REG, "LEN": len(mask), "MASK": mask, "XOR": bytes(len(mask))})


def _compare(data: bytes, *, equal: bool = True) -> Expression:
    return ("cmp", {"SREG": _REG, "OP": 0 if equal else 1, "DATA": data})
