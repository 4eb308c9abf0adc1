"""What a worker shows of its ports, and that each count is told once."""

from random import Random

from meshtrio.balance.load import Counted, load_of, loads_of
from meshtrio.balance.port import Port
from meshtrio.balance.ports import Ports
from meshtrio.balance.told import Balanced, EndpointLoad
from meshtrio.breaker_share import BreakerShare
from meshtrio.catalog.service import Service, ServicePort
from meshtrio.config.traffic import Retries, ServiceLimits, Traffic
from tests.support.endpoints import endpoints

AB = endpoints("ab")


def ports(traffic: Traffic) -> Ports:
    luck = Random(1)
    made = Ports(BreakerShare(luck, lambda: 0.0).of, start=0, luck=luck)
    made.settle(traffic, "")
    return made


def port(traffic: Traffic, name: str = "web", among: Ports | None = None) -> Port:
    return (ports(traffic) if among is None else among).of(
        Service(name, ports=(ServicePort("http", 80, AB),)), "http"
    )


def test_it_shows_what_is_held_and_what_is_full() -> None:
    made = port(Traffic(limits=ServiceLimits(connections=1), slow_start_s=0))
    hold = made.hold(AB, 0.0, None, ())
    assert hold is not None
    hold.asked(0.0)
    hold.answered(0.25)
    made.pending = 3
    told = load_of(made, 0.25)
    assert (told.algorithm, told.tier, told.active, told.pending) == ("round_robin", "all", 1, 3)
    assert told.full == "traffic.limits.connections"
    assert told.endpoints["a"] == EndpointLoad(1, 0.25, 1.0, ejected=False)
    assert told.endpoints["b"].active == 0
    assert 0 < load_of(made, 9.0).endpoints["a"].latency_s < 0.25
    made.breakers.obey({"b": "open"}, 1.0)
    assert load_of(made, 1.0).endpoints["b"].ejected


def test_it_is_bounded() -> None:
    made = port(Traffic())
    made.hold(AB, 0.0, None, ())
    told = load_of(made, 0.0, rows=1)
    assert (len(told.endpoints), told.omitted) == (1, 1)
    among = ports(Traffic())
    for name in ("one", "two"):
        port(Traffic(), name, among).hold(AB, 0.0, None, ())
    assert list(loads_of(among, 0.0)) == ["default/one:http", "default/two:http"]


def test_each_count_is_told_once() -> None:
    traffic = Traffic(algorithm="maglev", retries=Retries(budget_percent=0, budget_per_s=0.1))
    among, counted = ports(traffic), Counted()
    made = port(traffic, among=among)
    assert counted.news(among) == []
    made.hold(AB, 0.0, None, ())
    made.why_no_retry(0, 0.0)
    made.why_no_retry(0, 0.0)
    assert counted.news(among) == [Balanced("default/web:http", 1, 1, {"no_key": 1})]
    assert counted.news(among) == []
    made.hold(AB, 0.0, None, ())
    assert counted.news(among) == [Balanced("default/web:http", 0, 0, {"no_key": 1})]


def test_hedges_are_told_beside_the_retries_that_they_are() -> None:
    among, counted = ports(Traffic()), Counted()
    made = port(Traffic(), among=among)
    for number in (1, 2):
        made.hedge(AB, 0.0, None, ("a",), retried=0)
        made.hedges_won += 1
        assert counted.news(among) == [Balanced("default/web:http", 1, hedges=1, hedges_won=1)]
        assert (load_of(made, 0.0).hedges, load_of(made, 0.0).hedges_won) == (number, number)


def test_a_port_that_began_anew_is_told_whole() -> None:
    traffic, counted = Traffic(algorithm="maglev"), Counted()
    among = ports(traffic)
    for _ in range(3):
        port(traffic, among=among).hold(AB, 0.0, None, ())
    counted.news(among)
    again = ports(traffic)
    port(traffic, among=again).hold(AB, 0.0, None, ())
    assert counted.news(again) == [Balanced("default/web:http", 0, 0, {"no_key": 1})]
