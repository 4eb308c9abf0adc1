"""Core. May a workload go to another one of its node itself: each condition decides, as in workers."""

import socket
import time
from typing import Any, cast

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint
from meshtrio.config.schema import Config
from meshtrio.forward.tcp import close_with_reset
from meshtrio.identity.spiffe import parse
from meshtrio.messages import WorkloadName
from meshtrio.neighbours import Neighbour
from meshtrio.route.granting import BY_KERNEL, Granting, Resident
from meshtrio.secure.border import Border, Unsafe
from tests.support.rings import CLIENT, CLIENT_ID, SERVER, SERVER_ID, credentials, trusted

PORT = 9080
CALLER = Resident(CLIENT, "cart", "shop", netns=11, identity=CLIENT_ID, acceleration="r5")
CALLED = Resident(SERVER, "orders", "shop", netns=12, identity=SERVER_ID)
KERNEL = {"mode": "strict", "same_node": "kernel", "handshake_s": 0.1}


def config(**changes: Any) -> Config:
    return msgspec.convert({"identity": {"trust_domain": "td"}, "mtls": KERNEL, **changes}, Config)


def mode(word: str, **where: Any) -> dict[str, Any]:
    """Return settings in which one mode holds for some, and strict for all others."""
    return {"mtls": {**KERNEL, "rules": [{"mode": word, **where}]}}


def rule(action: str, **what: Any) -> dict[str, Any]:
    return {"action": action, "name": "one", "callers": {"ids": [CLIENT_ID]}, **what}


def test_all_is_well() -> None:
    made = Granting(config())
    assert made.on
    assert made.takes(CALLED, PORT, "")
    assert made.takes(CALLED, PORT, SERVER_ID)
    assert made.asks(CALLER)
    assert made.may(CALLER, CALLED, PORT)


@pytest.mark.parametrize(
    "changes",
    [
        {"rung_max": "r4"},
        {"rung_max": "r1"},
        {"mtls": {"mode": "strict"}},
        {"identity": {"source": "off", "trust_domain": "td"}},
    ],
)
def test_it_is_off(changes: dict[str, Any]) -> None:
    made = Granting(config(**changes))
    assert not made.on
    assert not made.takes(CALLED, PORT, "")
    assert not made.asks(CALLER)


@pytest.mark.parametrize(
    ("changes", "called", "expected"),
    [
        ({}, {"hooked": False}, ""),
        ({}, {"acceleration": "off"}, ""),
        ({}, {"identity": ""}, ""),
        ({}, {}, CLIENT_ID),
        ({}, {"identity": ""}, SERVER_ID),
        ({"exclude": {"inbound_ports": [PORT]}}, {}, ""),
        ({"ports": {"admin": PORT}}, {}, ""),
        (mode("disable", workload="orders"), {}, ""),
        (mode("disable", port=PORT), {}, ""),
    ],
)
def test_each_of_these_is_enough_not_to_be_called_so(
    changes: dict[str, Any], called: dict[str, Any], expected: str
) -> None:
    assert not Granting(config(**changes)).takes(msgspec.structs.replace(CALLED, **called), PORT, expected)


@pytest.mark.parametrize("acceleration", ["auto", "r4", "r5"])
def test_to_be_called_so_needs_no_wish(acceleration: str) -> None:
    assert Granting(config()).takes(msgspec.structs.replace(CALLED, acceleration=acceleration), PORT, "")


@pytest.mark.parametrize(
    "caller", [{"hooked": False}, {"acceleration": "auto"}, {"acceleration": "r4"}, {"identity": ""}]
)
def test_each_of_these_is_enough_not_to_ask(caller: dict[str, Any]) -> None:
    assert not Granting(config()).asks(msgspec.structs.replace(CALLER, **caller))


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        (mode("disable", workload="cart"), False),
        (mode("disable", workload="cart", port=PORT), False),
        (mode("disable", workload="cart", port=PORT + 1), True),
        (mode("permissive"), True),
        ({"policy": {"default": "deny"}}, False),
        ({"policy": {"default": "deny", "rules": [rule("allow")]}}, True),
        ({"policy": {"rules": [rule("deny")]}}, False),
        ({"policy": {"rules": [rule("deny", workloads=["orders"])]}}, False),
        ({"policy": {"rules": [rule("deny", workloads=["cart"])]}}, True),
        ({"policy": {"rules": [rule("deny", namespaces=["shop"])]}}, False),
        ({"policy": {"rules": [rule("deny", namespaces=["other"])]}}, True),
        ({"policy": {"rules": [rule("deny", ports=[PORT])]}}, False),
        ({"policy": {"rules": [rule("deny", ports=[PORT + 1])]}}, True),
        ({"policy": {"rules": [rule("deny", callers={"ids": [SERVER_ID]})]}}, True),
        ({"policy": {"default": "deny", "dry_run": True}}, False),
        ({"policy": {"rules": [rule("deny")], "dry_run": True}}, False),
        ({"policy": {"dry_run": True}}, True),
    ],
)
def test_policy_and_modes_decide(changes: dict[str, Any], may: bool) -> None:
    assert Granting(config(**changes)).may(CALLER, CALLED, PORT) is may


