"""What the demo plays on: real processes, and nothing of them afterwards."""

import shutil
import socket
from pathlib import Path

import pytest
import trio

from meshtrio.cli import players
from meshtrio.cli import stage as module
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.props import COOK, PANTRY_PORT, PANTRY_VIP, SECRET, SHOP, VIP4
from meshtrio.cli.stage import Stage, staged

pytestmark = pytest.mark.world


def leavings(stage: Stage) -> list[str]:
    pids = [
        process.pid
        for process in (stage.agent, stage.meshed, *(one.process for one in stage.servers))
        if process
    ]
    processes = [str(pid) for pid in pids if Path(f"/proc/{pid}").exists()]
    return [*processes, *(str(path) for path in (stage.folder, stage.pins) if path.exists())]


@pytest.mark.parametrize("with_nginx", [True, pytest.param(False, marks=pytest.mark.soak)])
async def test_three_servers_and_an_agent(with_nginx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_nginx:
        monkeypatch.setattr(players, "nginx", lambda: None)
    monkeypatch.setenv("MESHTRIO_RUNG", "nft")  # settings of the caller do not reach the demo
    async with staged("ebpf") as stage:
        assert stage.program == ("nginx" if with_nginx else "python http.server")
        status = await stage.ask("/v1/status")
        assert (status["rung"]["in_use"], status["catalog"]["endpoints"]) == ("ebpf", 6)
        assert [one.name for one in stage.servers] == ["apple", "birch", "cedar"]
        answers = await stage.run_inside("curl", "-sS", *[f"http://{VIP4}/"] * 2)
        assert len(answers) == 2 and set(answers) <= {"apple", "birch", "cedar"}
        with pytest.raises(Complaint, match=r"sh ended with 3: said so"):
            await stage.run_inside("sh", "-c", "echo said so >&2; exit 3")
        assert f"{VIP4}" in await stage.run("services")
        assert stage.wire is not None
        with trio.fail_after(20):
            while not stage.wire.listens(PANTRY_PORT):
                await trio.sleep(0.02)
        assert await stage.run_as(COOK, "curl", "-sS", f"http://{PANTRY_VIP}/") == [SECRET]
        stopped = await stage.stop_server(0)
        assert stopped.process.returncode is not None
    assert leavings(stage) == []
    assert stage.agent is not None and stage.agent.returncode == 0


@pytest.mark.parametrize("with_curl", [pytest.param(True, marks=pytest.mark.soak), False])
async def test_what_is_changed_is_known(with_curl: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with staged("ebpf") as stage:
        which = shutil.which
        if not with_curl:
            monkeypatch.setattr(shutil, "which", lambda name, **more: which(name, **more) if more else None)
        path = "/v1/services/orders/endpoints/cedar"
        body = {"address": stage.servers[2].address, "port": 80}
        assert (await stage.tell("PUT", path, body))["remaining_s"] == 30
        assert await stage.tell("DELETE", path) == {"deleted": "default/orders cedar"}
        with pytest.raises(Complaint, match=r"^no endpoint cedar of default/orders is registered"):
            await stage.tell("DELETE", path)
        assert (stage.folder / "state.db").exists()

        async def healths() -> list[str]:
            listed = (await stage.ask(f"/v1/endpoints?service={SHOP}"))["endpoints"]
            return [one["health"] for one in listed if one["address"] == stage.servers[1].address]

        with trio.fail_after(10):
            for well, wanted in ((False, "unhealthy"), (True, "healthy")):
                stage.make_well(1, well=well)
                while await healths() != [wanted]:
                    await trio.sleep(0.02)


async def test_it_is_taken_down_when_interrupted() -> None:
    with trio.CancelScope() as scope:
        async with staged("ebpf") as stage:
            scope.cancel()
            await trio.sleep_forever()
    assert leavings(stage) == []


async def test_an_agent_that_does_not_come_up_is_told_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Stage] = []

    def keep(folder: Path) -> Stage:
        seen.append(Stage(folder))
        return seen[-1]

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        real = module._free_port
        ports = iter([real("127.0.0.1"), real("127.0.0.1"), real("::1"), port])
        monkeypatch.setattr(module, "_free_port", lambda host: next(ports, None) or real(host))
        monkeypatch.setattr(module, "Stage", keep)
        with pytest.raises(Complaint, match=rf"(?s)did not become ready.*cannot listen on .* {port}"):
            async with staged("ebpf"):
                pytest.fail("it came up")
    assert leavings(seen[0]) == []
