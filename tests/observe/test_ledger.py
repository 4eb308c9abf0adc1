"""Core. The book of connections, held against plain dictionaries."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshtrio.messages import Tally
from meshtrio.observe import ledger as module
from meshtrio.observe.ledger import Entry, Ledger
from meshtrio.outcome import Outcome

NAMES = st.sampled_from(["shop", "web", "db"])
KINDS, LISTED, LIVE_LISTED = 4, 3, 2
"""Small bounds, so that a short run meets them."""


class Book(RuleBasedStateMachine):
    """Connections come and go, tallies are delivered or come back; no count is ever lost."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for name, bound in (("KINDS", KINDS), ("LISTED", LISTED), ("LIVE_LISTED", LIVE_LISTED)):
            self.patch.setattr(module, name, bound)
        self.ledger = Ledger()
        self.live: dict[int, Entry] = {}
        self.by_workload: Counter[str] = Counter()
        self.by_outcome: Counter[Outcome] = Counter()
        self.sent_bytes = 0
        self.ended = 0
        self.delivered: list[Tally] = []
        self.held: list[Tally] = []
        self.now = 0.0

    def teardown(self) -> None:
        self.patch.undo()

    @initialize()
    def begin_empty(self) -> None:
        assert self.ledger.tally() is None

    @rule(whose=NAMES | st.none())
    def opened(self, whose: str | None) -> None:
        self.now += 1
        entry = self.ledger.open("outbound", "ebpf", self.now)
        assert entry.id not in self.live
        self.live[entry.id] = entry
        if whose:
            self.by_workload[whose] += 1
            assert self.ledger.belongs(entry, whose) == self.by_workload[whose]

    @precondition(lambda self: self.live)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), service=NAMES, sent=st.integers(0, 1 << 40))
    def closed(self, data: st.DataObject, outcome: Outcome, service: str, sent: int) -> None:
        entry = self.live.pop(data.draw(st.sampled_from(sorted(self.live))))
        entry.service = service
        entry.bytes_now = lambda: (sent, 2 * sent)
        self.now += 1
        self.ledger.close(entry, outcome, self.now, "why")
        ended = entry.seen(self.now, outcome, "why")
        assert (ended.outcome, ended.sent_bytes, ended.received_bytes) == (outcome, sent, 2 * sent)
        assert ended.lasted_s == self.now - entry.began
        assert getattr(entry, "bytes_now") is None  # noqa: B009  the relay must not live on through it
        if entry.workload:
            self.by_workload[entry.workload] -= 1
        self.by_outcome[outcome] += 1
        self.sent_bytes += sent
        self.ended += 1

    @rule()
    def tallied(self) -> None:
        tally = self.ledger.tally()
        if tally is not None:
            assert tally.open == len(self.live)
            assert len(tally.ended) <= LISTED
            self.held.append(tally)

    @precondition(lambda self: self.held)
    @rule(arrives=st.booleans())
    def sent(self, arrives: bool) -> None:
        tally = self.held.pop(0)
        if arrives:
            self.delivered.append(tally)
        else:
            self.ledger.put_back(tally)

    @rule(number=st.integers(0, 9))
    def reported(self, number: int) -> None:
        live = self.ledger.live(number, self.now)
        assert live.number == number
        assert len(live.connections) == min(LIVE_LISTED, len(self.live))
        assert len(live.connections) + live.omitted == len(self.live)
        assert {one.id for one in live.connections} <= set(self.live)

    @invariant()
    def those_that_live_are_in_the_book(self) -> None:
        assert len(self.ledger) == len(self.live)
        assert {entry.id for entry in self.ledger} == set(self.live)

    @invariant()
    def no_count_is_lost(self) -> None:
        """What arrived, what is under way and what is still in the book is all there was."""
        rest = self.ledger.tally()
        every = [*self.delivered, *self.held, *([rest] if rest else [])]
        outcomes: Counter[Outcome] = Counter()
        for tally in every:
            assert len(tally.counts) <= KINDS + len(Outcome)
            for count in tally.counts:
                outcomes[count.outcome] += count.connections
        assert outcomes == self.by_outcome
        assert sum(count.sent_bytes for tally in every for count in tally.counts) == self.sent_bytes
        assert sum(count.received_bytes for tally in every for count in tally.counts) == 2 * self.sent_bytes
        assert sum(len(tally.ended) + tally.omitted for tally in every) == self.ended
        if rest:
            self.held.append(rest)


