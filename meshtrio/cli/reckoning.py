"""Shell. The demo's end: what programs saw, held against what the agent, the hooks and the metrics say."""

import collections
import http.client
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import trio

from meshtrio.cli.stage import Stage

TELLING_S = 4.0
"""Workers tell what ended once a second."""


class Step(NamedTuple):
    """One thing that was to happen."""

    name: str
    ok: bool
    says: str
    skipped: bool = False
    """It cannot be on this machine, and was not tried. That is no failure."""


class Reckoning:
    """What should have happened, and what is said to have happened."""

    def __init__(self, stage: Stage) -> None:
        """Begin with nothing expected."""
        self._stage = stage
        self._expected: collections.Counter[str] = collections.Counter()
        self._answers: collections.Counter[str] = collections.Counter()
        self._names: dict[str, str] = {}
        self.connections: list[dict[str, Any]] = []

    def allocated(self, name: str, vips: Iterable[str]) -> None:
        """Take that whoever dials one of these has dialled this name: which one, the program decides."""
        for vip in vips:
            self._names[f"[{vip}]:80" if ":" in vip else f"{vip}:80"] = f"{name}:80"

    def expect(self, destination: str, times: int, answers: Iterable[str]) -> None:
        """Expect so many connections to a destination, and these servers to have had them."""
        self._expected[self._names.get(destination, destination)] += times
        self._answers.update(answers)

    async def steps(self) -> list[Step]:
        """Look, and say what was found. `connections` are known afterwards."""
        return [*await self._records(), await self._hooks(), await self._metrics()]

    async def _records(self) -> list[Step]:
        """Hold the agent's records against what the programs saw."""
        wanted = self._expected.total()
        with trio.move_on_after(TELLING_S):
            while len(self.connections) < wanted:
                told = await self._stage.ask("/v1/connections")
                self.connections = [one for one in reversed(told["ended"]) if one["direction"] == "outbound"]
                await trio.sleep(0.1)
        dialled = collections.Counter(self._dialled(one) for one in self.connections)
        by_address = {server.address: server.name for server in self._stage.servers}
        chosen = collections.Counter(by_address.get(one["endpoint"], "?") for one in self.connections)
        outcomes = collections.Counter(one["outcome"] for one in self.connections)
        carried = set(outcomes) == {"carried"} and all(one["received_bytes"] for one in self.connections)
        return [
            Step("original destinations", dialled == self._expected, _counted(dialled)),
            Step("endpoints chosen", chosen == self._answers, _counted(chosen)),
            Step("outcomes", carried, _counted(outcomes)),
        ]

    def _dialled(self, one: dict[str, Any]) -> str:
        destination: str = one["destination"]
        return self._names.get(destination, destination)

    async def _hooks(self) -> Step:
        if {one["rung"] for one in self.connections} != {"ebpf"}:
            says = "none: nf_tables rules caught the connections"
            return Step("hooks", bool(self.connections), says)
        hooks = (await self._stage.ask("/v1/status"))["hooks"]
        return Step("hooks", hooks.get("redirected", 0) >= self._expected.total(), _counted(hooks))

    async def _metrics(self) -> Step:
        text = await trio.to_thread.run_sync(_metrics, self._stage.admin_port)
        closed = re.findall(r"^istio_tcp_connections_closed_total\{.*\} (\S+)$", text, re.MULTILINE)
        counted = sum(map(float, closed))
        says = f"{counted:.0f} connections at the admin port"
        return Step("metrics", counted >= self._expected.total(), says)


def _metrics(port: int) -> str:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        line.request("GET", "/metrics")
        return line.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        line.close()


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
