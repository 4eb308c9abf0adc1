"""Shell. What the process does that speaks to rtnetlink (errand_process.py). One errand, then gone."""

import contextlib
import errno
import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from meshtrio.intercept import marks
from meshtrio.intercept import routing_plan as plans
from meshtrio.intercept.nft_errand import errno_name
from meshtrio.intercept.nft_request import Refusal

ERRAND = plans.Errand
_FAMILIES = {"v4": 2, "v6": 10}
_OURS = (plans.PROTOCOL, plans.PROTOCOL_ACCEPT_WAS_ON)
_SCOPE_LINK, _SCOPE_HOST = 253, 254
# Of this process's network namespace, which it entered before.
_V6_OFF = Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
_ACCEPT = Path("/proc/sys/net/ipv4/tcp_fwmark_accept")


def act(errand: plans.Errand) -> object:
    """Do one errand in the network namespace that this process is in."""
    with IPRoute() as kernel:
        match errand:
            case plans.Lay(plan):
                return _lay(kernel, plan)
            case plans.Lift():
                return _lift(kernel, plans.TRANSPARENT_TABLE, plans.VIP_TABLE)
            case plans.Ask(addresses):
                return [address for address in addresses if not _has_route(kernel, address)]


def _lay(kernel: Any, plan: plans.RoutingPlan) -> plans.RoutingApplied:
    wrong = plans.faults(plan)
    if wrong:
        raise plans.RoutingRefused(Refusal(feature="the plan is wrong", advice="; ".join(wrong)))
    with _named("asking for rules"):
        families = [name for name, number in _FAMILIES.items() if _works(kernel, number) and _is_on(name)]
    protocol = _turn_on_accept(kernel) if plan.transparent else 0
    for name in families:
        if plan.transparent:
            _lay_transparent(kernel, _FAMILIES[name], protocol)
        if plan.vips:
            rule = {"priority": plans.VIP_PRIORITY, "table": plans.VIP_TABLE}
            _add_rule(kernel, _FAMILIES[name], rule, protocol=plans.PROTOCOL)
    if not plan.transparent:
        _lift(kernel, plans.TRANSPARENT_TABLE)
    if not plan.vips:
        _lift(kernel, plans.VIP_TABLE)
    lo = kernel.link_lookup(ifname="lo")[0]
    networks = {ipaddress.ip_network(vip, strict=False) for vip in plan.vips}
    for network in networks:
        if f"v{network.version}" in families:
            _lay_vip(kernel, network, lo)
    _lift_stale_vips(kernel, networks)
    routes = sum(1 for _ in _our_routes(kernel))
    return plans.RoutingApplied(families=tuple(families), rules=len(_our_rules(kernel)), routes=routes)


def _lay_transparent(kernel: Any, family: int, protocol: int) -> None:
    lo = kernel.link_lookup(ifname="lo")[0]
    everything = {2: "0.0.0.0/0", 10: "::/0"}[family]
    kind = {"type": "local", "scope": _SCOPE_HOST, "proto": plans.PROTOCOL}
    with _named(f"local default route in table {plans.TRANSPARENT_TABLE}"):
        kernel.route("replace", family=family, dst=everything, oif=lo, table=plans.TRANSPARENT_TABLE, **kind)
    rule = {"priority": plans.TRANSPARENT_PRIORITY, "table": plans.TRANSPARENT_TABLE}
    mark = {"fwmark": marks.APP_DIAL, "fwmask": marks.MASK}
    _add_rule(kernel, family, {**rule, **mark}, protocol=protocol)


def _turn_on_accept(kernel: Any) -> int:
    before = [rule for rule in _our_rules(kernel) if _table(rule) == plans.TRANSPARENT_TABLE]
    if before:
        protocol = int(before[0].get_attr("FRA_PROTOCOL"))
    else:
        on = _ACCEPT.read_text().strip() == "1"
        protocol = plans.PROTOCOL_ACCEPT_WAS_ON if on else plans.PROTOCOL
    _write_accept("1")
    return protocol


def _write_accept(value: str) -> None:
    if _ACCEPT.read_text().strip() == value:
        return
    try:
        _ACCEPT.write_text(value)
    except OSError as no:
        advice = f"set it to {value} yourself, or give us a writable /proc/sys"
        feature = "sysctl net.ipv4.tcp_fwmark_accept"
        raise plans.RoutingRefused(
            Refusal(feature=feature, errno_name=errno_name(no.errno), advice=advice)
        ) from None


