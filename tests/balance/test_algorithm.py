"""What holds for every algorithm, whoever comes and goes in whatever order."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshtrio.balance.algorithm import HASHING, NAMES, make
from meshtrio.balance.ewma import measured
from meshtrio.balance.member import Member
from tests.support.members import algorithm, counts, many, member, members, picks

each = pytest.mark.parametrize("name", NAMES)
IDS = st.sampled_from([f"m{number}" for number in range(14)])
WEIGHTS = st.one_of(st.integers(1, 100).map(float), st.floats(0.01, 200))
KEYS = st.integers(0, 2**64 - 1)


class Model(RuleBasedStateMachine):
    """Members come, go and change while calls begin and end; the model is the dictionary of who is there."""

    def __init__(self) -> None:
        super().__init__()
        self.there: dict[str, Member] = {}
        self.held: list[Member] = []
        self.now = 0.0

    @initialize(name=st.sampled_from(NAMES), start=st.integers(0, 30), bound=st.sampled_from([0, 1.05, 2]))
    def begin(self, name: str, start: int, bound: float) -> None:
        self.name = name
        self.chosen = make(name, start=start, luck=random.Random(start), bounded_load=bound)

    @rule(names=st.sets(IDS), weight=WEIGHTS)
    def become(self, names: set[str], weight: float) -> None:
        for name in names - self.there.keys():
            self.there[name] = member(name, weight)
        self.there = {name: one for name, one in self.there.items() if name in names}
        self._replace()

    @rule(name=IDS)
    def flap(self, name: str) -> None:
        if self.there.pop(name, None) is None:
            self.there[name] = member(name)
        self._replace()

    @precondition(lambda self: self.there)
    @rule(data=st.data(), weight=WEIGHTS)
    def weigh(self, data: st.DataObject, weight: float) -> None:
        self.there[data.draw(st.sampled_from(sorted(self.there)))].weight = weight
        self._replace()

    def _replace(self) -> None:
        shuffled = list(self.there.values())
        random.Random(len(self.held)).shuffle(shuffled)
        self.chosen.replace(shuffled)

    @rule(key=st.none() | KEYS, tried=st.sets(IDS, max_size=3), times=st.integers(1, 9))
    def call(self, key: int | None, tried: set[str], times: int) -> None:
        for _ in range(times):
            self._call(key, tried)

    @rule(key=st.none() | KEYS)
    def try_all(self, key: int | None) -> None:
        tried: set[str] = set()
        for _ in range(len(self.there)):
            self._call(key, tried)
            tried.add(self.held.pop().id)
        assert tried == self.there.keys()
        assert self.chosen.pick(self.now, key, tried) is None

    def _call(self, key: int | None, tried: set[str]) -> None:
        picked = self.chosen.pick(self.now, key, tried)
        if self.there.keys() - tried:
            assert picked is not None
            assert picked is self.there[picked.id]
            assert picked.id not in tried
            self.held.append(picked)
            picked.active += 1
        else:
            assert picked is None

    @rule(later_s=st.floats(0, 100), took_s=st.floats(0, 10), ends=st.integers(0, 20))
    def end(self, later_s: float, took_s: float, ends: int) -> None:
        self.now += later_s
        for _ in range(min(ends, len(self.held))):
            ended = self.held.pop(0)
            ended.active -= 1
            measured(ended, took_s, self.now)

    @invariant()
    def nobody_is_picked_who_is_not_there(self) -> None:
        if not self.there and hasattr(self, "chosen"):
            assert self.chosen.pick(self.now, 0, ()) is None


Model.TestCase.settings = settings(deadline=None, stateful_step_count=25)
TestModel = Model.TestCase


@each
def test_nobody_there_is_nobody_picked(name: str) -> None:
    chosen = algorithm(name)
    assert chosen.pick(0.0, 1, ()) is None
    chosen.replace(members("ab"))
    chosen.replace([])
    assert chosen.pick(0.0, 1, ()) is None
    assert chosen.pick(0.0, None, ()) is None


@each
def test_what_was_tried_is_not_picked_while_another_is_there(name: str) -> None:
    chosen, there = algorithm(name), many(20)
    chosen.replace(there)
    tried: set[str] = set()
    while (picked := chosen.pick(0.0, 7, tried)) is not None:
        assert picked.id not in tried
        tried.add(picked.id)
    assert len(tried) == 20
    assert set(picks(chosen, 50, {"not", "known"} | tried - {there[3].id})) == {there[3].id}


@each
@pytest.mark.parametrize("count", [2, 8, 9, 40])
def test_nobody_starves(name: str, count: int) -> None:
    chosen = algorithm(name)
    chosen.replace(many(count))
    assert len(counts(chosen, 60 * count)) == count


@each
def test_nobody_who_weighs_little_starves(name: str) -> None:
    chosen = algorithm(name)
    chosen.replace(members({"a": 1, "b": 20, "c": 20}))
    assert 1 <= counts(chosen, 3000)["a"] <= (1000 if name == "round_robin" else 300)


@each
def test_a_thousand_members_and_many_picks(name: str) -> None:
    chosen = algorithm(name)
    chosen.replace(many(1000))
    found = counts(chosen, 30_000)
    assert len(found) == 1000
    assert max(found.values()) < 30 * 2.5


@each
def test_a_change_sends_no_herd_to_the_newcomer(name: str) -> None:
    chosen, there = algorithm(name), many(9)
    chosen.replace(there)
    counts(chosen, 100)
    chosen.replace([*there, member("0-new")])
    assert counts(chosen, 1000)["0-new"] < 200


@each
def test_a_bad_weight_is_refused_and_the_members_stay(name: str) -> None:
    chosen = algorithm(name)
    chosen.replace(members("ab"))
    with pytest.raises(ValueError, match="c weighs 0"):
        chosen.replace(members({"a": 1, "c": 0}))
    assert set(counts(chosen, 100)) == {"a", "b"}


@pytest.mark.parametrize("name", sorted(set(NAMES) - HASHING - {"random", "peak_ewma"}))
def test_workers_do_not_begin_alike(name: str) -> None:
    firsts = set()
    for start in range(4):
        chosen = algorithm(name, start=start)
        chosen.replace(members("abcd"))
        firsts.update(picks(chosen, 1))
    assert firsts == set("abcd")


@pytest.mark.parametrize("name", sorted(HASHING))
@given(keys=st.lists(KEYS, min_size=1), names=st.sets(IDS, min_size=1), luck=st.randoms())
@settings(deadline=None)
def test_the_same_key_goes_to_the_same_member_everywhere(
    name: str, keys: list[int], names: set[str], luck: random.Random
) -> None:
    here, there = algorithm(name, start=1), algorithm(name, start=2)
    here.replace(members(sorted(names)))
    there.replace(members(["gone", "m0", "m5"]))
    shuffled = sorted(names)
    luck.shuffle(shuffled)
    there.replace(members(shuffled))
    picks(there, 200, keys=luck)  # a table is filled while picks go on
    for key in keys:
        one, other = here.pick(0.0, key, ()), there.pick(1.0, key, ())
        assert one is not None
        assert other is not None
        assert one.id == other.id
        assert here.pick(2.0, key, ()) is one


def test_an_unknown_name_is_no_algorithm() -> None:
    with pytest.raises(KeyError, match="roundrobin"):
        algorithm("roundrobin")


def test_those_that_hash_are_known_by_name() -> None:
    assert {name for name in NAMES if hasattr(algorithm(name), "keyless")} == HASHING
