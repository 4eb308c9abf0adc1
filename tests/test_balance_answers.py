"""What the agent says of balancing: loads beside endpoints, and who would be picked."""

import time
from typing import Any

import pytest

from meshtrio.balance.hearsay import Stand
from meshtrio.balance_answers import WhichPort, WrongKey
from meshtrio.breaker_answers import NoSuchPart
from meshtrio.catalog.question import EndpointsWanted, NoSuchService, WhichNamespace
from meshtrio.catalog.service import Service, ServicePort
from meshtrio.config.schema import Config
from meshtrio.config.traffic import Rule, Traffic
from meshtrio.messages import Observed
from tests.support.catalog_desk import Desk, Worker, endpoint, shop

TWO = Service(
    "two",
    "shop",
    ports=(
        ServicePort("http", 80, (endpoint("10.0.1.1"),)),
        ServicePort("admin", 81, (endpoint("10.0.1.1", 9),)),
    ),
)


@pytest.fixture
async def desk() -> Desk:
    made = shop()
    made.say("file", TWO)
    made.seat()
    return made


def settle(desk: Desk, traffic: Traffic) -> None:
    desk.config = Config(traffic=traffic)
    for seat in desk.fleet.seats:
        assert isinstance(seat, Worker)
        seat.site.settle(desk.config)


def orders(desk: Desk) -> Any:
    service = desk.hub.snapshot.service("shop/orders")
    assert service is not None
    return service


async def page(desk: Desk) -> Any:
    return await desk.balance.beside(desk.catalog.endpoints(EndpointsWanted(service="shop/orders")))


async def test_loads_of_all_workers_stand_beside_endpoints(desk: Desk) -> None:
    for times, seat in enumerate(desk.fleet.seats, 1):
        assert isinstance(seat, Worker)
        port = seat.site.ports.of(orders(desk), "http")
        now = time.monotonic()
        for _ in range(times):
            hold = port.hold(orders(desk).endpoints, now, None, {"10.0.0.2", "10.0.0.3", "10.0.0.10"})
            assert hold is not None
            hold.asked(now)
            hold.answered(now + times)
    rows = {row["id"]: row for row in (await page(desk))["endpoints"]}
    assert (rows["10.0.0.1"]["active"], rows["10.0.0.2"]["active"]) == (3, 0)
    assert 1 < rows["10.0.0.1"]["latency_s"] <= 2
    assert rows["10.0.0.1"]["breaker"] == "closed"
    assert rows["10.0.0.1"]["retry_in_s"] is None


async def test_breakers_stand_beside_endpoints(desk: Desk) -> None:
    desk.board.hear(
        desk.fleet.seats[0], Observed({}, {"shop/orders:http": {"10.0.0.1": Stand(996, True, 1026, 1)}})
    )
    desk.board.force(["shop/orders:http"], ["10.0.0.10"], "open")
    seat = desk.fleet.seats[0]
    assert isinstance(seat, Worker)
    port = seat.site.ports.of(orders(desk), "http")
    port.hold(orders(desk).endpoints, 0.0, None, ())
    port.breakers.obey({"10.0.0.10": "open"}, 0.0)
    rows = {row["id"]: row for row in (await page(desk))["endpoints"]}
    assert (rows["10.0.0.1"]["breaker"], rows["10.0.0.1"]["retry_in_s"]) == ("open", 26.0)
    assert (rows["10.0.0.10"]["breaker"], rows["10.0.0.10"]["ejected"]) == ("forced_open", True)
    assert (rows["10.0.0.2"]["breaker"], rows["10.0.0.2"]["ejected"]) == ("closed", False)


async def test_a_silent_worker_is_said_and_the_others_count(desk: Desk, autojump_clock: object) -> None:
    first, second = desk.fleet.seats
    assert isinstance(first, Worker)
    first.silent = True
    told = await page(desk)
    assert (told["silent_workers"], told["endpoints"][0]["active"]) == (1, 0)
    assert (await desk.balance.explain("", "orders"))["silent_workers"] == 1
    assert isinstance(second, Worker)
    second.silent = True
    told = await page(desk)
    assert told["silent_workers"] == 2
    assert {(row["active"], row["ejected"]) for row in told["endpoints"]} == {(None, None)}


async def test_a_page_without_endpoints_asks_nobody(desk: Desk) -> None:
    empty = desk.catalog.endpoints(EndpointsWanted(service="shop/web"))
    assert (await desk.balance.beside(empty))["silent_workers"] == 0


async def test_it_explains_for_each_worker_and_says_what_holds(desk: Desk) -> None:
    rule = Rule(service="shop/orders", algorithm="maglev", hash_key="header:x-user")
    settle(desk, Traffic(slow_start_s=5, rules=(rule,)))
    told = await desk.balance.explain("shop", "orders", key="alice")
    first, second = told["workers"]
    assert first["picked"] == second["picked"]
    assert first["picked_address"] == f"{first['picked']}:8080"
    assert (first["worker"], second["worker"], first["dialled"]) == (0, 1, False)
    assert (first["algorithm"], first["hash_key"], first["has_key"]) == ("maglev", "header:x-user", True)
    said = {one["name"]: (one["value"], one["by"]) for one in told["settings"]}
    assert said["algorithm"] == ("maglev", "traffic.rules[0]")
    assert said["slow_start_s"] == (5, "traffic")
    assert said["breaker.open_s"] == (30, "default")
    picks = {
        (await desk.balance.explain("shop", "orders", key=f"user{number}"))["workers"][0]["picked"]
        for number in range(20)
    }
    assert picks == {"10.0.0.1"}  # the only one that is ready


async def test_an_address_is_hashed_as_workers_see_it(desk: Desk) -> None:
    settle(desk, Traffic(algorithm="consistent_hash"))
    mapped, plain = [
        await desk.balance.explain("", "orders", key=key) for key in ("::ffff:10.0.0.7", "10.0.0.7")
    ]
    assert mapped["workers"] == plain["workers"]
    with pytest.raises(WrongKey, match=r"shop/orders:http .* 'alice' is none \(want one, as in 10.0.0.7\)"):
        await desk.balance.explain("", "orders", key="alice")


@pytest.mark.parametrize(
    ("name", "wish", "failure", "words"),
    [
        ("ordrs", {}, NoSuchService, "did you mean shop/orders"),
        ("web", {}, WhichNamespace, "web is in 2 namespaces: default, shop"),
        ("orders", {"port": "grpc"}, NoSuchPart, r"shop/orders has no port grpc \(it has: http \(80\)\)"),
        ("two", {}, WhichPort, r"has 2 ports: http \(80\), admin \(81\) \(want one, as in --port http\)"),
        ("orders", {"key": "x"}, WrongKey, "is balanced by round_robin, which knows no keys"),
    ],
)
async def test_what_cannot_be_explained(
    desk: Desk, name: str, wish: dict[str, str], failure: type[Exception], words: str
) -> None:
    with pytest.raises(failure, match=words):
        await desk.balance.explain("", name, **wish)


async def test_a_port_is_named_by_name_or_number(desk: Desk) -> None:
    for port in ("admin", "81"):
        told = await desk.balance.explain("shop", "two", port=port)
        assert (told["port"], told["workers"][0]["picked_address"]) == ("admin", "10.0.1.1:9")


async def test_a_service_without_ports_is_not_balanced(desk: Desk) -> None:
    desk.say("file", Service("none"))
    with pytest.raises(WhichPort, match="default/none has no ports"):
        await desk.balance.explain("", "none")
