"""The proof of a rung, on this kernel; and that it notices when there is nothing to prove."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from meshtrio.cli import selftest
from meshtrio.cli.membership import Membership
from meshtrio.cli.selftest import prove
from meshtrio.config.load import load
from meshtrio.config.schema import Config, Workload
from meshtrio.intercept import cgroup

pytestmark = pytest.mark.world
_real_inside = selftest.inside


@pytest.fixture
def config() -> Config:
    return load(None, {}, {"log.level": "error"})


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list((cgroup.mount_point() / "meshtrio").glob(f"check-{os.getpid()}-*")) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rung", ["ebpf", "nft"])
async def test_both_rungs_work_here(config: Config, rung: str) -> None:
    proofs = await prove(config, rung)
    assert [(proof.what, proof.worked) for proof in proofs] == [
        ("outbound IPv4 is caught", True),
        ("outbound IPv6 is caught", True),
        ("inbound is caught", True),
    ], proofs


async def test_a_strange_answer_is_found_out(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "ANSWER", b"somebody else was here")
    proofs = await prove(config, "ebpf")
    assert [proof.worked for proof in proofs] == [True, True, False]  # what listens says what it always says


async def test_a_peer_that_is_not_the_one_dialled_is_found_out(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "DIALLING", selftest.DIALLING.replace("getpeername", "getsockname"))
    assert [proof.worked for proof in await prove(config, "ebpf")] == [False, False, True]


async def test_nobody_there_is_found_out(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    real = selftest._catalog
    monkeypatch.setattr(selftest, "_catalog", lambda folder, ports: real(folder, [1, 1]))
    four, six, inbound = await prove(config, "ebpf")
    assert (four.worked, six.worked, inbound.worked) == (False, False, True)
    assert four.says.startswith("dialling 198.51.100.7: ")


async def test_inbound_that_goes_past_us_is_found_out(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "RULES_S", 0.3)
    monkeypatch.setattr(selftest, "inside", _outside)
    proofs = {proof.what: proof for proof in await prove(config, "ebpf")}
    assert proofs["inbound is caught"].says == "a call from outside went past us"


def _outside(member: Membership, program: str, *arguments: str) -> list[str]:
    """Let who listens do so outside; who dials stays inside, for its traffic shall not leave."""
    if program is not selftest.LISTENING:
        return _real_inside(member, program, *arguments)
    return [sys.executable, "-I", "-S", "-c", program, *arguments]


async def test_a_rung_that_cannot_begin(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise cgroup.CgroupError("cgroup v2 is not mounted")

    with monkeypatch.context() as patch:
        patch.setattr(cgroup, "mount_point", nowhere)
        (proof,) = await prove(config, "ebpf")
    assert not proof.worked
    assert proof.says == "cgroup v2 is not mounted"


async def test_the_workloads_of_the_configuration_are_left_alone(config: Config) -> None:
    config = msgspec.structs.replace(config, workloads=(Workload(name="w", cgroup="/no/such"),))
    assert all(proof.worked for proof in await prove(config, "ebpf"))
