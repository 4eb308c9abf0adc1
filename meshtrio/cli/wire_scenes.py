"""Shell. The demo's second act, on the wire: two workloads that prove who they are, a third one that may not
call, and certificates that are replaced while they talk. Does not print.

Every scene looks at what the programs were answered, at what the agent recorded of it, and in the end at
every byte that went over the cable.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import trio

from meshtrio.cli import clients, props
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.props import COOK, GUEST, NO_GUESTS, PANTRY, PANTRY_PORT, PANTRY_VIP, SECRET
from meshtrio.cli.reckoning import Step
from meshtrio.cli.stage import START_S, Stage
from meshtrio.cli.words import octets
from meshtrio.outcome import Outcome

ALPN = b"meshtrio/1"
"""What callers of a mesh offer in the open, so it shows on which wire we are."""
CALLS, DENIED, ROTATED = f"{COOK} calls {PANTRY}", f"{GUEST} may not", "rotation under load"
LOAD = f"{COOK}-load"
TELLING_S = 10.0
"""Workers tell what ended once a second; three programs at once make a small machine slow."""
PAGES = 3
ROTATIONS = 4
EVERY_S = 0.2
LEAST = 5 * ROTATIONS
"""So many connections at least, or there was no load; and not too many, for only the last are listed."""

LOADING = """
import http.client, os, sys, threading, time
host, port, path, secret, folder = sys.argv[1:]
begun, enough = os.path.join(folder, "begun"), os.path.join(folder, "enough")
counts = {"new": 0, "kept": 0, "failed": 0}
lock = threading.Lock()
def go_on():
    return os.path.exists(folder) and not os.path.exists(enough)
def fetch(line, kind):
    try:
        line.request("GET", path)
        well = secret in line.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        well = False
    with lock:
        counts[kind if well else "failed"] += 1
        if min(counts["new"], counts["kept"]) == 1:
            open(begun, "w").close()
def call_anew():
    while go_on():
        line = http.client.HTTPConnection(host, int(port), timeout=5)
        fetch(line, "new")
        line.close()
        time.sleep(0.03)
def keep_one():
    line = http.client.HTTPConnection(host, int(port), timeout=5)
    line.connect()
    line.auto_open = 0
    while go_on():
        fetch(line, "kept")
        time.sleep(0.02)
