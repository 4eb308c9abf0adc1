"""Core. The table of loads fits the program that makes them, and the command that offers them."""

import re

from meshtrio.benchmark import load
from meshtrio.benchmark.scenario import NAMES, SCENARIOS, rounds_of
from meshtrio.cli import bench


def test_each_is_a_load_that_there_is() -> None:
    assert {one.mode for one in SCENARIOS} == {*load.MODES, "hold"}
    assert all(one.metrics for one in SCENARIOS)


def test_the_command_offers_them_all() -> None:
    assert bench.NAMES == NAMES
    assert [name for name in NAMES if not re.search(rf"[ ]{name}[ :,\n]", bench.HELP)] == []


def test_memory_gets_one_round() -> None:
    assert [rounds_of(one, 5) for one in SCENARIOS] == [1] + [5] * 8
