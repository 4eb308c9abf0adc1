"""World. An agent lives in this process, with real sockets, files, workers and workloads."""

# ruff: noqa: ASYNC240 - looking whether a file is there takes no time

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from meshtrio import agent as module
from meshtrio.admin.server import AdminError
from meshtrio.agent import Agent
from meshtrio.agent_process import stop_on_signals
from meshtrio.config.environ import named
from meshtrio.config.load import load
from meshtrio.intercept.kernel import KernelRefused
from meshtrio.intercept.workload import Spec, WorkloadError
from meshtrio.places import list_path
from meshtrio.upkeep import Setting
from tests.intercept.node import ELSEWHERE, Place, a_place, path_of
from tests.support.namespace import Namespace

pytestmark = [pytest.mark.kernel, pytest.mark.world]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLLOW_S", 0.05)


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One compile cache a session, so that the text is compiled once."""
    folder = tmp_path_factory.getbasetemp() / "bpf-cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Be the service manager; give what it has heard."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def heard() -> list[str]:
            found = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    found.append(made.recv(100).decode())
            return found

        yield heard


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        found = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in found]


def setting(folder: Path, *, private: bool = False, **settings: Any) -> Setting:
    inbound, outbound, admin = free_ports(3)
    config: dict[str, Any] = {
        "rung": "nft",
        "workers": 0,
        "source_address": "fixed",
        "ports": {"inbound": inbound, "outbound": outbound, "admin": admin},
        "paths": {"control": str(folder / "control.sock"), "pins": str(folder), "cache": str(folder)},
        "discovery": {"registration": {"state": str(folder / "state.db")}},
        "identity": {"directory": "" if private else str(folder / "identity")},
        "timeouts": {"drain_s": 1},
        "log": {"level": "warning"},
        **settings,
    }
    return Setting(config=named(load(json.dumps(config), {}, {})), private=private)


@contextlib.asynccontextmanager
async def living(made: Setting) -> AsyncIterator[Agent]:
    """Let an agent live until the block ends, and then end in order."""
    async with trio.open_nursery() as nursery:
        with trio.fail_after(20):
            agent: Agent = await nursery.start(Agent(made).run)
        try:
            yield agent
        except BaseException:
            nursery.cancel_scope.cancel()
            raise
        agent.stop()
        nursery.cancel_scope.deadline = trio.current_time() + 15
    assert not nursery.cancel_scope.cancelled_caught


async def ask(agent: Agent, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Ask at the control socket."""

    def question() -> tuple[int, Any]:
        line = http.client.HTTPConnection("meshtrio", timeout=10)
        line.sock = socket.socket(socket.AF_UNIX)
        line.sock.settimeout(10)
        line.sock.connect(agent.parts.config.paths.control)
        try:
            line.request(method, path, None if body is None else json.dumps(body))
            answer = line.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            line.close()

    return await trio.to_thread.run_sync(question)


async def eventually(true: Callable[[], object]) -> None:
    with trio.fail_after(5):
        while not true():
            await trio.sleep(0.01)


def our_tables(space: Namespace) -> list[str]:
    return [line for line in space.command("nft", "list", "tables").splitlines() if "mesh" in line]


async def test_a_life(tmp_path: Path, manager: Callable[[], list[str]]) -> None:
    checks = [{"service": "web", "headers": {"key": "s3cret"}}]
    async with living(setting(tmp_path, workers=2, health_checks=checks)) as agent:
        assert manager() == ["READY=1"]
        assert await ask(agent, "GET", "/readyz") == (200, {"ready": True, "missing": []})
        status, said = await ask(agent, "GET", "/v1/status")
        assert (status, said["ready"], said["pid"], len(said["workers"])) == (200, True, os.getpid(), 2)
        shown = (await ask(agent, "GET", "/v1/config"))[1]
        assert (shown["node"], shown["health_checks"][0]["headers"]) == (socket.gethostname(), {"key": "..."})
        assert (await ask(agent, "GET", "/v1/connections"))[1]["silent_workers"] == 0
        assert b"meshtrio_ready 1.0" in await agent.metrics()
        stream = await trio.open_tcp_stream("127.0.0.1", agent.parts.config.ports.admin)
        async with stream:
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert b"".join([some async for some in stream]).endswith(b"ok\n")
        pids = [seat.pid for seat in agent.parts.fleet.seats]
    assert manager() == ["STOPPING=1"]
    assert not (tmp_path / "control.sock").exists()
    assert not list_path(tmp_path / "control.sock").exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_a_private_agent_can_be_met_by_nobody(tmp_path: Path) -> None:
    made = setting(tmp_path, private=True)
    async with living(made) as agent:
        assert agent.readiness() == []
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(OSError):
            await trio.open_tcp_stream("127.0.0.1", made.config.ports.admin)