def _add_rule(kernel: Any, family: int, rule: dict[str, int], *, protocol: int) -> None:
    for found in _our_rules(kernel):
        if found["family"] == family and _table(found) == rule["table"]:
            return
    with _named(f"ip rule {rule['priority']}"):
        kernel.rule("add", family=family, protocol=protocol, **rule)


def _lay_vip(kernel: Any, network: Any, lo: int) -> None:
    place: dict[str, Any] = {"table": plans.VIP_TABLE, "oif": lo, "proto": plans.PROTOCOL}
    if network.version == 4:
        # lo has no address of a scope that the kernel would choose: without this it sends from 0.0.0.0.
        place |= {"scope": _SCOPE_LINK, "prefsrc": "127.0.0.1"}
    with _named(f"route to {network} in table {plans.VIP_TABLE}"):
        kernel.route("replace", family=_FAMILIES[f"v{network.version}"], dst=str(network), **place)


def _lift_stale_vips(kernel: Any, wanted: set[Any]) -> None:
    for route in list(_our_routes(kernel)):
        if _table(route) == plans.VIP_TABLE and _network(route) not in wanted:
            _delete_route(kernel, route)


def _lift(kernel: Any, *tables: int) -> int:
    rules = [rule for rule in _our_rules(kernel) if _table(rule) in tables]
    protocols = {
        int(rule.get_attr("FRA_PROTOCOL")) for rule in rules if _table(rule) == plans.TRANSPARENT_TABLE
    }
    # Before the rules, for they remember it: a lift that is cut short can be done again.
    if plans.PROTOCOL in protocols:
        _write_accept("0")
    routes = [route for route in _our_routes(kernel) if _table(route) in tables]
    for route in routes:
        _delete_route(kernel, route)
    for rule in rules:
        with _named(f"deleting ip rule {rule.get_attr('FRA_PRIORITY')}"):
            kernel.rule(
                "del", family=rule["family"], priority=rule.get_attr("FRA_PRIORITY"), table=_table(rule)
            )
    return len(rules) + len(routes)


def _delete_route(kernel: Any, route: Any) -> None:
    kind = {"type": route["type"], "proto": route["proto"], "scope": route["scope"]}
    with _named(f"deleting the route to {_network(route)}"):
        kernel.route("del", family=route["family"], dst=str(_network(route)), table=_table(route), **kind)


def _our_rules(kernel: Any) -> list[Any]:
    tables = (plans.TRANSPARENT_TABLE, plans.VIP_TABLE)
    found = []
    for family in _FAMILIES.values():
        if _works(kernel, family):
            found += [
                rule
                for rule in kernel.get_rules(family=family)
                if _table(rule) in tables and rule.get_attr("FRA_PROTOCOL") in _OURS
            ]
    return found


def _our_routes(kernel: Any) -> Iterator[Any]:
    for family in _FAMILIES.values():
        for table in (plans.TRANSPARENT_TABLE, plans.VIP_TABLE):
            # An IPv4 table that was never used does not exist, and says so.
            with contextlib.suppress(NetlinkError):
                yield from [
                    route
                    for route in kernel.get_routes(family=family, table=table)
                    if route["proto"] == plans.PROTOCOL and _table(route) == table
                ]


def _works(kernel: Any, family: int) -> bool:
    try:
        return bool(list(kernel.get_rules(family=family)))
    except NetlinkError as no:
        if no.code in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            return False
        raise


def _is_on(family: str) -> bool:
    # Container runtimes like to switch IPv6 off; then its rules work, but its routes are refused (EACCES).
    with contextlib.suppress(FileNotFoundError):
        return family == "v4" or _V6_OFF.read_text().strip() == "0"
    return False


def _has_route(kernel: Any, address: str) -> bool:
    with contextlib.suppress(NetlinkError):
        family = _FAMILIES[f"v{ipaddress.ip_address(address).version}"]
        return bool(kernel.route("get", family=family, dst=address))
    return False


def _table(found: Any) -> int:
    # The header has one byte for it, the attribute four.
    return int(found.get_attr("FRA_TABLE") or found.get_attr("RTA_TABLE") or found["table"])


def _network(route: Any) -> Any:
    nowhere = {2: "0.0.0.0", 10: "::"}[route["family"]]
    return ipaddress.ip_network(f"{route.get_attr('RTA_DST') or nowhere}/{route['dst_len']}")


@contextlib.contextmanager
def _named(feature: str) -> Iterator[None]:
    try:
        yield
    except NetlinkError as no:
        needs = (
            "needs CAP_NET_ADMIN in the network namespace" if no.code == errno.EPERM else os.strerror(no.code)
        )
        refusal = Refusal(feature=feature, errno_name=errno_name(no.code), advice=needs)
        raise plans.RoutingRefused(refusal) from None
