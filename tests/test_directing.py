"""World. The halves of directing put together: configuration in, words out. The e2e tests have the rest."""

from typing import Any

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.balance.hearsay import Stand
from meshtrio.breaker_board import BreakerBoard
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.config.schema import Config
from meshtrio.directing import Directing
from meshtrio.fleet import Fleet
from meshtrio.intercept.catcher import Catcher
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


def config(**traffic: Any) -> Config:
    return msgspec.convert({"traffic": traffic, "identity": {"source": "off"}}, Config)


@pytest.fixture
def publisher() -> Publisher:
    return Publisher([])


def directing(publisher: Publisher, config: Config) -> Directing:
    rules = Rules(rung="ebpf", outbound_port=0, inbound_port=0)
    registry = Registry(Catcher(rules, tell=lambda message, descriptors: None))
    return Directing(config, publisher, registry, Sums())


@pytest.mark.kernel
def test_it_is_direct_when_the_configuration_says_so(kernel: Kernel, publisher: Publisher) -> None:
    made = directing(publisher, config())
    made.use(kernel)
    publisher.replace(publisher.snapshot.with_services([WEB]))
    assert made.way("default/web", "http").why == Relayed.OFF.value
    made.settle(config(direct="auto", retries={"attempts": 0}))
    assert made.way("default/web", "http").path == "direct"
    assert made.summary() == {"services": 1, "active": 0, "connections": 0, "failed": 0, "no_room": 0}
    assert {one.name: one.value for one in made.gauges()} == {
        "meshtrio_direct_services": 1,
        "meshtrio_direct_active": 0,
        "meshtrio_direct_no_room": 0,
    }
    made.settle(config(direct="auto"))
    assert made.way("default/web", "http").why == Relayed.RETRIES.value
    made.settle(config(rules=[{"service": "web", "direct": "auto", "retries": {"attempts": 0}}]))
    assert made.way("default/web", "http").path == "direct"
    publisher.replace(publisher.snapshot.with_only([]))
    assert made.summary()["services"] == 0


def test_without_a_kernel_it_says_why(publisher: Publisher) -> None:
    made = directing(publisher, config(direct="auto", retries={"attempts": 0}))
    publisher.replace(publisher.snapshot.with_services([WEB]))
    assert made.way("default/web", "http").why == Relayed.NO_HOOKS.value
    assert made.summary()["services"] == 0
    assert made.live() == ([], 0)


@pytest.mark.parametrize("wrong", ["", "web", "10.0.0.1", "[::1]"])
def test_what_is_to_be_closed_must_be_a_service_or_an_endpoint(publisher: Publisher, wrong: str) -> None:
    made = directing(publisher, config())
    with pytest.raises(ValueError, match="is not ip:port"):
        made.close(wrong)
    assert made.close("default/web") == made.close("10.0.0.1:80") == made.close("[::1]:80") == 0


@pytest.mark.kernel
def test_what_an_operator_holds_is_left_to_workers(kernel: Kernel, publisher: Publisher) -> None:
    made = directing(publisher, config(direct="auto", retries={"attempts": 0}))
    board = BreakerBoard(Fleet(0, unheard))
    made.heed(board)
    made.use(kernel)
    publisher.replace(publisher.snapshot.with_services([WEB]))
    assert made.way("default/web", "http").path == "direct"
    board.force(["default/web:http"], ["one"], "open")
    assert made.way("default/web", "http").why == Relayed.BROKEN.value
    assert made.summary()["services"] == 0
    board.force(["default/web:http"], ["one"], None)
    assert made.way("default/web", "http").path == "direct"
    publisher.replace(publisher.snapshot.with_only([]))


@pytest.mark.kernel
def test_what_is_broken_off_is_left_to_workers_while_it_is_there(
    kernel: Kernel, publisher: Publisher
) -> None:
    made = directing(publisher, config(direct="auto", retries={"attempts": 0}))
    fleet = Fleet(0, unheard)
    board = BreakerBoard(fleet)
    made.heed(board)
    made.use(kernel)
    publisher.replace(publisher.snapshot.with_services([WEB]))
    now = board.clock()
    for endpoint, is_open, path in (
        ("gone", True, "direct"),
        ("one", True, "relay"),
        ("one", False, "direct"),
    ):
        now += 0.001
        stand = Stand(now, is_open, now + 60 if is_open else 0, 1)
        board.hear(fleet.seats[0], Observed(stands={"default/web:http": {endpoint: stand}}))
        assert made.way("default/web", "http").path == path
    publisher.replace(publisher.snapshot.with_only([]))


async def unheard(seat: object, message: object) -> None:
    """Nobody hears what workers say."""
