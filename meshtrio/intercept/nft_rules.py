"""Core. The rules of one workload as plain values. Does not know netlink, pyroute2 or processes.

**One table a workload.** `inet meshtrio_<workload>` holds everything of one workload and nothing of
another. A table is what nf_tables adds, replaces and deletes as a whole, so adding, re-applying or
removing a workload is one transaction that cannot touch its neighbours, and what a dead agent left behind
is found by table name. With one shared table each change would have to find its own rules by handle, two
agents (a node agent and an `exec`) would fight over base chains, and counters could not be told apart.
The price is that a connection passes the base chains of each workload in its network namespace: measured
on a refused connect over loopback, 4 us for the first (most of it conntrack) and 0.35 us for each further
one.

**Separate tables do not shadow each other.** In a nat hook `accept` ends only the chain it stands in; the
kernel goes on with the next table until one has translated the connection, and then stops. So the first
redirect wins, and each end of a connection is caught once if the order is right. Priorities make it so:

    -300  worker         output      the worker's dial to the application is not tracked (if transparent);
                                     our resolver's queries are tracked in a zone of their own
    -110  outbound       output      what the workload dials           -> outbound door, 127.0.0.1 or ::1
                                     TCP and UDP to port 53            -> dns door, likewise
    -105  inbound_local  output      what arrives over loopback        -> inbound door, address kept
    -110  inbound        prerouting  what arrives from elsewhere       -> inbound door, address kept

All nat is before -100, where kube-proxy and Docker stand: a virtual IP must be seen before they replace
it. A process of A that dials B in the same namespace is caught by A's `outbound` (earlier than B's
`inbound_local`), and the dial of A's worker, which carries the outbound mark, by B's `inbound_local`.

**Inbound keeps the address.** `redirect` in prerouting takes the first address of the incoming interface
and drops the packet if there is none (an anycast address on lo). `dnat to :port` changes the port alone,
since 5.9.

**Not tracked.** A transparent dial has the caller's address, so its four-tuple can be that of a
connection that conntrack already translates, and the SYN would come back to our own door. Its answers
carry the same mark (tcp_fwmark_accept), so both directions stay out of conntrack.

**In a zone of their own.** conntrack remembers a datagram's addresses for half a minute, and rules see only
what is new. When the kernel gives a port from which our resolver has asked to a process of the workload, its
query would pass as ours, and the other way round ours would come back to our own door. The zone is that of
the original direction alone, so that answers, which carry no mark, are found.
"""

from collections.abc import Iterator
from typing import NamedTuple

from meshtrio.address import Address
from meshtrio.intercept import marks
from meshtrio.intercept import nft_expression as x
from meshtrio.intercept.layout import DNS_PORT
from meshtrio.intercept.nft_plan import (
    OWNER_TAG,
    CgroupMatch,
    InboundCapture,
    NftPlan,
    OutboundCapture,
    loopback_services,
    networks,
    table_name,
)

_UDP = 17
_NAMES_BY = (("TCP", 6), ("UDP", _UDP))
_PORT_TYPE, _V4_PORT_TYPE, _V6_PORT_TYPE = 13, 7 << 6 | 13, 8 << 6 | 13
"""What the nft command calls inet_service, and its concatenations with an address: for its listings only."""


class Chain(NamedTuple):
    """A chain; `kind` is empty for one that is only jumped to."""

    name: str
    kind: str = ""
    hook: int = 0
    priority: int = 0


class KeySet(NamedTuple):
    """A named set of keys, all of one length."""

    name: str
    key_type: int
    key_bytes: int
    keys: tuple[bytes, ...]


class Rule(NamedTuple):
    """A rule; the tag is its comment in the kernel and its name in the counters."""

    chain: str
    tag: str
    expressions: tuple[x.Expression, ...]


class Ruleset(NamedTuple):
    """The whole table of one workload."""

    table: str
    comment: str
    chains: tuple[Chain, ...]
    sets: tuple[KeySet, ...]
    rules: tuple[Rule, ...]


def ruleset(plan: NftPlan) -> Ruleset:
    """Return the table that a plan without faults asks for."""
    chains: list[Chain] = []
    sets: list[KeySet] = []
    rules: list[Rule] = []
    catches_names = plan.outbound is not None and _catches_names(plan.outbound)
    if plan.transparent or catches_names:
        chains.append(Chain("worker", "filter", hook=3, priority=-300))
    if plan.transparent:
        rules.append(_rule("worker", "not tracked", *x.mark(marks.APP_DIAL), then=x.untracked()))
    if catches_names:
        asks = (*x.mark(marks.OUTBOUND_DIAL), *x.asks_names(_UDP))
        rules.append(_rule("worker", "our query", *asks, then=x.to_zone(marks.ZONE)))
    if plan.outbound is not None:
        chains += [Chain("outbound", "nat", hook=3, priority=-110), Chain("outbound_workload")]
        sets += service_sets(plan.outbound.services)
        sets.append(port_set("outbound_except_ports", plan.outbound.except_ports))
        if catches_names:
            chains.append(Chain("outbound_names"))
        rules += _outbound(plan.outbound, plan.cgroup)
    if plan.inbound is not None:
        chains.append(Chain("inbound", "nat", hook=0, priority=-110))
        chains.append(Chain("inbound_local", "nat", hook=3, priority=-105))
        if plan.inbound.ports is not None:
            sets.append(port_set("ports", plan.inbound.ports))
        doors = (plan.inbound.door, *(() if plan.outbound is None else (plan.outbound.door,)))
        sets.append(port_set("inbound_except_ports", (*plan.inbound.except_ports, *doors)))
        rules += _inbound("inbound", plan.inbound)
        rules += _inbound("inbound_local", plan.inbound)
    comment = f"{OWNER_TAG}{plan.owner}"
    return Ruleset(table_name(plan.workload), comment, tuple(chains), tuple(sets), tuple(rules))


