"""The proof of granted calls, on this kernel; and that it notices when there is nothing to prove."""

import os

import pytest

from meshtrio.cli import selftest_granted
from meshtrio.cli.selftest_granted import WHAT, prove_granted
from meshtrio.config.load import load
from meshtrio.config.schema import Config
from meshtrio.intercept import cgroup

pytestmark = pytest.mark.world


@pytest.fixture
def config() -> Config:
    return load(None, {}, {"log.level": "error"})


async def test_it_works_here_and_leaves_nothing(config: Config) -> None:
    proof = await prove_granted(config)
    assert (proof.what, proof.worked) == (WHAT, True), proof
    assert list((cgroup.mount_point() / "meshtrio").glob(f"check-*-{os.getpid()}-*")) == []


async def test_a_call_that_is_relayed_all_the_time_is_found_out(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest_granted, "PATIENCE_S", 3.0)
    monkeypatch.setattr(selftest_granted, "ASKING", "auto")
    proof = await prove_granted(config)
    assert not proof.worked
    assert "no workload may go to its endpoints itself" in proof.says


async def test_a_strange_answer_is_found_out(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_granted, "ANSWER", b"somebody else was here")
    proof = await prove_granted(config)
    assert (proof.worked, proof.says) == (False, "answered by 'meshtrio was here'")
