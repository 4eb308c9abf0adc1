"""Core. One worker's book of connections: those that live, those that ended, and sums. Knows no clock.

Each connection is opened once and closed once, with one Outcome.
"""

from collections import deque
from collections.abc import Callable, Iterator

from meshtrio.messages import Connection, Count, Direction, Handshakes, Live, Rung, Tally
from meshtrio.outcome import Outcome

LISTED = 200
"""How many ended connections one tally lists, the last ones. More are counted; `omitted` says how many."""
KINDS = 2000
"""How many kinds (direction, workload, service, outcome) are kept apart. Further ones count as "other"."""
LIVE_LISTED = 5000
"""How many live connections one report lists; `omitted` says how many more there are."""

Kind = tuple[Direction, str, str, Outcome]


class Entry:
    """One connection while it lives. Stages fill in what they learn; `bytes_now` reads the relay's counts."""

    __slots__ = (
        "began",
        "bytes",
        "bytes_now",
        "cipher",
        "cut",
        "destination",
        "direction",
        "doomed_at",
        "endpoint",
        "id",
        "peer",
        "policy",
        "protocol",
        "resumed",
        "rung",
        "serial",
        "service",
        "sni",
        "source",
        "tls",
        "workload",
    )

    def __init__(self, number: int, direction: Direction, rung: Rung) -> None:
        """Begin with nothing known but the door it came through."""
        self.id = number
        self.direction: Direction = direction
        self.rung: Rung = rung
        self.workload = ""
        self.source = ""
        self.destination = ""
        self.service = ""
        self.endpoint = ""
        self.protocol = ""
        self.sni = ""
        self.peer = self.serial = self.tls = self.cipher = self.policy = ""
        self.resumed = False
        self.began = 0.0
        self.bytes_now: Callable[[], tuple[int, int]] | None = None
        self.bytes = (0, 0)
        """Sent and received, once it has ended."""
        self.cut: Callable[[], None] | None = None
        """Ends it now."""
        self.doomed_at: float | None = None
        """When it is to be cut, by the running clock."""

    def seen(self, now: float, outcome: Outcome | None = None, detail: str = "") -> Connection:
        """Return the connection as a value, as it is at this wall time."""
        sent, received = self.bytes_now() if self.bytes_now else self.bytes
        return Connection(
            id=self.id,
            direction=self.direction,
            workload=self.workload,
            source=self.source,
            destination=self.destination,
            service=self.service,
            endpoint=self.endpoint,
            protocol=self.protocol,
            sni=self.sni,
            peer=self.peer,
            tls=self.tls,
            cipher=self.cipher,
            resumed=self.resumed,
            policy=self.policy,
            sent_bytes=sent,
            received_bytes=received,
            began=self.began,
            lasted_s=max(0.0, now - self.began),
            outcome=outcome,
            detail=detail,
            rung=self.rung,
        )


class Ledger:
    """All connections of one worker."""

    def __init__(self) -> None:
        """Begin with an empty book."""
        self._number = 0
        self._live: dict[int, Entry] = {}
        self._by_workload: dict[str, int] = {}
        self._sums: dict[Kind, list[int]] = {}
        self._handshakes: dict[tuple[Direction, str], int] = {}
        """Bounded by the ways and reasons that there are."""
        self._ended: deque[tuple[Entry, float, Outcome, str]] = deque()
        self._omitted = 0

    def __len__(self) -> int:
        return len(self._live)

    def open(self, direction: Direction, rung: Rung, now: float) -> Entry:
        """Begin an entry."""
        self._number += 1
        entry = Entry(self._number, direction, rung)
        entry.began = now
        self._live[entry.id] = entry
        return entry

    def belongs(self, entry: Entry, workload: str) -> int:
        """Note whose connection it is; say how many that workload has now."""
        entry.workload = workload
        count = self._by_workload.get(workload, 0) + 1
        self._by_workload[workload] = count
        return count

    def close(self, entry: Entry, outcome: Outcome, now: float, detail: str = "") -> None:
        """End an entry, and count it. Its value is made when it is told: of a flood most never are."""
        del self._live[entry.id]
        if entry.workload in self._by_workload:
            self._by_workload[entry.workload] -= 1
            if not self._by_workload[entry.workload]:
                del self._by_workload[entry.workload]
        if entry.bytes_now is not None:
            entry.bytes = entry.bytes_now()
        entry.bytes_now = entry.cut = None
        self._count((entry.direction, entry.workload, entry.service, outcome), 1, entry.bytes)
        if len(self._ended) >= LISTED:
            # Who looks after a flood looks for what came last.
            self._ended.popleft()
            self._omitted += 1
        self._ended.append((entry, now, outcome, detail))

    def handshake(self, direction: Direction, result: str) -> None:
        """Count a connection that was secured, or was to be."""
        self._handshakes[direction, result] = self._handshakes.get((direction, result), 0) + 1

    def tally(self) -> Tally | None:
        """Hand over what ended since the last tally, and begin anew; None if nothing did."""
        if not self._sums and not self._handshakes:
            return None
        counts = [Count(*kind, *sums) for kind, sums in self._sums.items()]
        ended = [entry.seen(now, outcome, detail) for entry, now, outcome, detail in self._ended]
        handshakes = [Handshakes(*kind, count) for kind, count in self._handshakes.items()]
        tally = Tally(counts, ended, self._omitted, len(self._live), handshakes)
        self._sums, self._handshakes = {}, {}
        self._ended.clear()
        self._omitted = 0
        return tally

    def put_back(self, tally: Tally) -> None:
        """Take back a tally that could not be delivered: the sums live on, the listed ones are given up."""
        for count in tally.counts:
            kind = (count.direction, count.workload, count.service, count.outcome)
            self._count(kind, count.connections, (count.sent_bytes, count.received_bytes))
        for one in tally.handshakes:
            known = self._handshakes.get((one.direction, one.result), 0)
            self._handshakes[one.direction, one.result] = known + one.count
        self._omitted += tally.omitted + len(tally.ended)

    def _count(self, kind: Kind, connections: int, carried: tuple[int, int]) -> None:
        if kind not in self._sums and len(self._sums) >= KINDS:
            kind = (kind[0], "other", "other", kind[3])
        sums = self._sums.setdefault(kind, [0, 0, 0])
        sums[0] += connections
        sums[1] += carried[0]
        sums[2] += carried[1]

    def live(self, number: int, now: float) -> Live:
        """Return the connections that live now."""
        entries = list(self._live.values())
        shown = [entry.seen(now) for entry in entries[:LIVE_LISTED]]
        return Live(number, shown, len(entries) - len(shown))

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._live.values()))