async def test_programs_are_pinned_while_it_lives(tmp_path: Path, cache: Path) -> None:
    pins = Path(f"/sys/fs/bpf/meshtrio-test-agent-{os.getpid()}")
    paths = {"control": str(tmp_path / "control.sock"), "pins": str(pins), "cache": str(cache)}
    async with living(setting(tmp_path, rung="ebpf", paths=paths)) as agent:
        assert (pins / "maps" / "layout").exists()
        assert agent.status()["rung"] == {
            "configured": "ebpf",
            "in_use": "ebpf",
            "why": "",
            "pinned": True,
            "pinning_fault": "",
            "adopted": False,
        }
    assert not pins.exists()


async def test_workloads_come_and_go(tmp_path: Path, place: Place) -> None:
    async with living(setting(tmp_path)) as agent:
        body = {"netns": path_of(place.space), "cgroup": str(place.group)}
        status, said = await ask(agent, "PUT", "/v1/workloads/shop", body)
        assert (status, said["name"], said["rung"], said["on_agent_loss"]) == (201, "shop", "nft", "open")
        assert our_tables(place.space)
        assert (await ask(agent, "PUT", "/v1/workloads/shop", body))[0] == 409
        status, said = await ask(agent, "PUT", "/v1/workloads/other", {**body, "on_agent_loss": "maybe"})
        assert (status, "want open or closed" in said["error"]) == (409, True)
        assert [one["name"] for one in agent.status()["workloads"]] == ["shop"]  # type: ignore[attr-defined]
        assert (await ask(agent, "DELETE", "/v1/workloads/shop"))[0] == 200
        await eventually(lambda: not our_tables(place.space))
        assert (await ask(agent, "DELETE", "/v1/workloads/shop"))[0] == 404


async def test_only_an_agent_of_ones_own_gives_any_identity(tmp_path: Path, place: Place) -> None:
    spec = place.spec(namespace="office", service_account="door")
    async with living(setting(tmp_path)) as agent:
        with pytest.raises(WorkloadError, match=r"ns/office/sa/door is not allowed"):
            await agent.add_workload(spec)
        assert our_tables(place.space) == []
    async with living(setting(tmp_path, private=True)) as agent:
        added = await agent.add_workload(spec)
        assert (added["namespace"], added["service_account"]) == ("office", "door")


async def test_a_workload_that_is_left_goes_with_the_agent(tmp_path: Path, place: Place) -> None:
    async with living(setting(tmp_path)) as agent:
        await agent.add_workload(place.spec())
        assert our_tables(place.space)
        assert list_path(tmp_path / "control.sock").exists()
    assert our_tables(place.space) == []


async def test_a_workload_goes_with_its_process(tmp_path: Path, place: Place) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleep) as process:  # noqa: ASYNC220
        async with living(setting(tmp_path)) as agent:
            await agent.add_workload(place.spec(pid=process.pid))
            await trio.sleep(0.2)
            assert len(agent.parts.registry) == 1
            process.kill()
            await eventually(lambda: not our_tables(place.space))
            assert len(agent.parts.registry) == 0


async def test_what_is_configured_is_caught_before_it_is_ready(tmp_path: Path, place: Place) -> None:
    wanted = {"name": "shop", "netns": path_of(place.space), "cgroup": str(place.group)}
    async with living(setting(tmp_path, workloads=[wanted])) as agent:
        assert agent.parts.registry.get("shop") is not None
        assert our_tables(place.space)
    assert our_tables(place.space) == []


async def test_what_cannot_be_caught_ends_it_and_leaves_nothing(tmp_path: Path, place: Place) -> None:
    wanted = [
        {"name": "shop", "netns": path_of(place.space), "cgroup": str(place.group)},
        {"name": "lost", "netns": "/nonexistent/netns"},
    ]
    with pytest.RaisesGroup(WorkloadError, flatten_subgroups=True):
        await Agent(setting(tmp_path, workloads=wanted)).run()
    assert our_tables(place.space) == []
    assert not (tmp_path / "control.sock").exists()


