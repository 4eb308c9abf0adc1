"""World. What is said of rungs, before and after a real trial, and when none can be held."""

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshtrio.accelerate import ladder
from meshtrio.accelerating import Accelerating
from meshtrio.config.identity import Mtls
from meshtrio.config.schema import Config, Paths
from meshtrio.intercept.workload import Spec
from tests.bpf.fixtures import cache

__all__ = ["cache"]


class Shop(msgspec.Struct):
    """A workload, as far as it is looked at here."""

    spec: Spec
    rung: str = "ebpf"


def config(folder: Path, **settings: Any) -> Config:
    return Config(paths=Paths(cache=str(folder)), **settings)


def said(made: Accelerating, acceleration: str = "auto", rung: str = "ebpf") -> ladder.Standing:
    shop: Any = Shop(Spec(name="shop", acceleration=acceleration), rung)
    return made.workload(shop)


async def test_who_asks_for_nothing_costs_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    made = Accelerating(config(tmp_path))
    await made.tried_for("auto")
    await made.tried_for("off")
    await made.tried_for("r5")
    assert said(made, "r4") == ("r2", ladder.UNKNOWN["r4"])
    assert os.listdir(tmp_path) == []


async def test_where_none_can_be_held_that_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    made = Accelerating(config(tmp_path))
    await made.tried_for("r4")
    assert said(made, "r4").why.startswith("r4 could not be tried: ")


@pytest.mark.kernel
async def test_the_trial_is_held_for_who_asks_and_its_words_are_told(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Accelerating(config(cache))
    await made.tried_for("r4")
    why = said(made, "r4").why
    assert why.startswith(("r4 is refused on this kernel for ", "r4 is not in this version"))
    assert made.node() == ("r2", made.node().why)
    assert made.node().why.startswith("r3 is ")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    await made.tried_for("r4")  # known by now


def test_grants_need_no_trial_but_what_the_configuration_and_the_kernel_say(tmp_path: Path) -> None:
    made = Accelerating(config(tmp_path))
    assert said(made, "r5") == ("r2", "r5 needs mtls.same_node: kernel")
    made.settle(config(tmp_path, mtls=Mtls(same_node="kernel")))
    assert said(made, "r5") == ("r5", "")
    assert said(made, "r5", rung="nft") == ("r2", "r5 needs hooks, and it has none")
    made.stopless = "connections that go astray cannot be stopped"
    assert said(made, "r5") == ("r2", made.stopless)


def test_it_follows_the_configuration_and_how_a_workload_is_caught(tmp_path: Path) -> None:
    made = Accelerating(config(tmp_path))
    made.settle(config(tmp_path, rung_max="r1d"))
    assert made.node() == ("r1d", "rung_max is r1d")
    assert said(made).rung == "r1d"
    assert said(made, rung="nft").rung == "r1"
