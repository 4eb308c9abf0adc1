"""Shell. The demo's play: what is done on the stage, and whether it truly happened. Does not print.

Every scene looks at what the programs were answered; the last ones (`reckoning`) look at what the agent, the
hooks and the metrics say of the same connections. The second act is `wire_scenes`.
"""

import collections
import contextlib
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TypeAlias

import trio

from meshtrio.cli import clients
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.props import HEALTH, ORDERS, SHOP, VIP4, VIP6
from meshtrio.cli.reckoning import Reckoning, Step
from meshtrio.cli.selftest import has_ipv6
from meshtrio.cli.stage import Server, Stage
from meshtrio.cli.wire_scenes import WirePlay
from meshtrio.intercept import cgroup

TURNING_S = 10.0
"""How long what was changed may take to be known; on a quiet machine it is a second at most."""


Listed: TypeAlias = list[dict[str, Any]]
"""Endpoints, as the agent lists them."""


class Visit(NamedTuple):
    """One client: whom it dials, how often, and who may answer."""

    name: str
    host: str
    times: int
    among: frozenset[str]
    before: str = ""
    """What led to it, in words."""

    @property
    def destination(self) -> str:
        """What it dials, as the agent writes addresses."""
        return f"[{self.host}]:80" if ":" in self.host else f"{self.host}:80"


