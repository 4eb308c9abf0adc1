"""Shell. The fuzz runners in small: some hundred inputs each, and a parser that is broken on purpose."""

import random

import pytest

from tests.fuzz.__main__ import broken
from tests.fuzz.mutation import cuts, mutated
from tests.fuzz.runners import RUNNERS, Runner


@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: runner.name)
def test_the_invariant_holds(runner: Runner) -> None:
    luck = random.Random(2024)
    inputs = [*runner.seeds, *(mutated(runner.seeds, runner.words, luck) for _ in range(400))]
    for data in inputs:
        assert broken(runner, data) == "", data[:200]


def _never_five(data: bytes) -> None:
    assert data[:1] != b"5", "begins with five"


def test_a_broken_invariant_is_found() -> None:
    runner = Runner("five", "Never begins with five.", _never_five, (b"1",), (b"5", b"6"), 1e-3)
    luck = random.Random(1)
    found = [broken(runner, mutated(runner.seeds, runner.words, luck)) for _ in range(200)]
    assert any("begins with five" in trace for trace in found)


def _squares(data: bytes) -> None:
    for _ in data:
        data.count(b"x" * 50)


def test_quadratic_time_is_found() -> None:
    runner = Runner("slow", "Linear.", _squares, (b"y",), (), 1e-6)
    assert broken(runner, b"y" * 100) == ""
    assert broken(runner, b"y" * 40_000).startswith("slow")


def test_pieces_are_the_whole() -> None:
    luck = random.Random(3)
    for _ in range(200):
        data = luck.randbytes(luck.randrange(300))
        assert b"".join(cuts(data, luck)) == data
