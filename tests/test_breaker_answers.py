"""Ring 2. What is said of breakers, and how what an operator names is found."""

import pytest

from meshtrio import breaker_answers as module
from meshtrio.address import Address
from meshtrio.balance.hearsay import Stand
from meshtrio.breaker_answers import BreakerAnswers, NoSuchPart, Word
from meshtrio.catalog.question import NoSuchService, WhichNamespace
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.messages import KnowBreakers, Observed
from tests.support.catalog_desk import Desk, endpoint, service, shop

NOW = 1000.0
ORDERS = "shop/orders:http"


@pytest.fixture
def desk() -> Desk:
    return shop()


def sees(desk: Desk, stands: dict[str, Stand], port: str = ORDERS) -> None:
    desk.board.hear(desk.fleet.seats[0], Observed({}, {port: stands}))


def held(desk: Desk) -> dict[str, dict[str, str]]:
    words = [message for message, _ in desk.fleet.seats[1].waiting.values()]
    return {one.port: dict(one.forced) for one in words if isinstance(one, KnowBreakers)}


def test_a_row_says_how_it_stands(desk: Desk) -> None:
    sees(desk, {"10.0.0.1": Stand(NOW - 4, True, NOW + 26, 1), "gone": Stand(NOW - 9, True, NOW - 1, 3)})
    assert desk.breakers.listed("orders") == {
        "breakers": [
            {
                "namespace": "shop",
                "service": "orders",
                "port": "http",
                "port_state": "degraded",
                "endpoint": "10.0.0.1",
                "address": "10.0.0.1:8080",
                "known": True,
                "state": "open",
                "forced": False,
                "since_s": 4.0,
                "retry_in_s": 26.0,
                "streak": 1,
            },
            {
                "namespace": "shop",
                "service": "orders",
                "port": "http",
                "port_state": "degraded",
                "endpoint": "gone",
                "address": "",
                "known": False,
                "state": "half_open",
                "forced": False,
                "since_s": 9.0,
                "retry_in_s": None,
                "streak": 3,
            },
        ],
        "omitted": 0,
    }


