"""A place in a mesh: made, locked, given back."""

import os

import pytest
import trio

from meshtrio.cli import membership
from meshtrio.cli.complaint import Complaint, complaint_of
from meshtrio.cli.control_client import Control
from meshtrio.cli.membership import lent, own, own_cgroup
from meshtrio.config.load import load
from meshtrio.config.schema import Workload
from meshtrio.intercept import cgroup
from meshtrio.intercept.workload import Spec, WorkloadError
from tests.cli.conftest import VIP

pytestmark = pytest.mark.world
NAME = f"cli-member-{os.getpid()}"


def test_a_cgroup_is_made_and_gone_afterwards() -> None:
    with own_cgroup(NAME) as path:
        assert path == cgroup.mount_point() / "meshtrio" / NAME
        assert path.is_dir()
    assert not path.exists()


def test_two_of_one_name_cannot_meet() -> None:
    with own_cgroup(NAME), pytest.raises(Complaint, match=rf"{NAME} runs already; choose another --name"):
        own_cgroup(NAME).__enter__()
    with own_cgroup(NAME):
        pass


async def test_what_an_earlier_one_left_running_keeps_its_cgroup() -> None:
    path = cgroup.create(NAME)
    process = await trio.lowlevel.open_process(["sleep", "60"])
    cgroup.enter(path, process.pid)
    try:
        with pytest.raises(Complaint, match=rf"processes of an earlier {NAME} still run \({process.pid}\)"):
            own_cgroup(NAME).__enter__()
    finally:
        process.kill()
        await process.wait()
    assert cgroup.remove(path)


@pytest.mark.parametrize("rung", ["ebpf", "nft"])
async def test_a_mesh_of_ones_own_says_what_it_caught(
    rung: str, catalog: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(membership, "PATIENCE_S", 0.0)
    config = load(None, {}, {"workers": 0, "rung": rung, "catalog.file": catalog, "log.level": "error"})
    # The workloads of the agent's configuration are not those of every command.
    others = (Workload(name="not-ours", cgroup="/no/such/group"),)
    config = type(config)(
        **{name: getattr(config, name) for name in config.__struct_fields__} | {"workloads": others}
    )
    async with own(config, Spec(name=NAME), trio.Event()) as member:
        assert member.agent is not None
        words = f"echo 0 > {member.cgroup}/cgroup.procs; exec curl -sS http://{VIP}/x"
        done = await trio.run_process(["sh", "-c", words], capture_stdout=True)
        while await membership.connections_live(member.agent):
            await trio.sleep(0.01)
    assert done.stdout == b"hello from /x\n"
    assert capsys.readouterr().err == ""  # nothing is waited for but the end of the rules
    assert [
        (one["workload"], one["destination"], one["outcome"], one["rung"]) for one in member.connections
    ] == [(NAME, f"{VIP}:80", "carried", rung)]
    assert not member.cgroup.exists()


async def test_connections_that_do_not_end_are_told_and_cut_when_asked(
    catalog: str, server: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(membership, "PATIENCE_S", 0.05)
    config = load(
        None, {}, {"workers": 0, "catalog.file": catalog, "log.level": "error", "timeouts.drain_s": 60}
    )
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        async with own(config, Spec(name=NAME), stop) as member:
            enter = f"echo 0 > {member.cgroup}/cgroup.procs"
            words = f"{enter}; exec 3<>/dev/tcp/{VIP}/80; echo; exec sleep 60 <&3"
            process = await trio.lowlevel.open_process(["bash", "-c", words], stdout=-1)
            assert process.stdout is not None
            await process.stdout.receive_some(1)
            await process.stdout.aclose()
            nursery.start_soon(_set_later, stop)
            began = trio.current_time()
        assert trio.current_time() - began < 10
        process.kill()
        await process.wait()
    assert [one["outcome"] for one in member.connections] == ["drained"]
    assert "waiting for connections to end" in capsys.readouterr().err
    assert cgroup.remove(member.cgroup)


async def _set_later(event: trio.Event) -> None:
    await trio.sleep(0.3)
    event.set()


async def test_what_cannot_be_caught_leaves_no_cgroup() -> None:
    config = load(None, {}, {"workers": 0, "log.level": "error"})
    with pytest.raises(ExceptionGroup) as failed:
        async with own(config, Spec(name=NAME, on_agent_loss="shut"), trio.Event()):
            pytest.fail("it was caught")
    complaint = complaint_of(failed.value, (WorkloadError,))
    assert complaint and "on_agent_loss is 'shut'" in str(complaint)
    assert not (cgroup.mount_point() / "meshtrio" / NAME).exists()


async def test_an_agent_takes_a_workload_in_and_lets_it_go(agent: Control) -> None:
    async with lent(agent, Spec(name=NAME, ports=(8080,)), reporting=True) as member:
        told = await trio.to_thread.run_sync(agent.get, "/v1/status")
        assert [(one["name"], one["pid"]) for one in told["workloads"]] == [(NAME, os.getpid())]
        assert told["workloads"][0]["cgroup"] == str(member.cgroup)
        assert told["workloads"][0]["netns"] == "own"
        words = f"echo 0 > {member.cgroup}/cgroup.procs; exec curl -sS http://{VIP}/"
        await trio.run_process(["sh", "-c", words], capture_stdout=True)
    assert [one["destination"] for one in member.connections] == [f"{VIP}:80"]
    assert agent.get("/v1/status")["workloads"] == []
    assert not member.cgroup.is_dir()


async def test_one_name_again_and_again(agent: Control) -> None:
    for _ in range(4):
        async with lent(agent, Spec(name=NAME), reporting=False) as member:
            assert member.cgroup.exists()
            await trio.sleep(0.1)
            assert member.cgroup.exists()


async def test_what_the_agent_refuses_leaves_no_cgroup(agent: Control) -> None:
    with pytest.raises(Complaint, match=r"on_agent_loss"):
        async with lent(agent, Spec(name=NAME, on_agent_loss="shut"), reporting=False):
            pytest.fail("it was taken in")
    assert not (cgroup.mount_point() / "meshtrio" / NAME).exists()


async def test_an_agent_that_goes_away_meanwhile_is_no_failure(
    agent: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    async with lent(agent, Spec(name=NAME), reporting=False):
        os.kill(agent.get("/v1/status")["pid"], 15)
        while agent.answers():
            await trio.sleep(0.05)
    assert "the agent went away meanwhile" in capsys.readouterr().err