async def test_what_a_predecessor_had_and_is_gone_is_given_up(tmp_path: Path) -> None:
    lost = {"spec": {"name": "lost", "netns": "/nonexistent"}, "id": 7, "netns_inode": 1}
    list_path(tmp_path / "control.sock").write_text(json.dumps([lost]))
    async with living(setting(tmp_path)) as agent:
        assert len(agent.parts.registry) == 0
        assert agent.readiness() == []


async def test_a_second_agent_cannot_begin_and_does_not_harm_the_first(tmp_path: Path) -> None:
    made = setting(tmp_path)
    async with living(made) as agent:
        with pytest.raises(AdminError, match="another agent runs"):
            await Agent(made).run()
        assert (await ask(agent, "GET", "/readyz"))[0] == 200


async def test_only_ebpf_where_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from meshtrio import upkeep

    async def refuse(pins: Path | None, cache: Path | None) -> None:
        await trio.lowlevel.checkpoint()
        raise KernelRefused("this kernel is from 1991")

    monkeypatch.setattr(upkeep, "open_kernel", refuse)
    with pytest.raises(KernelRefused, match="1991"):
        await Agent(setting(tmp_path, rung="ebpf")).run()
    assert not (tmp_path / "control.sock").exists()


async def test_rules_that_cannot_follow_do_not_end_it(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with living(setting(tmp_path)) as agent:
        with monkeypatch.context() as patch:

            async def fail() -> None:
                await trio.lowlevel.checkpoint()
                raise RuntimeError("the namespace has vanished")

            patch.setattr(agent.parts.registry, "refresh", fail)
            await trio.sleep(0.2)
        assert agent.readiness() == []
        await agent.add_workload(place.spec())


async def test_while_it_drains_it_answers_and_takes_nothing_new(tmp_path: Path, place: Place) -> None:
    """A connection lives on; a second, shorter stop cuts it."""
    with place.space.bound(ELSEWHERE, 80) as server:
        async with living(setting(tmp_path, timeouts={"drain_s": 60})) as agent:
            await agent.add_workload(place.spec())
            await trio.to_thread.run_sync(
                lambda: place.app.do("kept = tcp(host); kept.connect((host, 80))", host=ELSEWHERE)
            )
            server.settimeout(5)
            accepted, _ = await trio.to_thread.run_sync(server.accept)
            with accepted:
                assert len((await agent.connections())["live"]) == 1  # type: ignore[arg-type]
                agent.stop()
                await eventually(lambda: agent.parts.draining and agent.parts.fleet.draining)
                status, said = await ask(agent, "GET", "/readyz")
                assert (status, said["missing"]) == (503, ["draining"])
                with pytest.raises(WorkloadError, match="draining"):
                    await agent.add_workload(Spec(name="late", netns=path_of(place.space)))
                place.app.do("kept.sendall(b'still')")
                assert await trio.to_thread.run_sync(accepted.recv, 10) == b"still"
                began = trio.current_time()
                agent.stop(0)
                await eventually(lambda: not agent.parts.fleet.seats[0].pid)
                assert trio.current_time() - began < 3
        place.app.do("kept.close()")
    assert our_tables(place.space) == []


async def test_a_removed_workload_keeps_its_connections(tmp_path: Path, place: Place) -> None:
    with place.space.bound(ELSEWHERE, 80) as server:
        async with living(setting(tmp_path, timeouts={"drain_s": 60})) as agent:
            await agent.add_workload(place.spec())
            await trio.to_thread.run_sync(
                lambda: place.app.do("kept = tcp(host); kept.connect((host, 80))", host=ELSEWHERE)
            )
            server.settimeout(5)
            accepted, _ = await trio.to_thread.run_sync(server.accept)
            with accepted:
                await agent.remove_workload("shop")
                await trio.sleep(0.5)
                place.app.do("kept.sendall(b'still')")
                assert await trio.to_thread.run_sync(accepted.recv, 10) == b"still"
                assert our_tables(place.space)  # its connections need conntrack
            place.app.do("kept.close()")
            await eventually(lambda: not our_tables(place.space))


async def test_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(setting(tmp_path, private=True))
    stops: list[float | None] = []
    monkeypatch.setattr(agent, "stop", stops.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signals, agent)
        os.kill(os.getpid(), signal.SIGHUP)
        await trio.sleep(0.05)
        assert stops == []
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: stops == [None])
        os.kill(os.getpid(), signal.SIGINT)
        await eventually(lambda: stops == [None, 0.0])
        nursery.cancel_scope.cancel()
