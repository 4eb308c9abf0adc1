"""Shell. A run goes on when a peer cannot stand or a turn fails, and says so; its turns alternate."""

import contextlib
from collections.abc import Iterator

import pytest

from meshtrio.benchmark import peers
from meshtrio.benchmark.peers import Ground, Standing
from meshtrio.benchmark.process import ProcessFailed
from meshtrio.benchmark.run import Plan, measure, order
from meshtrio.benchmark.scenario import SCENARIOS

MEMORY, ROUNDTRIP = (one for one in SCENARIOS if one.name in ("memory", "roundtrip"))


def test_peers_take_turns_in_each_round() -> None:
    plan = Plan(("a", "b"), (MEMORY, ROUNDTRIP), 2, 1.0)
    turns = [(scenario.name, number, peer) for scenario, number, peer in order(plan, ["a", "b"])]
    assert turns[:2] == [("memory", 1, "a"), ("memory", 1, "b")]
    assert turns[2:] == [("roundtrip", number, peer) for number in (1, 2) for peer in ("a", "b")]


@contextlib.contextmanager
def lame(ground: Ground) -> Iterator[Standing]:
    if ground.name == "lame":
        raise ProcessFailed("it has a cold")
    yield Standing(ground, ("127.0.0.1", 9))


@contextlib.contextmanager
def deaf(ground: Ground) -> Iterator[Standing]:
    yield Standing(ground, ("127.0.0.1", 9))


@pytest.mark.world
def test_what_cannot_be_measured_is_said_and_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PEERS", {"unmeshed": peers.unmeshed, "lame": lame, "deaf": deaf})
    told: list[str] = []
    run = measure(Plan(("unmeshed", "lame", "deaf"), (ROUNDTRIP,), 2, 0.1), told.append)
    assert [(one.peer, one.why) for one in run.left_out] == [("lame", "it has a cold")]
    assert run.peers == ["unmeshed"]
    assert [one.round for one in run.samples] == [1, 2]
    assert [failure.partition(":")[0] for failure in run.failures] == [
        "roundtrip, deaf, round 1",
        "roundtrip, deaf, round 2",
    ]
    assert told[0] == "starting unmeshed" and told[-1] == "taking everything down"
    assert (run.machine.cores, run.seconds) != (0, 0)
