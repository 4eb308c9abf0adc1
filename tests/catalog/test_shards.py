"""A mapping that is replaced behaves as a dict would, and leaves every older one as it was."""

import sys

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meshtrio.catalog.shards import SHARDS, WIDTH, Shards

# Keys that share small dicts, keys that share rows, and keys that share neither.
KEYS = st.sampled_from([0, 1, 2, SHARDS, SHARDS * 2, SHARDS + 1, WIDTH, WIDTH + 1])
CHANGES = st.dictionaries(KEYS, st.none() | st.integers(0, 3), max_size=4)


class AsADict(RuleBasedStateMachine):
    """Change a mapping and a dict alike, and keep all that were before."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[tuple[Shards[int, int], dict[int, int]]] = [(Shards(), {})]

    @rule(changes=CHANGES)
    def change(self, changes: dict[int, int | None]) -> None:
        old, expected = self.history[-1]
        wanted = {**expected, **changes}
        model = {key: value for key, value in wanted.items() if value is not None}
        new = old.changed(changes)
        assert (new is old) == (model == expected)
        differing = {key for key in model.keys() | expected.keys() if model.get(key) != expected.get(key)}
        assert set(new.differing(old)) == differing
        self.history.append((new, model))

    @rule(steps=st.lists(CHANGES, max_size=4))
    def change_in_steps(self, steps: list[dict[int, int | None]]) -> None:
        base, expected = self.history[-1]
        new, model = base, expected
        for changes in steps:
            wanted = {**model, **changes}
            model = {key: value for key, value in wanted.items() if value is not None}
            new = new.changed(changes, since=base)
            differing = {key for key in model.keys() | expected.keys() if model.get(key) != expected.get(key)}
            assert sorted(new.differing(base)) == sorted(differing)
        self.history.append((new, model))

    @rule(back=st.integers(1, 5))
    def compare_with_an_older_one(self, back: int) -> None:
        (new, model), (old, before) = self.history[-1], self.history[max(-back, -len(self.history))]
        differing = {key for key in model.keys() | before.keys() if model.get(key) != before.get(key)}
        assert set(new.differing(old)) == differing

    @invariant()
    def the_newest_says_what_it_should(self) -> None:
        same(*self.history[-1])

    def teardown(self) -> None:
        # Only now, for it takes long, and what one of them was made to say by mistake it goes on saying.
        for shards, model in self.history:
            same(shards, model)


def same(shards: Shards[int, int], model: dict[int, int]) -> None:
    assert {key: shards.get(key) for key in shards} == model
    assert sorted(shards.values()) == sorted(model.values())
    assert len(shards) == len(model)
    assert shards.get(3) is None


TestAsADict = AsADict.TestCase
# Looking back reaches five steps; what comes after the first twenty is more of it, at three times the cost.
TestAsADict.settings = settings(stateful_step_count=20)


def dicts(shards: Shards[int, int]) -> list[dict[int, int]]:
    return [shard for row in shards._rows for shard in row]


def test_what_is_not_touched_is_shared() -> None:
    old: Shards[int, int] = Shards[int, int]().changed({number: number for number in range(2 * SHARDS)})
    new = old.changed({5: 6, 7: None})
    unshared = [at for at, (a, b) in enumerate(zip(dicts(old), dicts(new), strict=True)) if a is not b]
    assert unshared == [5, 7]
    rows = [at for at, (a, b) in enumerate(zip(old._rows, new._rows, strict=True)) if a is not b]
    assert rows == [0]


def test_a_mapping_made_in_steps_does_not_keep_what_it_was_made_from() -> None:
    value = [1]
    base: Shards[int, list[int]] = Shards[int, list[int]]().changed({1: value, 2: [2]})
    new = base.changed({1: [3]}, since=base).changed({2: [4]}, since=base)
    assert sorted(new.differing(base)) == [1, 2]
    held = sys.getrefcount(value)
    del base
    assert sys.getrefcount(value) == held - 1
