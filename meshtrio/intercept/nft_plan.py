"""Core. What one workload wants from nf_tables, and what the kernel answered, as values. Knows no rules.

One plan is one workload is one table. The values travel as JSON between the agent and a short-lived child
(nft_errand.py, nft_child.py), so they are msgspec structs and nothing here imports pyroute2.
"""

import ipaddress
import re
from typing import Annotated

import msgspec

from meshtrio.address import Address

TABLE_PREFIX = "meshtrio_"
OWNER_TAG = "meshtrio owner="
"""A table is ours if its name has the prefix and its comment begins with the tag: one alone is not enough to
delete what may be a user's."""

MAX_PORTS = 4096
"""More listening ports than this is not a server but a scan; the plan is refused."""
MAX_SERVICES = 4096
"""Loopback service addresses; others need no entry. A plan with more is refused."""
MAX_CIDRS = 64
"""One rule each, read for each new connection. A plan with more is refused."""

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class CgroupMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A cgroup v2 as the kernel matches it: its id is the inode number of its directory."""

    level: Annotated[int, msgspec.Meta(ge=1, le=255)]
    """How many directories below the cgroup2 mount; descendants match too. The root (0) is refused."""
    id: Annotated[int, msgspec.Meta(ge=1)]


class InboundCapture(msgspec.Struct, frozen=True, kw_only=True):
    """Which arriving connections go to the inbound door.

    With `ports`, those ports, also over loopback. With `ports=None`, every port but `except_ports`, and over
    loopback only what our own workers dialled: a pod's processes talk to each other as they always did.
    """

    door: Port
    ports: tuple[Port, ...] | None = None
    except_ports: tuple[Port, ...] = (22,)


class OutboundCapture(msgspec.Struct, frozen=True, kw_only=True):
    """Which dialled connections go to the outbound door: all TCP but loopback and what is excluded here."""

    door: Port
    services: tuple[str, ...] = ()
    """Service addresses ("127.1.0.1:80", "[::1]:81"): these are caught although they are on loopback."""
    except_ports: tuple[Port, ...] = ()
    except_cidrs: tuple[str, ...] = ()
    dns_door: Port | None = None
    """Where TCP and UDP to port 53 go, loopback or not, but for what is excluded. None: nowhere else."""


class NftPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that one workload wants in its network namespace."""

    workload: str
    owner: str
    """Who may call this table dead, for `cleanup`: by convention "<pid>.<start time>" of the agent."""
    cgroup: CgroupMatch | None = None
    """None: the workload is the whole network namespace."""
    outbound: OutboundCapture | None = None
    inbound: InboundCapture | None = None
    transparent: bool = False
    """The worker dials the application from the caller's address (routing.py)."""


class Sets(msgspec.Struct, frozen=True, kw_only=True):
    """New contents of a workload's sets; None leaves a set as it is."""

    workload: str
    ports: tuple[Port, ...] | None = None
    services: tuple[str, ...] | None = None


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel was seen to have after the commit."""

    table: str
    rules: int
    elements: int


class Count(msgspec.Struct, frozen=True):
    """How often a rule matched. In nat chains only the first packet of a connection is counted."""

    packets: int
    octets: int


class OwnedTable(msgspec.Struct, frozen=True):
    """One of our tables as found in the kernel."""

    workload: str
    owner: str


class Feature(msgspec.Struct, frozen=True):
    """One thing that we need of the kernel; `missing` is the errno's name, empty when it is there."""

    name: str
    missing: str = ""


def table_name(workload: str) -> str:
    """Return the name of the workload's table. ValueError if the name cannot be part of one."""
    if not _NAME.fullmatch(workload):
        raise ValueError(f"workload {workload!r}: want 1 to 200 of A-Z a-z 0-9 . _ - beginning with no sign")
    return TABLE_PREFIX + workload


def networks(cidrs: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Read CIDRs; host bits are cleared. ValueError names the one that is wrong."""
    return [ipaddress.ip_network(cidr, strict=False) for cidr in cidrs]


def loopback_services(services: tuple[str, ...]) -> list[Address]:
    """Return those addresses that need an entry: the rest is caught anyway. ValueError names a wrong one."""
    parsed = {Address.parse(text) for text in services}
    return sorted(address for address in parsed if ipaddress.ip_address(address.host).is_loopback)


def faults(plan: NftPlan) -> list[str]:
    """Say everything that is wrong with a plan, all at once; empty means that it can be sent."""
    found = []
    for check in (_wrong_names, _wrong_inbound, _wrong_outbound):
        found += check(plan)
    return found


def _wrong_names(plan: NftPlan) -> list[str]:
    found = []
    try:
        table_name(plan.workload)
    except ValueError as wrong:
        found.append(str(wrong))
    if not re.fullmatch(r"[!-~]{1,100}", plan.owner):
        found.append(f"owner {plan.owner!r}: want 1 to 100 printable characters without space")
    if plan.outbound is None and plan.inbound is None:
        found.append("neither outbound nor inbound is asked for")
    return found


def _wrong_inbound(plan: NftPlan) -> list[str]:
    if plan.inbound is None:
        return []
    found = []
    if plan.inbound.ports is None and plan.cgroup is not None:
        found.append("inbound ports must be listed for a workload that does not own its network namespace")
    if len(plan.inbound.ports or ()) + len(plan.inbound.except_ports) > MAX_PORTS:
        found.append(f"more than {MAX_PORTS} inbound ports")
    return found


def _wrong_outbound(plan: NftPlan) -> list[str]:
    if plan.outbound is None:
        return []
    found = []
    if len(plan.outbound.except_ports) > MAX_PORTS:
        found.append(f"more than {MAX_PORTS} excluded outbound ports")
    if len(plan.outbound.except_cidrs) > MAX_CIDRS:
        found.append(f"more than {MAX_CIDRS} excluded networks")
    try:
        networks(plan.outbound.except_cidrs)
        if len(loopback_services(plan.outbound.services)) > MAX_SERVICES:
            found.append(f"more than {MAX_SERVICES} service addresses on loopback")
    except ValueError as wrong:
        found.append(str(wrong))
    return found