def released(chain: str) -> Rule:
    """Return the rule that stays when a chain shall catch nothing new, but translate what is established.

    The hooks of conntrack, and with them all translation, go with the last rule that needs them, even when
    nat chains are still there (seen on 6.18: established connections stand still at once).
    """
    return _rule(chain, "translating what is established", *x.tracked(), then=())


def port_set(name: str, ports: tuple[int, ...]) -> KeySet:
    """Return a set of ports."""
    return KeySet(name, _PORT_TYPE, 2, tuple(port.to_bytes(2, "big") for port in sorted(set(ports))))


def service_sets(services: tuple[str, ...]) -> tuple[KeySet, KeySet]:
    """Return the sets, by family, of service addresses that are caught although they are on loopback."""
    listed = loopback_services(services)
    return (
        KeySet("services4", _V4_PORT_TYPE, 8, tuple(_key(one) for one in listed if one.is_v4)),
        KeySet("services6", _V6_PORT_TYPE, 20, tuple(_key(one) for one in listed if not one.is_v4)),
    )


def _key(address: Address) -> bytes:
    ip = address.ip[12:] if address.is_v4 else address.ip
    return ip + address.port.to_bytes(2, "big") + bytes(2)  # each part fills whole registers


def _outbound(capture: OutboundCapture, cgroup: CgroupMatch | None) -> Iterator[Rule]:
    base, own = "outbound", "outbound_workload"
    # The loop guard is first: whatever is wrong further down, what we dial ourselves goes out.
    yield _rule(base, "our dial to an endpoint", *x.mark(marks.OUTBOUND_DIAL), then=x.verdict(x.ACCEPT))
    yield _rule(base, "our dial to an application", *x.mark(marks.APP_DIAL), then=x.verdict(x.ACCEPT))
    # A positive match: a packet without a socket must not count as the workload's.
    whose = () if cgroup is None else x.in_cgroup(cgroup.level, cgroup.id)
    if _catches_names(capture):
        for name, protocol in _NAMES_BY:
            asks = (*x.asks_names(protocol), *whose)
            yield _rule(
                base, f"{name} query of the workload", *asks, then=x.verdict(x.GOTO, "outbound_names")
            )
        yield from _names(capture)
    yield _rule(base, "dialled by the workload", *x.tcp(), *whose, then=x.verdict(x.GOTO, own))
    yield _rule(own, "loopback v4", *x.loopback_not_in("services4", v6=False), then=x.verdict(x.ACCEPT))
    yield _rule(own, "loopback v6", *x.loopback_not_in("services6", v6=True), then=x.verdict(x.ACCEPT))
    yield _rule(own, "excluded port", *x.port_in("outbound_except_ports"), then=x.verdict(x.ACCEPT))
    yield from _left_alone(own, capture)
    yield _rule(own, "to the outbound door", *x.tcp(), then=x.redirect(capture.door))


def _catches_names(capture: OutboundCapture) -> bool:
    return capture.dns_door is not None and DNS_PORT not in capture.except_ports


def _names(capture: OutboundCapture) -> Iterator[Rule]:
    """Yield the rules for queries. Loopback is no exception: resolvers are often there."""
    yield from _left_alone("outbound_names", capture)
    assert capture.dns_door is not None
    for name, protocol in _NAMES_BY:
        asks = x.asks_names(protocol)
        yield _rule("outbound_names", f"{name} to the dns door", *asks, then=x.redirect(capture.dns_door))


def _left_alone(chain: str, capture: OutboundCapture) -> Iterator[Rule]:
    # Such a socket is tied to its interface, so it cannot be sent to ::1: redirected, it only times out.
    link_local = x.to_network(b"\xfe\x80" + bytes(14), b"\xff\xc0" + bytes(14))
    yield _rule(chain, "link-local v6", *link_local, then=x.verdict(x.ACCEPT))
    for network in networks(capture.except_cidrs):
        matched = x.to_network(network.network_address.packed, network.netmask.packed)
        yield _rule(chain, f"excluded {network}", *matched, then=x.verdict(x.ACCEPT))


def _inbound(chain: str, capture: InboundCapture) -> Iterator[Rule]:
    if chain == "inbound_local":
        yield _rule(chain, "our dial to an application", *x.mark(marks.APP_DIAL), then=x.verdict(x.ACCEPT))
        if capture.ports is None:
            dialled_elsewhere = x.mark(marks.OUTBOUND_DIAL, equal=False)
            yield _rule(chain, "not dialled by a worker", *dialled_elsewhere, then=x.verdict(x.ACCEPT))
    # What this machine routes for others is none of our business, on whatever port.
    yield _rule(chain, "not for this host", *x.tcp(), *x.to_this_host(equal=False), then=x.verdict(x.ACCEPT))
    yield _rule(chain, "excluded port", *x.port_in("inbound_except_ports"), then=x.verdict(x.ACCEPT))
    listed = x.tcp() if capture.ports is None else x.port_in("ports")
    yield _rule(chain, "to the inbound door", *listed, then=x.dnat_port(capture.door))


def _rule(chain: str, tag: str, *match: x.Expression, then: tuple[x.Expression, ...]) -> Rule:
    return Rule(chain, tag, (*match, x.counter(), *then))