class Door:
    """The inbound door of the called one, where our worker notes who calls."""

    def vouch(self, source: Address, to: Address, workload: int) -> bool:
        return True


def border(config: Config, who: tuple[int, ...], revoked: str) -> Border:
    made = Border()
    made.settle(config)
    made.learn(trusted(ids={revoked: 0.0} if revoked else {}))
    for one in who:
        made.learn(credentials(one, {CLIENT: CLIENT_ID, SERVER: SERVER_ID}[one]))
    return made


async def by_a_worker(made: Border, expected: str) -> bool:
    """Say whether a worker lets the call through on the kernel's word, and has nothing to report of it."""
    cart, orders = WorkloadName(CLIENT, "cart", "shop"), WorkloadName(SERVER, "orders", "shop")
    to = Address.of("127.0.0.1", PORT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    far.setblocking(False)
    try:
        if not made.takes_tls(orders, PORT):
            return False  # as WorkerSite.neighbour has it
        endpoint = Endpoint("one", to, meshed=True, identity=expected)
        out = await made.out(near, endpoint, cart, Neighbour(SERVER, cast(Any, Door())))
        if out.tls != BY_KERNEL:
            return False
        into = await made.into(far, orders, to, vouched=lambda: CLIENT)
        verdict = made.judge(into.peer, orders, PORT)
        assert into.tls == BY_KERNEL
        return verdict.allowed and not verdict.would_deny
    except Unsafe:
        return False
    finally:
        for sock in (near, far):
            close_with_reset(sock)


@pytest.mark.parametrize(
    ("changes", "who", "expected", "revoked"),
    [
        ({}, (CLIENT, SERVER), "", ""),
        ({}, (CLIENT, SERVER), SERVER_ID, ""),
        ({}, (CLIENT, SERVER), CLIENT_ID, ""),
        ({}, (CLIENT,), "", ""),
        ({}, (SERVER,), "", ""),
        ({}, (CLIENT, SERVER), "", CLIENT_ID),
        ({"mtls": {**KERNEL, "same_node": "encrypt"}}, (CLIENT, SERVER), "", ""),
        ({"mtls": {**KERNEL, "mode": "disable"}}, (CLIENT, SERVER), "", ""),
        ({"mtls": {**KERNEL, "mode": "permissive"}}, (CLIENT, SERVER), "", ""),
        (mode("disable", workload="cart"), (CLIENT, SERVER), "", ""),
        (mode("disable", workload="orders"), (CLIENT, SERVER), "", ""),
        (mode("disable", port=PORT), (CLIENT, SERVER), "", ""),
        (mode("disable", port=PORT + 1), (CLIENT, SERVER), "", ""),
        ({"policy": {"default": "deny"}}, (CLIENT, SERVER), "", ""),
        ({"policy": {"default": "deny", "rules": [rule("allow", ports=[PORT])]}}, (CLIENT, SERVER), "", ""),
        ({"policy": {"rules": [rule("deny", workloads=["orders"])]}}, (CLIENT, SERVER), "", ""),
        ({"policy": {"rules": [rule("deny", workloads=["cart"])]}}, (CLIENT, SERVER), "", ""),
        ({"policy": {"default": "deny", "dry_run": True}}, (CLIENT, SERVER), "", ""),
    ],
)
async def test_what_is_granted_is_what_a_worker_lets_through(
    changes: dict[str, Any], who: tuple[int, ...], expected: str, revoked: str
) -> None:
    settled = config(**changes)
    made, worker = Granting(settled), border(settled, who, revoked)

    def as_known(one: Resident) -> Resident:
        identity = worker.keyring.identity(one.id)
        is_revoked = worker.is_revoked(identity, "", time.time())
        return msgspec.structs.replace(one, identity="" if is_revoked else identity)

    caller, called = as_known(CALLER), as_known(CALLED)
    granted = made.takes(called, PORT, expected) and made.asks(caller) and made.may(caller, called, PORT)
    assert granted is await by_a_worker(worker, expected)


def test_ids_are_read_as_policies_read_them() -> None:
    """An id below the one that a rule allows is allowed as well."""
    rules = [rule("allow", callers={"ids": ["spiffe://td/ns/shop/*"]})]
    made = Granting(config(policy={"default": "deny", "rules": rules}))
    assert made.may(CALLER, CALLED, PORT)
    other = msgspec.structs.replace(CALLER, identity=str(parse("spiffe://td/ns/other/sa/client")))
    assert not made.may(other, CALLED, PORT)