threads = [threading.Thread(target=one) for one in (call_anew, call_anew, keep_one)]
for one in threads: one.start()
for one in threads: one.join()
print(*(f"{kind}={count}" for kind, count in counts.items()))
"""

Listed: TypeAlias = list[dict[str, Any]]
"""Connections, as the agent lists them."""


class WirePlay:
    """The scenes on the wire, and what became of them."""

    def __init__(self, stage: Stage, told: Callable[[Step], None]) -> None:
        """`told` hears of every step as soon as it is over."""
        self._stage = stage
        self._told = told
        self.secured: Listed = []
        """One call of each kind, as both sides recorded it."""
        self.capture: dict[str, int] = {"frames": 0, "bytes": 0}

    async def run(self) -> None:
        """Play everything; a scene that fails does not keep the others from being tried."""
        try:
            await self._until_served()
        except Complaint as late:
            self._told(Step("a server in the mesh", False, str(late)))
            return
        async with trio.open_nursery() as playing:
            for name, scene in ((CALLS, self._talk), (DENIED, self._be_denied), (ROTATED, self._rotate)):
                playing.start_soon(self._played, name, scene)
        self._read_the_wire()

    async def _played(self, name: str, scene: Callable[[], Any]) -> None:
        try:
            await scene()
        except Complaint as failed:
            self._told(Step(name, False, str(failed)))

    async def _until_served(self) -> None:
        server, wire = self._stage.meshed, self._stage.wire
        assert server is not None and wire is not None
        with trio.move_on_after(START_S):
            while server.poll() is None:
                if wire.listens(PANTRY_PORT):
                    return
                await trio.sleep(0.02)
        said = (self._stage.folder / PANTRY / "log").read_text().splitlines()[-3:]
        raise Complaint(f"it did not come up; its last words: {' '.join(said)}")

    async def _talk(self) -> None:
        """Let one workload call another; both must know who the other is."""
        page = clients.fetching(PANTRY_VIP, PAGES, asking=SECRET)
        answers = await self._stage.run_as(COOK, *page)
        cook, pantry = props.identity(COOK), props.identity(PANTRY)
        mine = self._stage.named(COOK)
        calls = await self._recorded(PAGES, direction="outbound", workload=mine)
        heard = await self._recorded(PAGES, direction="inbound", peer=cook, outcome="carried")
        self.secured += [*calls[:1], *heard[:1]]
        well = answers == [SECRET] * PAGES and len(calls) == PAGES and len(heard) >= PAGES
        well = well and {one["peer"] for one in calls} == {pantry}
        well = well and {(one["tls"], one["outcome"]) for one in calls + heard} == {("TLSv1.3", "carried")}
        secured_by = (
            ", ".join(sorted({f"{one['tls']} {one['cipher']}" for one in calls + heard})) or "nothing"
        )
        says = f"{len(calls)} calls by {secured_by}; called {_peers(calls)}, called by {_peers(heard)}"
        self._told(Step(CALLS, well, says))

    async def _be_denied(self) -> None:
        """Let a third one call, whom a rule of the policy does not let in."""
        try:
            answers = await self._stage.run_as(GUEST, *clients.fetching(PANTRY_VIP, 1))
        except Complaint:
            answers = []
        denied = await self._recorded(1, direction="inbound", peer=props.identity(GUEST))
        self.secured += denied
        well = not answers and {one["outcome"] for one in denied} == {Outcome.DENIED.value}
        well = well and all(f"rule {NO_GUESTS} denies" in one["detail"] for one in denied)
        ends = [f"{one['outcome']}, {flag(one)}: {one['detail']}" for one in denied]
        heard = f"was answered {' '.join(answers)!r}; " if answers else ""
        self._told(Step(DENIED, well, heard + (ends[0] if ends else "nobody recorded it")))

    async def _rotate(self) -> None:
        """Replace the certificates of both sides, again and again, while requests run."""
        load = _Load(self._stage)
        async with trio.open_nursery() as going:
            going.start_soon(load.run)
            rotations = await self._rotations(load)
            load.end()
        failed, new, kept = (load.counts.get(kind, -1) for kind in ("failed", "new", "kept"))
        well = rotations == ROTATIONS and not failed and new >= LEAST and kept > ROTATIONS and not load.error
        says = (
            f"{rotations} times both certificates; {new} new connections, and {kept} requests on an old one"
        )
        self._told(Step(ROTATED, well, f"{says}; {failed} failed{load.error}"))

    async def _rotations(self, load: "_Load") -> int:
        """Rotate while there is load; say how often both sides got another certificate by it."""
        names = [self._stage.named(LOAD), self._stage.named(PANTRY)]
        replaced = 0
        if not await load.is_under_way():
            return 0
        serials = await self._serials(names)
        for _ in range(ROTATIONS):
            await self._stage.tell("POST", "/v1/certs/rotate", {"workloads": names})
            now = await self._serials(names)
            replaced += len(serials) == len(now) == len(names) and not serials & now
            serials = now
            await trio.sleep(EVERY_S)
        return replaced

    async def _serials(self, names: list[str]) -> set[str]:
        told = (await self._stage.ask("/v1/certs"))["certificates"]
        return {one["serial"] for one in told if one["workload"] in names and one["serves"]}

    def _read_the_wire(self) -> None:
        """Look for what was said in what went over the cable."""
        wire = self._stage.wire
        assert wire is not None
        seen = wire.seen()
        self.capture = {"frames": wire.frames, "bytes": len(seen)}
        hellos, readable = seen.count(ALPN), seen.count(SECRET.encode())
        well = bool(hellos) and not readable and not wire.lost
        lost = f"; {wire.lost} were lost" if wire.lost else ""
        says = f"{wire.frames} frames, {octets(len(seen))}: {ALPN.decode()} {hellos} times, what they say "
        says += f"{readable} times{lost}"
        self._told(Step("capture of the wire", well, says))

    async def _recorded(self, wanted: int, **like: str) -> Listed:
        """Return connections that are like this and have ended, when there are enough, or a while later."""
        found: Listed = []
        with trio.move_on_after(TELLING_S):
            while len(found) < wanted:
                told = (await self._stage.ask("/v1/connections"))["ended"]
                found = [one for one in told if all(one.get(name) == value for name, value in like.items())]
                await trio.sleep(0.1)
        return found


class _Load:
    """A program that calls all the time, over new connections and over an old one."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._folder: Path = stage.folder / "load"
        self._folder.mkdir()
        self._over = trio.Event()
        self.counts: dict[str, int] = {}
        """How many requests went well, by kind, and how many did not."""
        self.error = ""

    async def run(self) -> None:
        """Call until `end`. What went wrong is told by `error`."""
        where = (PANTRY_VIP, str(PANTRY_PORT), f"/?{SECRET}", SECRET, str(self._folder))
        try:
            words = await self._stage.run_as(LOAD, sys.executable, "-c", LOADING, *where)
        except Complaint as failed:
            self.error = f"; {failed}"
        else:
            told = (word.partition("=") for word in words)
            self.counts = {kind: int(count) for kind, _, count in told}
        self._over.set()

    async def is_under_way(self) -> bool:
        """Wait for its first answers. False: none came."""
        with trio.move_on_after(START_S):
            while not self._over.is_set():
                if (self._folder / "begun").exists():
                    return True
                await trio.sleep(0.02)
        return False

    def end(self) -> None:
        """Let it finish what it began."""
        (self._folder / "enough").touch()


def flag(one: dict[str, Any]) -> str:
    """Return the letters by which other meshes call how a connection ended."""
    return Outcome(one["outcome"]).flag


def _peers(listed: Listed) -> str:
    return ", ".join(sorted({one["peer"] or "nobody known" for one in listed})) or "nobody"
