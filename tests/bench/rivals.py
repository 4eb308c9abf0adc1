"""Core. Who is compared with whom: peers with as many hops. Does not know what was measured."""

BASES = {1: ("unmeshed", "haproxy"), 2: ("unmeshed-wire", "haproxy-mtls")}
"""By hops: nothing in between, and HAProxy."""


def hops_of(peer: str) -> int:
    """Say how many proxies stand between load and servers, by the peer's name."""
    return 2 if peer.endswith(("-wire", "-mtls")) else 1


def is_nothing(peer: str) -> bool:
    """Say whether nobody stands between load and servers."""
    return any(peer == nothing for nothing, _ in BASES.values())
