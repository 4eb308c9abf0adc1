"""World. The halves of directing put together: configuration in, words out. The e2e tests have the rest."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.balance.breaker_table import WHOLE
from meshtrio.balance.hearsay import Stand
from meshtrio.breaker_board import BreakerBoard
from meshtrio.catalog.service import UDP, Endpoint, Service, ServicePort
from meshtrio.config.schema import Config
from meshtrio.directing import STARTS_AT_ONCE, Directing
from meshtrio.fleet import Fleet
from meshtrio.intercept import bpf
from meshtrio.intercept.catcher import Catcher
from meshtrio.intercept.direct_layout import SERVICE_BYTES, SLOT_BYTES, SLOT_KEY_BYTES, ServiceWords, slot_key
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.registry import Registry
from meshtrio.intercept.workload import Rules
from meshtrio.messages import Observed
from meshtrio.observe.sums import Sums
from meshtrio.publisher import Publisher
from meshtrio.route.directness import Relayed
from tests.bpf import fixtures

cache, kernel = fixtures.cache, fixtures.kernel

VIP = Address.of("10.96.0.10", 80)
WEB = Service(
    "web",
    vips=(VIP.ip,),
    ports=(ServicePort("http", 80, (Endpoint("one", Address.of("10.1.0.1", 8080)),)),),
)
ONE, TWO = (Endpoint(name, Address.of(f"10.1.0.{at}", 8080)) for at, name in enumerate(("one", "two")))
OTHER_VIP = Address.of("10.96.0.11", 80)
PAIR = Service("pair", vips=(OTHER_VIP.ip,), ports=(ServicePort("http", 80, (ONE, TWO)),))


def config(**traffic: Any) -> Config:
    return msgspec.convert({"traffic": traffic, "identity": {"source": "off"}}, Config)


@pytest.fixture
def publisher() -> Publisher:
    return Publisher([])


def directing(publisher: Publisher, config: Config, board: BreakerBoard | None = None) -> Directing:
    rules = Rules(rung="ebpf", outbound_port=0, inbound_port=0)
    registry = Registry(Catcher(rules, tell=lambda message, descriptors: None))
    return Directing(config, publisher, registry, Sums(), board=board or BreakerBoard(Fleet(0, unheard)))


@pytest.mark.kernel
def test_below_r1d_nothing_is_direct_by_tcp_and_datagrams_are_as_before(
    kernel: Kernel, publisher: Publisher
) -> None:
    made = directing(publisher, config(direct="auto", retries={"attempts": 0}))
    made.use(kernel)
    made.begin()
    (port,) = WEB.ports
    datagrams = msgspec.structs.replace(port, protocol=UDP)
    publisher.replace(publisher.snapshot.with_services([WEB]))
    assert made.way("default/web", "http").path == "direct"
    low = msgspec.structs.replace(config(direct="auto", retries={"attempts": 0}), rung_max="r1")
    made.settle(low)
    assert made.way("default/web", "http").why == Relayed.RUNG_MAX.value
    assert (made.asked(WEB, port).allowed, made.asked(WEB, datagrams).allowed) == (False, True)
    made.settle(msgspec.structs.replace(low, rung_max="r1d"))
    assert made.way("default/web", "http").path == "direct"


@pytest.mark.kernel
def test_it_is_direct_when_the_configuration_says_so(kernel: Kernel, publisher: Publisher) -> None:
    made = directing(publisher, config())
    made.use(kernel)
    made.begin()
    publisher.replace(publisher.snapshot.with_services([WEB]))
    assert made.way("default/web", "http").why == Relayed.OFF.value
    made.settle(config(direct="auto", retries={"attempts": 0}))
    assert made.way("default/web", "http").path == "direct"
    assert made.summaries()["direct"] == {
        "services": 1,
        "active": 0,
        "connections": 0,
        "failed": 0,
        "no_room": 0,
        "grants": 0,
    }
    assert {one.name: one.value for one in made.gauges()} == {
        "meshtrio_direct_services": 1,
        "meshtrio_direct_active": 0,
        "meshtrio_direct_no_room": 0,
        "meshtrio_direct_grants": 0,
        "meshtrio_udp_services": 0,
        "meshtrio_udp_flows": 0,
        "meshtrio_udp_no_room": 0,
    }
    made.settle(config(direct="auto"))
    assert made.way("default/web", "http").why == Relayed.RETRIES.value
    made.settle(config(rules=[{"service": "web", "direct": "auto", "retries": {"attempts": 0}}]))
    assert made.way("default/web", "http").path == "direct"
    publisher.replace(publisher.snapshot.with_only([]))
    assert made.summaries()["direct"]["services"] == 0


async def test_without_a_kernel_it_says_why(publisher: Publisher) -> None:
    made = directing(publisher, config(direct="auto", retries={"attempts": 0}))
    publisher.replace(publisher.snapshot.with_services([WEB]))
    assert made.way("default/web", "http").why == Relayed.NO_HOOKS.value
    assert made.summaries()["direct"]["services"] == 0
    assert await made.live() == ([], 0)


@pytest.mark.kernel
def test_udp_is_picked_for_whatever_keeps_tcp_on_relay(kernel: Kernel, publisher: Publisher) -> None:
    both = msgspec.structs.replace(WEB, datagrams=(msgspec.structs.replace(WEB.ports[0], protocol="udp"),))
    made = directing(publisher, config(direct="auto"))
    made.use(kernel)
    made.begin()
    publisher.replace(publisher.snapshot.with_services([both]))
    assert made.way("default/web", "http").why == Relayed.RETRIES.value
    assert made.udp.way(both, both.datagrams[0]).path == "direct"
    assert publisher.asked_for() == {"default/web"}
    assert made.summaries()["udp"] == {"services": 1, "flows": 0, "no_room": 0}
    made.settle(config(rules=[{"service": "web", "direct": "off"}]))
    assert made.udp.way(both, both.datagrams[0]).path == "pass"
    publisher.replace(publisher.snapshot.with_only([]))
    assert made.summaries()["udp"]["services"] == 0


@pytest.mark.parametrize("wrong", ["", "web", "10.0.0.1", "[::1]"])
def test_what_is_to_be_closed_must_be_a_service_or_an_endpoint(publisher: Publisher, wrong: str) -> None:
    made = directing(publisher, config())
    with pytest.raises(ValueError, match="is not ip:port"):
        made.close(wrong)
    assert made.close("default/web") == made.close("10.0.0.1:80") == made.close("[::1]:80") == 0


@pytest.mark.kernel
def test_what_an_operator_forces_holds_for_direct_connections(kernel: Kernel, publisher: Publisher) -> None:
    board = BreakerBoard(Fleet(0, unheard))
    made = directing(publisher, config(direct="auto", retries={"attempts": 0}), board)
    made.use(kernel)
    made.begin()
    publisher.replace(publisher.snapshot.with_services([WEB, PAIR]))
    assert order(kernel) == [ONE.address, TWO.address]
    board.force(["default/pair:http"], ["one"], "open")
    assert order(kernel) == [TWO.address]
    board.force(["default/pair:http"], ["two"], "open")
    assert made.way("default/pair", "http").why == Relayed.NO_ENDPOINT.value
    assert made.way("default/web", "http").path == "direct", "another service is none of it"
    board.force(["default/pair:http"], [WHOLE], "close")
    assert order(kernel) == [ONE.address, TWO.address]
    board.force(["default/pair:http"], [WHOLE], None)
    assert order(kernel) == [ONE.address, TWO.address]
    publisher.replace(publisher.snapshot.with_only([]))


@pytest.mark.kernel
def test_one_that_workers_opened_is_left_out_tried_by_them_and_let_back(
    kernel: Kernel, publisher: Publisher
) -> None:
    fleet = Fleet(0, unheard)
    now = [1000.0]
    board = BreakerBoard(fleet, lambda: now[0])
    made = directing(publisher, config(direct="auto", retries={"attempts": 0}), board)
    made.use(kernel)
    made.begin()
    publisher.replace(publisher.snapshot.with_services([PAIR]))

    def hear(endpoint: str, stand: Stand) -> None:
        board.hear(fleet.seats[0], Observed(stands={"default/pair:http": {endpoint: stand}}))

    hear("gone", Stand(999, True, 1060, 1))
    assert order(kernel) == [ONE.address, TWO.address]
    hear("one", Stand(1000, True, 1030, 1))
    assert order(kernel) == [TWO.address]
    assert made.way("default/pair", "http").path == "direct"
    now[0] = 1029.9
    made.move_on()
    assert order(kernel) == [TWO.address]
    now[0] = 1030
    made.move_on()
    assert made.way("default/pair", "http").why == Relayed.PROVING.value
    hear("one", Stand(1031, False, 0, 1))
    assert Counter(order(kernel)) == {ONE.address: 1, TWO.address: 10}, "it starts slowly"
    now[0] += 15
    made.move_on()
    assert Counter(order(kernel)) == {ONE.address: 1, TWO.address: 2}
    before = kernel_words(kernel)
    made.move_on()
    assert kernel_words(kernel) == before, "what does not change is not written"
    now[0] += 15
    made.move_on()
    assert order(kernel) == [ONE.address, TWO.address]
    publisher.replace(publisher.snapshot.with_only([]))


@pytest.mark.kernel
def test_few_step_at_once_and_all_get_there(kernel: Kernel, publisher: Publisher) -> None:
    now = [1000.0]
    board = BreakerBoard(Fleet(0, unheard), lambda: now[0])
    made = directing(publisher, config(direct="auto", retries={"attempts": 0}), board)
    made.use(kernel)
    made.begin()
    count = 3 * STARTS_AT_ONCE

    def many(*endpoints: Endpoint) -> list[Service]:
        ports = (ServicePort("http", 80, endpoints),)
        vips = [Address.of(f"10.96.1.{at}", 80).ip for at in range(count)]
        return [Service(f"s{at}", vips=(vip,), ports=ports) for at, vip in enumerate(vips)]

    for endpoints in ((ONE,), (ONE, TWO)):
        publisher.replace(publisher.snapshot.with_only(many(*endpoints)))
    now[0] += 30
    slots = [11 * count]
    while slots[-1] > 2 * count:
        made.move_on()
        slots.append(sum(1 for _ in bpf.keys(kernel.maps["direct_slots"], SLOT_KEY_BYTES)))
    assert slots == [(11 * (3 - turn) + 2 * turn) * STARTS_AT_ONCE for turn in range(4)]
    publisher.replace(publisher.snapshot.with_only([]))


def kernel_words(kernel: Kernel) -> bytes | None:
    return bpf.look_up(kernel.maps["services"], OTHER_VIP.pack(), SERVICE_BYTES)


def order(kernel: Kernel) -> list[Address]:
    """Return in which order the hooks pick for the pair."""
    raw = kernel_words(kernel)
    words = ServiceWords.unpack(raw) if raw is not None else ServiceWords()
    keys = [slot_key(OTHER_VIP, at, words.generation) for at in range(words.slots)]
    found = [bpf.look_up(kernel.maps["direct_slots"], key, SLOT_BYTES) for key in keys]
    return [Address.unpack(one) for one in found if one is not None]


async def unheard(seat: object, message: object) -> None:
    """Nobody hears what workers say."""
