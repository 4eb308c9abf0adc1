"""Shell. A real Consul agent on loopback, as tools/setup.sh brought it, with words to change what it knows.

    async with agent(tmp_path) as consul:
        await consul.register("web", port=8080)
        await consul.kill()
        await consul.start()                 # the same ports; the same data if lasting=True

Does not know how meshtrio asks.
"""

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from meshtrio.catalog.merge import Merge
from meshtrio.catalog.service import Service
from meshtrio.catalog.vips import Vips
from meshtrio.config.discovery import Consul
from meshtrio.discover.consul import follow_consul
from meshtrio.discover.hub import Hub, Sink
from tests.support.tree import TREE

BINARY = TREE / "build/consul/consul"
READY_S = 30


def missing() -> str:
    """Say why there is no agent to be had, or nothing if there is."""
    if found() is None:
        return "no Consul (make setup-test fetches it into build/consul)"
    return ""


def found() -> str | None:
    return str(BINARY) if BINARY.exists() else shutil.which("consul")


class Agent:
    """One agent, which is its own server. Its ports stay the same when it starts again."""

    def __init__(self, folder: Path, *, lasting: bool, config: dict[str, Any]) -> None:
        self._folder = folder
        self._lasting = lasting
        self._config = config
        self._ports = _free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None
        self.token = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, and wait until it has a leader and lists itself."""
        http, server, lan, wan = self._ports
        config = {
            "ports": {
                "http": http, "server": server, "serf_lan": lan, "serf_wan": wan, "dns": -1, "grpc": -1,
            },
            "bind_addr": "127.0.0.1",
            "node_name": "node-1",
            "performance": {"raft_multiplier": 1},
            "limits": {"http_max_conns_per_client": 1000},
            **self._config,
        }  # fmt: skip
        if self._lasting:
            config |= {"server": True, "bootstrap_expect": 1, "data_dir": str(self._folder / "data")}
        (self._folder / "consul.json").write_text(json.dumps(config))
        self._launch()
        try:
            with trio.fail_after(READY_S):
                while not await self._ready():
                    await trio.sleep(0.05)
        except trio.TooSlowError:
            words = (self._folder / "consul.log").read_text()[-2000:]
            raise AssertionError(f"Consul did not start: {words}") from None

    def _launch(self) -> None:
        command = [str(found()), "agent", f"-config-file={self._folder / 'consul.json'}"]
        with open(self._folder / "consul.log", "ab") as log:
            self._process = subprocess.Popen(
                command + ([] if self._lasting else ["-dev"]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _ready(self) -> bool:
        """Say whether it is past its beginnings. With ACLs only the token's owner sees the list."""
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "consul.log").read_text()[-2000:]
        try:
            leader = await self.ask("GET", "/v1/status/leader")
            return bool(leader) and bool(await self.ask("GET", "/v1/catalog/services"))
        except (httpx.HTTPError, AssertionError):
            return False

    async def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            await trio.to_thread.run_sync(process.wait)

    def pause(self) -> None:
        """Stop it: connections stay, nothing is answered, as when packets are lost."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask it anything; AssertionError if it does not answer 200."""
        headers = {"X-Consul-Token": self.token} if self.token else {}
        # Nothing is verified over plain HTTP, and loading certificates takes longer than to ask.
        async with httpx.AsyncClient(verify=False, trust_env=False, headers=headers, timeout=5) as http:
            answer = await http.request(method, self.address + path, json=body)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content.strip() else None

    async def register(self, name: str, **words: Any) -> None:
        """Register an instance of a service at this agent, with a check that one sets by `mark`."""
        words.setdefault("id", name)
        body = {"Name": name, "ID": words.pop("id"), "Address": "127.0.0.9", "Port": words.pop("port", 80)}
        check = {"CheckID": f"check:{body['ID']}", "TTL": "1h", "Status": words.pop("status", "passing")}
        await self.ask("PUT", "/v1/agent/service/register", {**body, "Check": check, **words})

    async def mark(self, id_: str, how: str) -> None:
        """Set the check of an instance: pass, warn or fail."""
        await self.ask("PUT", f"/v1/agent/check/{how}/check:{id_}")

    async def deregister(self, id_: str) -> None:
        await self.ask("PUT", f"/v1/agent/service/deregister/{id_}")


class Heard(Sink):
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(Hub(Merge(Vips()), lambda snapshot: None), "consul")
        self.services: dict[str, Service] = {}
        self.complete = 0

    def say(self, changed: Mapping[str, Service | None], *, complete: bool = False) -> None:
        if complete:
            self.complete += 1
            self.services = {}
        for key, service in changed.items():
            if service is None:
                self.services.pop(key, None)
            else:
                self.services[key] = service

    def ids(self, name: str) -> list[str]:
        service = self.services.get(f"default/{name}")
        return [endpoint.id for endpoint in service.endpoints] if service else []

    def health(self, name: str) -> list[str]:
        service = self.services.get(f"default/{name}")
        return [endpoint.health.value for endpoint in service.endpoints] if service else []


async def until(is_true: Callable[[], bool], within_s: float = 10.0) -> float:
    """Wait until this is so, and say how long it took."""
    began = trio.current_time()
    with trio.fail_after(within_s):
        while not is_true():
            await trio.sleep(0.005)
    return trio.current_time() - began


@asynccontextmanager
async def followed(settings: Consul) -> AsyncIterator[Heard]:
    """Follow Consul for as long as the block lasts."""
    heard = Heard()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow_consul, settings, heard)
        yield heard
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def agent(
    folder: Path, *, lasting: bool = False, config: dict[str, Any] | None = None, token: str = ""
) -> AsyncIterator[Agent]:
    """Run an agent. `lasting`: it keeps its data over a restart. It is gone when the block ends."""
    consul = Agent(folder, lasting=lasting, config=config or {})
    consul.token = token
    try:
        await consul.start()
        yield consul
    finally:
        with trio.move_on_after(10, shield=True):
            await consul.kill()


def _free_ports(count: int) -> list[int]:
    """Find ports that are free for TCP and UDP, below those that the kernel gives to others meanwhile."""
    sockets: list[socket.socket] = []
    ports: list[int] = []
    for port in range(21_000 + (id(sockets) // 64) % 9000, 32_000):
        tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        sockets += [tcp, udp]
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            continue
        ports.append(port)
        if len(ports) == count:
            break
    for one in sockets:
        one.close()
    return ports
