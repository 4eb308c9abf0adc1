"""Shell. Registrations on the disk: read at the start, and kept true from then on, in batches.

What comes within GROUP_S is one commit. A renewed registration is written later, and not each time. While
the disk does not want, nobody waits for it; once it wants again, everything is written. Ends are written
as wall time, and what is read of them is believed between GRACE_S and the TTL, so that a clock which was set
between does not end anything. Does not know who registers, or who is told.
"""

import math
import time
from collections.abc import Iterable, Iterator

import msgspec
import trio

from meshtrio.catalog.registered import Held, Registrations, Verdict
from meshtrio.catalog.registrant import Name, RegistrationFault, Where, described, read_registrant
from meshtrio.catalog.stream import Stream
from meshtrio.discover.state import Row, Store, Until
from meshtrio.discover.state_file import StateError

GRACE_S = 10.0
"""What a registration has left after a restart at least, so that its client can be heard again."""
GROUP_S = 0.02
"""How long two commits are apart at least."""
LATE_S = 1.0
"""How long the new end of a renewed registration may wait to be written."""
ANSWER_S = 2.0
"""How long somebody waits for the disk. Then the answer is no."""
WRITE_S = 10.0
"""How long a disk has for one commit. 100,000 registrations at once took 2.2 s."""
AGAIN_S = (1.0, 30.0)
"""The first and the longest pause before a disk is tried again that did not want."""
AT_ONCE = 256
"""How many rows are read before others have their turn."""

_Changes = list[tuple[Name, Held | None]]


class _Batch:
    """What is written together: as much as was asked for since the one before."""

    def __init__(self) -> None:
        self.names: dict[Name, None] = {}
        """In the order of their last change."""
        self.begun = trio.Event()
        self.over = trio.Event()
        self.durable = False

    def add(self, name: Name) -> None:
        self.names.pop(name, None)
        self.names[name] = None
        self.begun.set()


class Archive:
    """What of the registrations is on the disk."""

    def __init__(self, held: Registrations, store: Store | None, stream: Stream) -> None:
        """Keep these in `store`, or (None) nowhere. Faults are noted in the stream's record."""
        self._held = held
        self._store = store
        self._stream = stream
        self._batch = self._writing = _Batch()
        self._writing.over.set()
        self._late: set[Name] = set()
        self._written: dict[Name, float] = {}
        """The ends that are on the disk. Bounded as the registrations are."""
        self._read = False
        """Whether it is known what was on the disk at the start."""
        self._behind = True
        """Whether the disk is wrong about more than what the batches name. Then everything is written."""

    def changed(self, name: Name) -> None:
        """Note that a registration is new, other or gone."""
        self._late.discard(name)
        # While the disk is behind, the next write takes everything, so names need not be gathered for it.
        if not (self._behind and self._writing.over.is_set()):
            self._batch.add(name)

    def renewed(self, held: Held) -> None:
        """Note that a registration has a new end."""
        name, ttl_s = held.registrant.name, held.registrant.ttl_s
        # Who lives shorter than the grace gets the grace, whatever is written.
        if ttl_s > GRACE_S and held.deadline - self._written.get(name, -math.inf) >= ttl_s / 3:
            self._late.add(name)

    async def durable(self, name: Name) -> bool:
        """Wait until the last change of a registration is on the disk, and say whether it is."""
        for batch in (self._batch, self._writing):
            if name in batch.names and not batch.over.is_set():
                with trio.move_on_after(ANSWER_S):
                    await batch.over.wait()
                return batch.durable
        return self.current

    @property
    def current(self) -> bool:
        """Say whether the disk can be expected to know everything but what waits in the next batch."""
        return self._store is not None and not self._behind

    async def keep(self) -> None:
        """Write what changes, until cancelled. Call `flush` once more then."""
        pause_s = AGAIN_S[0]
        while self._store is not None:
            if self._behind:
                await trio.sleep(pause_s)
            else:
                with trio.move_on_after(LATE_S):
                    await self._batch.begun.wait()
            done = False
            with trio.move_on_after(WRITE_S, shield=True):
                # Whoever waits for this commit gets a true answer also when we are stopped in the middle.
                done = await self.flush()
            pause_s = AGAIN_S[0] if done else min(pause_s * 2, AGAIN_S[1])
            await trio.sleep(GROUP_S)

    async def flush(self) -> bool:
        """Write what waits to be written; False if the disk does not want it. Reads first, the first time."""
        batch, self._batch = self._batch, _Batch()
        self._writing = batch
        done = False
        try:
            if self._store is not None:
                await self._bring_up_to_date(self._store, batch)
                done = True
        except StateError as fault:
            self._stream.errors += 1
            self._stream.last_error = f"the state file: {fault}"[:500]
        finally:
            self._behind = not done
            batch.durable = done
            batch.over.set()
        return done

    async def _bring_up_to_date(self, store: Store, batch: _Batch) -> None:
        whole = self._behind
        if not self._read:
            # If that could not be read before, there are registrations by now that the disk does not know.
            whole = len(self._held) > 0
            await self._take_in(await store.registrations())
            self._read = True
        late, self._late = self._late, set()
        changes: _Changes = (
            [(held.registrant.name, held) for held in self._held]
            if whole
            else [(name, self._held.held(name)) for name in batch.names]
        )
        wall = time.time() - trio.current_time()
        ends = {name: held.deadline for name in late if (held := self._held.held(name))}
        if whole or changes or ends:
            untils = [Until(wall + deadline, *name) for name, deadline in ends.items()]
            await store.write(_rows(changes, wall), untils=untils, whole=whole)
        if whole:
            self._written.clear()
        self._written |= {name: held.deadline for name, held in changes if held} | ends
        for name, held in changes:
            if held is None:
                self._written.pop(name, None)

    async def _take_in(self, rows: list[Row]) -> None:
        """Take what was on the disk, but for what is known better by now."""
        for at, row in enumerate(rows):
            if at % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            name = Name(row.key, row.id)
            if self._held.held(name) is not None:
                continue
            try:
                one = read_registrant(_where(name), row.said or b"")
            except RegistrationFault as fault:
                self._stream.skips(f"{row.key} {row.id} in the state file: {fault}")
                continue
            left_s = row.until - time.time()
            for_s = min(max(left_s, GRACE_S), max(one.ttl_s, GRACE_S)) if one.ttl_s else None
            now = trio.current_time()
            if self._held.put(one, now, for_s=for_s) is Verdict.FULL:
                self._stream.skips(f"{row.key} {row.id} in the state file: there may be no more")
            else:
                self._written[name] = now + (for_s or math.inf)


def _where(name: Name) -> Where:
    namespace, _, service = name.key.partition("/")
    return Where(service, name.id, namespace)


def _rows(changes: Iterable[tuple[Name, Held | None]], wall: float) -> Iterator[Row]:
    """Make rows, one by one, in the thread that writes them."""
    for name, held in changes:
        if held is None:
            yield Row(*name, 0.0, None)
        else:
            until = wall + held.deadline if held.registrant.ttl_s else 0.0
            yield Row(*name, until, msgspec.json.encode(described(held.registrant)))
