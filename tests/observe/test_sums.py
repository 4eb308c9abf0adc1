"""Core. What the agent adds up, held against plain dictionaries."""

from collections import Counter
from functools import partial

import hypothesis.strategies as st
import pytest
from hypothesis import given

from meshtrio.messages import Connection, Count, Handshakes, Tally
from meshtrio.observe import sums as module
from meshtrio.observe.sums import Sums
from meshtrio.outcome import Outcome

counts = st.builds(
    Count,
    direction=st.sampled_from(["outbound", "inbound"]),
    workload=st.sampled_from(["shop", "db"]),
    service=st.sampled_from(["a", "b", ""]),
    outcome=st.sampled_from(Outcome),
    connections=st.integers(0, 1000),
    sent_bytes=st.integers(0, 1 << 40),
    received_bytes=st.integers(0, 1 << 40),
)


def ended(number: int) -> Connection:
    return Connection(id=number, direction="outbound", workload="", source="", destination="", began=0.0)


@given(told=st.lists(st.lists(counts, max_size=6), max_size=6))
def test_sums_are_the_sums(told: list[list[Count]]) -> None:
    sums = Sums()
    want: dict[tuple[str, str, str, Outcome], list[int]] = {}
    outcomes: Counter[str] = Counter()
    for some in told:
        sums.add(Tally(some, []))
        for one in some:
            row = want.setdefault((one.direction, one.workload, one.service, one.outcome), [0, 0, 0])
            row[0] += one.connections
            row[1] += one.sent_bytes
            row[2] += one.received_bytes
            outcomes[one.outcome.value] += one.connections
    assert sums.kinds == want
    assert sums.by_outcome() == {name: outcomes[name] for name in outcomes}


@given(told=st.lists(counts, max_size=30))
def test_kinds_have_a_bound_and_no_count_is_lost_to_it(told: list[Count]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "KINDS", 3)
        sums = Sums()
        for one in told:
            sums.add(Tally([one], []))
        assert len([kind for kind in sums.kinds if kind[1] != "other"]) <= 3
        assert len(sums.kinds) <= 3 + 2 * len(Outcome)
        for column, name in enumerate(("connections", "sent_bytes", "received_bytes")):
            total = sum(row[column] for row in sums.kinds.values())
            assert total == sum(getattr(one, name) for one in told)


def test_the_last_ones_are_kept_and_the_rest_counted() -> None:
    sums = Sums()
    sums.add(Tally([], [ended(number) for number in range(module.RECENT)], omitted=2))
    sums.add(Tally([], [ended(-1)], omitted=3))
    recent = sums.recent()
    assert len(recent) == module.RECENT
    assert (recent[0].id, recent[-1].id) == (1, -1)
    assert sums.omitted == 5


def test_of_some_the_value_is_made_when_somebody_looks() -> None:
    sums, made = Sums(), []

    def later(number: int) -> Connection:
        made.append(number)
        return ended(number)

    sums.add(Tally([], [ended(1)]), [partial(later, 2), partial(later, 3)])
    assert made == []
    assert [one.id for one in sums.recent()] == [1, 2, 3]
    assert made == [2, 3]


def test_handshakes_of_all_workers_are_added() -> None:
    sums = Sums()
    for _ in range(2):
        sums.add(Tally([], [], handshakes=[Handshakes("outbound", "resumed", 3)]))
    assert sums.handshakes == {("outbound", "resumed"): 6}