TestBook = Book.TestCase


def test_of_a_flood_the_last_ones_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LISTED", 2)
    book = module.Ledger()
    for at in range(5):
        book.close(book.open("inbound", "ebpf", at), Outcome.CARRIED, at)
    tally = book.tally()
    assert tally is not None
    assert ([one.id for one in tally.ended], tally.omitted) == ([4, 5], 3)


def test_an_entry_shows_what_it_has_learnt() -> None:
    entry = Ledger().open("inbound", "nft", 10.0)
    entry.workload, entry.source, entry.destination = "shop", "a:1", "b:2"
    entry.service, entry.endpoint, entry.protocol, entry.sni = "web", "c:3", "tls", "x.org"
    live = entry.seen(12.5)
    assert (live.direction, live.rung, live.outcome, live.began, live.lasted_s) == (
        "inbound",
        "nft",
        None,
        10,
        2.5,
    )
    assert (live.workload, live.source, live.destination) == ("shop", "a:1", "b:2")
    assert (live.service, live.endpoint, live.protocol, live.sni) == ("web", "c:3", "tls", "x.org")
    assert (live.sent_bytes, live.received_bytes) == (0, 0)
    entry.bytes_now = lambda: (3, 4)
    assert (entry.seen(12.5).sent_bytes, entry.seen(12.5).received_bytes) == (3, 4)


def test_a_clock_that_goes_back_gives_no_negative_time() -> None:
    assert Ledger().open("outbound", "ebpf", 10.0).seen(9.0).lasted_s == 0


def test_what_has_ended_is_told_as_it_was_at_its_end() -> None:
    ledger = Ledger()
    entry = ledger.open("inbound", "nft", 5.0)
    entry.bytes_now = lambda: (7, 8)
    ledger.close(entry, Outcome.IDLE, 9.0, "silence")
    tally = ledger.tally()
    assert tally is not None
    (told,) = tally.ended
    assert (told.outcome, told.detail, told.lasted_s) == (Outcome.IDLE, "silence", 4.0)
    assert (told.sent_bytes, told.received_bytes, told.direction) == (7, 8, "inbound")


def test_kinds_are_kept_apart() -> None:
    ledger = Ledger()
    for service, outcome, times in (
        ("a", Outcome.CARRIED, 3),
        ("a", Outcome.IDLE, 2),
        ("b", Outcome.IDLE, 1),
    ):
        for _ in range(times):
            entry = ledger.open("outbound", "ebpf", 0.0)
            ledger.belongs(entry, "shop")
            entry.service = service
            ledger.close(entry, outcome, 1.0)
    tally = ledger.tally()
    assert tally is not None
    assert {(one.service, one.outcome): one.connections for one in tally.counts} == {
        ("a", Outcome.CARRIED): 3,
        ("a", Outcome.IDLE): 2,
        ("b", Outcome.IDLE): 1,
    }


@pytest.mark.parametrize("way", ["close", "put_back"])
def test_kinds_beyond_the_bound_count_as_other(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(module, "KINDS", 2)

    def full(prefix: str) -> Ledger:
        ledger = Ledger()
        for number in range(2 if way == "put_back" else 5):
            entry = ledger.open("outbound", "ebpf", 0.0)
            entry.service = f"{prefix}{number}"
            ledger.close(entry, Outcome.CARRIED, 0.0)
        return ledger

    ledger = full("a")
    if way == "put_back":
        lost = full("b").tally()
        assert lost is not None
        ledger.put_back(lost)
    tally = ledger.tally()
    assert tally is not None
    counts = {one.service: one.connections for one in tally.counts}
    assert counts == {"a0": 1, "a1": 1, "other": 2 if way == "put_back" else 3}


def test_handshakes_are_counted_by_their_result_and_handed_over_once() -> None:
    book = Ledger()
    for result in ("full", "full", "expired"):
        book.handshake("inbound", result)
    tally = book.tally()
    assert tally is not None
    assert [(one.result, one.count) for one in tally.handshakes] == [("full", 2), ("expired", 1)]
    assert book.tally() is None
    book.handshake("inbound", "full")
    book.put_back(tally)
    again = book.tally()
    assert again is not None
    assert {one.result: one.count for one in again.handshakes} == {"full": 3, "expired": 1}