def test_all_or_those_of_one_service_as_many_as_an_answer_holds(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sees(desk, {"a": Stand(NOW, True, NOW + 9, 1)})
    sees(desk, dict.fromkeys("bc", Stand(NOW, True, NOW + 9, 1)), "default/printer:http")

    def listed(service: str) -> list[str]:
        return [row["endpoint"] for row in desk.breakers.listed(service)["breakers"]]

    assert listed("") == ["b", "c", "a"]
    assert listed("shop/orders") == ["a"]
    monkeypatch.setattr(module, "ROWS", 1)
    assert desk.breakers.listed()["omitted"] == 2
    with pytest.raises(NoSuchService, match="did you mean shop/orders"):
        desk.breakers.listed("ordrs")


@pytest.mark.parametrize("name", ["10.0.0.2", "10.0.0.2:8080"])
def test_an_endpoint_is_named_by_id_or_address(desk: Desk, name: str) -> None:
    told = desk.breakers.force("orders", "open", endpoint=name, port="80")
    assert held(desk) == {ORDERS: {"10.0.0.2": "open"}}
    (row,) = told["breakers"]
    assert (row["state"], row["forced"], row["since_s"]) == ("forced_open", True, None)
    desk.breakers.force("orders", "auto", endpoint=name)
    assert held(desk) == {ORDERS: {}}


def test_a_service_as_a_whole_is_all_of_its_ports(desk: Desk) -> None:
    both = Endpoint("a", Address.of("10.0.0.9", 1)), Endpoint("a", Address.of("10.0.0.9", 2))
    ports = (ServicePort("http", 80, both[:1]), ServicePort("admin", 81, both[1:]))
    desk.say("file", Service("two", ports=ports))
    told = desk.breakers.force("two", "open")
    assert held(desk) == {"default/two:http": {"": "open"}, "default/two:admin": {"": "open"}}
    assert [row["port_state"] for row in told["breakers"]] == ["open", "open"]
    desk.breakers.force("two", "close", port="admin")
    desk.breakers.force("two", "close", endpoint="a")
    assert held(desk)["default/two:admin"] == {"": "close", "a": "close"}
    desk.breakers.force("two", "auto")
    assert held(desk) == {"default/two:http": {}, "default/two:admin": {}}


def test_what_was_forced_and_has_left_can_be_let_go(desk: Desk) -> None:
    desk.breakers.force("orders", "open", endpoint="10.0.0.2")
    desk.say("kubernetes", service("orders", endpoint("10.0.0.1"), namespace="shop"))
    (row,) = desk.breakers.listed("orders")["breakers"]
    assert (row["known"], row["port_state"]) == (False, "closed")
    desk.breakers.force("orders", "auto", endpoint="10.0.0.2")
    assert held(desk) == {ORDERS: {}}


@pytest.mark.parametrize(
    ("service_name", "wish", "failure", "words"),
    [
        ("ordrs", {}, NoSuchService, "did you mean shop/orders?"),
        ("web", {}, WhichNamespace, "web is in 2 namespaces: default, shop"),
        ("orders", {"port": "grpc"}, NoSuchPart, r"has no port grpc \(it has: http \(80\)\)"),
        ("legacy", {"port": "x", "endpoint": "y"}, NoSuchPart, r"has no port x \(it has: http"),
        ("shop/web", {"endpoint": "y"}, NoSuchPart, r"has no endpoint y \(it has: none;"),
        (
            "orders",
            {"endpoint": "10.9.9.9"},
            NoSuchPart,
            r"has no endpoint 10.9.9.9 \(it has: 10.0.0.10:8080, 10.0.0.1:8080, 10.0.0.2:8080, "
            r"10.0.0.3:8080; `meshtrio endpoints shop/orders` lists them\)",
        ),
    ],
)
@pytest.mark.parametrize("word", ["open", "auto"])
def test_what_is_not_there_is_told_with_what_is(
    desk: Desk, service_name: str, wish: dict[str, str], failure: type[Exception], words: str, word: Word
) -> None:
    with pytest.raises(failure, match=words):
        desk.breakers.force(service_name, word, **wish)
    assert held(desk) == {}


def values(answers: BreakerAnswers) -> dict[tuple[str, ...], float]:
    return {(one.name, *one.labels.values()): one.value for one in answers.gauges()}


def test_numbers_by_service_port(desk: Desk) -> None:
    opened = Stand(NOW - 4, True, NOW + 26, 1)
    sees(desk, {"10.0.0.1": opened, "gone": opened, "10.0.0.2": Stand(NOW - 4, False, 0, 1)})
    sees(desk, {"192.0.2.9": opened}, "default/printer:http")
    assert values(desk.breakers) == {
        ("meshtrio_breaker_state", "default/printer:http"): 2,
        ("meshtrio_breaker_open_endpoints", "default/printer:http"): 1,
        ("meshtrio_breaker_opens_total", "default/printer:http"): 1,
        ("meshtrio_breaker_state", ORDERS): 1,
        ("meshtrio_breaker_open_endpoints", ORDERS): 1,
        ("meshtrio_breaker_opens_total", ORDERS): 2,
        ("meshtrio_breaker_words_ignored_total", "absurd"): 0,
        ("meshtrio_breaker_words_ignored_total", "full"): 0,
    }
    desk.breakers.force("orders", "open")
    assert values(desk.breakers)["meshtrio_breaker_open_endpoints", ORDERS] == 4
    desk.breakers.force("orders", "close")
    assert values(desk.breakers)["meshtrio_breaker_state", ORDERS] == 0


def test_numbers_of_many_ports_are_added_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SERIES", 1)
    for number in range(3):
        sees(desk, {"a": Stand(NOW, True, NOW + 9, 1)}, f"n/s{number}:")
    found = values(desk.breakers)
    assert found["meshtrio_breaker_opens_total", "n/s0:"] == 1
    assert found["meshtrio_breaker_opens_total", "other"] == 2
    assert ("meshtrio_breaker_opens_total", "n/s1:") not in found
