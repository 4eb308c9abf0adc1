"""Core, but for its place. Breakers of direct services: by what hooks tell, and by what others know."""

from typing import Any

import msgspec
import pytest

from meshtrio.address import Address
from meshtrio.balance.hearsay import Counts, Stand
from meshtrio.breaker_board import BreakerBoard
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.config.traffic import Breaker, Settings
from meshtrio.direct_breakers import DirectBreakers
from meshtrio.fleet import Fleet
from meshtrio.intercept.followed_layout import DirectEnded, DirectLive
from meshtrio.messages import Observed, SeenElsewhere
from meshtrio.observe.direct_ends import ESTABLISHED, LAST_ACK, SYN_SENT

VIP = Address.of("10.96.0.10", 80)
A, B = (Endpoint(name, Address.of(f"10.1.0.{at}", 80)) for at, name in enumerate("ab"))
PORT = ServicePort("http", 80, (A, B))
WEB = Service("web", vips=(VIP.ip,), ports=(PORT,))
NAME = "default/web:http"


async def unheard(seat: object, message: object) -> None:
    """Nobody hears what workers say."""


class World:
    """Breakers with the catalog, the clock and the hooks' counts in a test's hand."""

    def __init__(self, **breaker: float) -> None:
        self.now = 1000.0
        self.settings = Settings(breaker=Breaker(**{"open_s": 10, **breaker}))  # type: ignore[arg-type]
        self.stood: dict[Address, int] = {}
        self.fleet = Fleet(2, unheard)
        self.fleet.seats[0].ready.set()
        self.board = BreakerBoard(self.fleet, lambda: self.now)
        self.breakers = DirectBreakers(
            self.board,
            lambda: Snapshot().with_services([WEB]),
            lambda service, port: self.settings,
            lambda service, member: self.stood.get(member, 0),
        )
        self.changed: list[str] = []
        self.breakers.changed = self.changed.append

    def end(self, times: int = 1, *, endpoint: Endpoint = A, **how: Any) -> None:
        live = DirectLive(Address.of("10.0.0.1", 4000), VIP, endpoint.address, 1, 0, 1, 0.0)
        ended = DirectEnded(live, 7, 1.0, 0, 0, SYN_SENT, released=False, retransmitted=False)
        self.breakers.saw([msgspec.structs.replace(ended, **how)] * times)

    def blocked(self) -> set[str]:
        return set(self.breakers.blocked(WEB, PORT))


@pytest.fixture
def world() -> World:
    return World()


def test_as_many_failures_in_a_row_as_configured_open_it(world: World) -> None:
    world.end(4)
    assert world.blocked() == set()
    assert world.changed == []
    world.end(1)
    assert world.blocked() == {"a"}
    assert world.changed == ["default/web"]
    assert world.board.board.ports[NAME].stands["a"].open


def test_what_stood_in_between_begins_the_row_anew(world: World) -> None:
    for stood in (100, 101):
        world.stood[A.address] = stood
        world.end(4)
    assert world.blocked() == set()
    world.end(1)
    assert world.blocked() == {"a"}


def test_what_stood_is_also_learnt_without_a_failure(world: World) -> None:
    world.end(4)
    world.stood[A.address] = 3
    world.breakers.look_again()
    world.end(4)
    assert world.blocked() == set()


def test_a_share_of_failures_opens_it_too() -> None:
    world = World(minimum=20, rate_percent=40)
    for _ in range(9):
        world.end(1)
        world.stood[A.address] = world.stood.get(A.address, 0) + 1
    world.end(1)
    assert world.blocked() == set()
    world.stood[A.address] += 1
    world.end(1)
    assert world.blocked() == {"a"}


def test_who_accepts_and_resets_has_not_answered(world: World) -> None:
    for stood in range(1, 6):
        assert world.blocked() == set()
        world.stood[A.address] = stood
        world.end(1, state=ESTABLISHED)
    assert world.blocked() == {"a"}


@pytest.mark.parametrize(
    "how",
    [
        {"state": LAST_ACK},
        {"state": ESTABLISHED, "received": 5},
        {"state": ESTABLISHED, "released": True},
        {"state": SYN_SENT, "released": True},
    ],
)
def test_what_says_nothing_of_the_endpoint(world: World, how: dict[str, Any]) -> None:
    world.end(50, **how)
    assert world.blocked() == set()


def test_who_gives_up_after_silence_says_something(world: World) -> None:
    world.end(5, released=True, retransmitted=True)
    assert world.blocked() == {"a"}


def test_workers_hear_of_failures_and_of_openings(world: World) -> None:
    world.end(2)
    waiting = world.fleet.seats[0].waiting
    (words,) = [one for one, _ in waiting.values() if isinstance(one, SeenElsewhere)]
    assert words.counts == {NAME: {"a": Counts(0, 2, 0, 2)}}
    assert not world.fleet.seats[1].waiting, "it is not ready, and gets the table when it is"
    world.end(3)
    assert ("breakers", NAME) in waiting


def test_it_is_due_by_time_tried_by_workers_and_closed_by_their_word(world: World) -> None:
    world.end(5)
    stand = world.board.board.ports[NAME].stands["a"]
    world.now = stand.until - 0.01
    world.breakers.move_on()
    assert world.blocked() == {"a"}
    assert not world.breakers.is_proving(WEB, PORT)
    world.changed.clear()
    world.now = stand.until
    world.breakers.move_on()
    assert world.changed == ["default/web"]
    assert world.breakers.is_proving(WEB, PORT)
    world.breakers.move_on()
    assert world.changed == ["default/web"], "once"
    world.board.hear(world.fleet.seats[0], Observed(stands={NAME: {"a": Stand(world.now + 1, False, 0, 1)}}))
    assert not world.breakers.is_proving(WEB, PORT)
    assert world.blocked() == set()
    world.stood[A.address] = 1000
    world.end(4)
    assert world.blocked() == set()


def test_not_all_are_left_out_if_that_is_configured() -> None:
    world = World(ejected_percent=50)
    world.end(5, endpoint=A)
    world.end(5, endpoint=B)
    assert len(world.blocked()) == 1


def test_without_breakers_nobody_is_left_out() -> None:
    world = World(enabled=False)
    world.end(100)
    assert world.blocked() == set()
    assert world.board.board.ports == {}


def test_what_nobody_knows_is_passed_over(world: World) -> None:
    world.end(5, endpoint=Endpoint("gone", Address.of("10.9.9.9", 80)))
    world.breakers.saw([])
    assert world.board.board.ports == {}


def test_what_is_no_news_any_more_is_forgotten(world: World) -> None:
    world.end(4)
    world.stood[A.address] = 1
    world.now += 100
    world.breakers.look_again()
    world.breakers.look_again()
    assert (world.breakers._ports, world.breakers._failing) == ({}, {})


def test_it_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshtrio.direct_breakers.FAILING_BOUND", 1)
    world.end(4, endpoint=A)
    world.end(4, endpoint=B)
    world.stood |= {A.address: 5, B.address: 5}
    world.end(1, endpoint=A)
    world.end(1, endpoint=B)
    assert world.blocked() == {"b"}, "of whom successes are not known"
    monkeypatch.setattr("meshtrio.direct_breakers.PORTS_BOUND", 0)
    other = World()
    other.end(5)
    assert other.blocked() == set()