class Play:
    """All scenes, and what became of them."""

    def __init__(self, stage: Stage, told: Callable[[Step], None]) -> None:
        """`told` hears of every step as soon as it is over."""
        self._stage = stage
        self._told = told
        self._everyone = frozenset(server.name for server in stage.servers)
        self._reckoning = Reckoning(stage)
        self.wire = WirePlay(stage, lambda step: self._note(*step))
        """The second act."""
        self.steps: list[Step] = []
        self.status: dict[str, Any] = {}
        self.endpoints: Listed = []
        """Those of the shop, while one of them failed its check."""
        self.shown = ""
        """What our own commands printed at that moment."""

    @property
    def connections(self) -> Listed:
        """What the agent recorded of all this, the first first."""
        return self._reckoning.connections

    async def run(self) -> None:
        """Play everything; a scene that fails does not keep the others from being tried."""
        self.status = await self._stage.ask("/v1/status")
        self._introduce()
        for scene in (
            self._dial_addresses,
            self._dial_a_name,
            self._register,
            self._fail_a_check,
            self._stop_one,
        ):
            await self._played(scene)
        for step in await self._reckoning.steps():
            self._note(*step)
        await self.wire.run()
        self.status = await self._stage.ask("/v1/status")

    async def _played(self, scene: Callable[[], Any]) -> None:
        try:
            await scene()
        except Complaint as failed:
            self._note(scene.__name__.strip("_").replace("_", " "), False, str(failed))

    def _introduce(self) -> None:
        servers = ", ".join(f"{server.name} at {server.address}" for server in self._stage.servers)
        self._note("servers", True, f"{len(self._stage.servers)} x {self._stage.program}: {servers}")
        rung = self.status["rung"]
        why = f", for {rung['why']}" if rung["why"] else ""
        says = f"ready after {self.status['uptime_s']} s, on rung {rung['in_use']}{why}"
        self._note("agent", bool(self.status["ready"]), says)

    async def _dial_addresses(self) -> None:
        browser = clients.browser()
        await self._visit(Visit(f"{browser} to {VIP4}", VIP4, 6, self._everyone))
        if has_ipv6():
            await self._visit(Visit(f"{browser} to [{VIP6}]", VIP6, 3, self._everyone))
        else:
            self._skip(f"{browser} to [{VIP6}]", "IPv6 is switched off here")
        urllib = clients.by_urllib(f"http://{VIP4}/", 1)
        await self._visit(Visit(f"python urllib to {VIP4}", VIP4, 1, self._everyone), urllib)

    async def _dial_a_name(self) -> None:
        """Dial a service that brings no address, by the name that our resolver answers."""
        among = self._everyone - {self._stage.servers[2].name}
        host, vip = await self._named(SHOP)
        if host == vip:
            self._skip("names", f"{clients.why_no_names()}; allocated addresses are dialled instead")
        before = f"{vip} was allocated for it; "
        await self._visit(Visit(f"{clients.browser()} to {host}", host, 4, among, before))

    async def _named(self, key: str) -> tuple[str, str]:
        """Say how a service without an address of its own is dialled here, and one that it was allocated."""
        vips = (await self._stage.ask(f"/v1/services/{key}"))["vips"]
        host = vips[0] if clients.why_no_names() else f"{key.rpartition('/')[2]}.mesh"
        self._reckoning.allocated(host, vips)
        return host, vips[0]

    async def _register(self) -> None:
        """Let two endpoints of a service that nobody knew register themselves, and one leave again."""
        _, stays, leaves = self._stage.servers
        path = f"/v1/services/{ORDERS.rpartition('/')[2]}/endpoints"
        for one in (stays, leaves):
            answer = await self._stage.tell("PUT", f"{path}/{one.name}", {"address": one.address, "port": 80})
        both = frozenset((stays.name, leaves.name))
        took_s = await self._until(ORDERS, self._is_served_by(both))
        host, _ = await self._named(ORDERS)
        says = f"PUT for {answer['ttl_s']} s, known after {took_s:.2f} s; "
        await self._visit(Visit(f"{' and '.join(sorted(both))} register", host, 4, both, says))
        await self._stage.tell("DELETE", f"{path}/{leaves.name}")
        alone = frozenset((stays.name,))
        took_s = await self._until(ORDERS, self._is_served_by(alone))
        says = f"gone after {took_s:.2f} s; "
        await self._visit(Visit(f"{leaves.name} is deleted", host, 2, alone, says))

    async def _fail_a_check(self) -> None:
        """Let an endpoint fail its health check while it serves pages, and pass it again."""
        # Before its first answers nothing is known of an endpoint, and so nothing can change.
        await self._until(SHOP, lambda listed: all(one["probe"] and one["probe"]["last"] for one in listed))
        one = self._stage.make_well(1, well=False)
        took_s = await self._until_health_is(one, "unhealthy")
        host, _ = await self._named(SHOP)
        others = frozenset((self._stage.servers[0].name,))
        says = f"out after {took_s:.2f} s; "
        await self._visit(Visit(f"{one.name} fails its check", host, 2, others, says))
        await self._read_about(one)
        self._stage.make_well(1, well=True)
        took_s = await self._until_health_is(one, "healthy")
        self._note(
            f"{one.name} is well again", True, f"GET /{HEALTH} is answered by 200; back after {took_s:.2f} s"
        )

    async def _read_about(self, sick: Server) -> None:
        """Read what is known with our own commands, as a user would."""
        self.endpoints = (await self._stage.ask(f"/v1/endpoints?service={SHOP}"))["endpoints"]
        texts: dict[str, str] = {}

        async def read(*words: str) -> None:
            texts[" ".join(words)] = await self._stage.run(*words)

        async with trio.open_nursery() as reading:
            reading.start_soon(read, "services")
            reading.start_soon(read, "endpoints", "shop")
        self.shown = "\n\n".join(
            f"$ meshtrio {words}\n{texts[words].rstrip()}" for words in sorted(texts, reverse=True)
        )
        row = next((line for line in texts["endpoints shop"].splitlines() if sick.address in line), "")
        ok = "unhealthy" in row and "probe" in row and "240.240." in texts["services"]
        self._note("meshtrio services, endpoints", ok, " ".join(row.split()) or "does not tell of it")

    async def _stop_one(self) -> None:
        gone = await self._stage.stop_server(1)
        among = self._everyone - {gone.name}
        await self._visit(Visit(f"after {gone.name} was stopped", VIP4, 3, among))

    async def _visit(self, visit: Visit, command: list[str] | None = None) -> None:
        """Let a program dial; each endpoint that may answer must answer its share."""
        try:
            answers = await self._stage.run_inside(*command or clients.fetching(visit.host, visit.times))
        except Complaint as failed:
            self._note(visit.name, False, str(failed))
            return
        self._reckoning.expect(visit.destination, visit.times, answers)
        shares = collections.Counter(answers)
        ok = len(answers) == visit.times and set(shares) <= visit.among
        if not visit.times % len(visit.among):
            ok = ok and shares == dict.fromkeys(visit.among, visit.times // len(visit.among))
        self._note(visit.name, ok, f"{visit.before}answered by {', '.join(answers)}")

    async def _until_health_is(self, one: Server, health: str) -> float:
        def has(listed: Listed) -> bool:
            return any((row["address"], row["health"]) == (one.address, health) for row in listed)

        return await self._until(SHOP, has)

    def _is_served_by(self, names: Collection[str]) -> Callable[[Listed], bool]:
        wanted = {server.address for server in self._stage.servers if server.name in names}
        return lambda listed: {row["address"] for row in listed} == wanted

    async def _until(self, key: str, true: Callable[[Listed], bool]) -> float:
        """Wait until this is true of a service's endpoints; say how long that took. Complaint if never."""
        began = trio.current_time()
        with trio.move_on_after(TURNING_S):
            while True:
                listed = (await self._stage.ask("/v1/endpoints"))["endpoints"]
                if true([row for row in listed if f"{row['namespace']}/{row['service']}" == key]):
                    return trio.current_time() - began
                await trio.sleep(0.02)
        raise Complaint(f"the agent has not noticed within {TURNING_S:g} s")

    def _skip(self, name: str, why: str) -> None:
        self._note(name, True, why, skipped=True)

    def _note(self, name: str, ok: bool, says: str, skipped: bool = False) -> None:
        self.steps.append(Step(name, ok, says, skipped))
        self._told(self.steps[-1])


def aftermath(stage: Stage) -> Step:
    """Say whether the demo left anything, once the stage is gone."""
    left = [str(path) for path in (stage.folder, stage.pins) if path.exists()]
    with contextlib.suppress(OSError, cgroup.CgroupError):
        left += [str(path) for path in (cgroup.mount_point() / cgroup.OURS).glob(f"{stage.workload}*")]
    code = stage.agent.returncode if stage.agent else 1
    if code:
        left.append(f"the agent ended with {code}")
    return Step("nothing is left", not left, ", ".join(left) or "hooks, cgroups, sockets and files are gone")
