"""Shell. Direct connections: those that live, those that ended, and those that are to end.

What the hooks have written is read and told on as the workers tell of theirs. Does not know which services
are direct, or why.
"""

import contextlib
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import trio

from meshtrio.address import Address
from meshtrio.intercept.direct_maps import DirectMaps
from meshtrio.intercept.followed_layout import DirectEnded, DirectLive, EndedWords
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.sockdiag import LOOPBACK_INDEX, SockDiag
from meshtrio.messages import Connection, Count, Tally
from meshtrio.observe import log
from meshtrio.observe.direct_ends import end_of, is_fault, outcome_of, payload, shown, sums_of, tally_of
from meshtrio.observe.ledger import LISTED
from meshtrio.observe.sums import Later
from meshtrio.outcome import Outcome
from meshtrio.route.granting import BY_KERNEL

READ_S = 0.2
"""How often ended connections are read if none fails. The hooks keep 8,192 of them: 40,000 a second are
listed."""
IDLE_S = 1.0
"""The same while no service is direct and none has ended."""
PAUSE_S = 0.02
"""How long others have their turn after reading, however many fail."""
AT_ONCE = 2048
"""So many are read before others have their turn: 6 ms."""
ASKED_AT_ONCE = 512
"""Of so many that live the bytes are asked for before others have their turn."""
LIVE_LISTED = 5000
"""How many live connections one answer lists."""
CUTS_BOUND = 65_536
"""So many connections that we have ended are remembered until the hooks tell of their end."""

ON_REQUEST = "closed on request"
ASTRAY = "it did not arrive at the workload that it was granted to go to, and has sent nothing"
GONE_ON = "the workload was removed; the connection itself goes on"


class DirectBook:
    """All direct connections of this node."""

    def __init__(
        self,
        spaces: Callable[[], Mapping[int, Netns]],
        services: Mapping[Address, str],
        tell: Callable[[Tally, Sequence[Later]], None],
        identity: Callable[[int], str] = lambda workload: "",
    ) -> None:
        """Begin without a kernel: there are none. `spaces` gives the namespaces of workloads by their ids,
        `services` names the service of an address, `tell` gets what has ended, the last of it one by one,
        `identity` says who a workload can prove to be."""
        self.maps: DirectMaps | None = None
        self._spaces = spaces
        self._services = services
        self._tell = tell
        self._identity = identity
        self._names: dict[int, str] = {}
        self._cut: dict[int, str] = {}
        """Those that we have ended, by their cookies, and why."""
        self.failed: Callable[[Sequence[DirectEnded]], object] = len
        """Called with connections whose ends speak against their endpoints."""
        self.astray: Callable[[int, Address], object] = lambda workload, service: None
        """Called with workload and destination of a connection that did not arrive where it was granted."""

    def enter(self, number: int, name: str) -> None:
        """Know a workload by its name, until it leaves."""
        self._names[number] = name

    async def keep_reading(self) -> None:
        """Tell of connections that have ended, of those that failed at once, until cancelled."""
        if self.maps is None:
            await trio.sleep_forever()
        with select.epoll() as woken:
            # Once for each failure. By level it would be readable as long as any end is unread.
            woken.register(self.maps.failing, select.EPOLLIN | select.EPOLLET)
            wait_s = READ_S
            while True:
                with trio.move_on_after(wait_s) as calm:
                    await trio.lowlevel.wait_readable(woken.fileno())
                woken.poll(0)
                while (count := self.read()) == AT_ONCE:
                    await trio.lowlevel.checkpoint()
                wait_s = READ_S if count or self.maps.standing else IDLE_S
                if not calm.cancelled_caught:
                    await trio.sleep(PAUSE_S)

    def read(self) -> int:
        """Tell of connections that have ended, some at most; say how many."""
        ended = self.maps.ended(AT_ONCE) if self.maps is not None else []
        if not ended:
            return 0
        cut = {one.cookie: self._cut.pop(one.cookie) for one in ended if one.cookie in self._cut}
        kinds = sums_of(ended, cut.keys())
        names = {who: self._names_of(*who) for who in {(workload, to) for workload, to, _ in kinds}}
        counts = [
            Count("outbound", *names[workload, to], end, *sums) for (workload, to, end), sums in kinds.items()
        ]

        def shown_later(one: EndedWords) -> Later:
            why = ASTRAY if one.astray else cut.get(one.cookie, "")
            return partial(_shown, one, names[one.workload, one.destination], why, self._secured(one.called))

        logged = {outcome for _, _, outcome in kinds if log.heeds(outcome)}
        for one in ended if logged else ():
            if end_of(one, cut.keys()) in logged:
                log.ended(shown_later(one)())
        last = ended[-LISTED:]
        self._tell(Tally(counts, [], len(ended) - len(last)), list(map(shown_later, last)))
        if faults := [one.whole() for one in ended if one.cookie not in cut and is_fault(one)]:
            self.failed(faults)
        self._end_strays([one for one in ended if one.astray])
        return len(ended)

    def _end_strays(self, strays: Sequence[EndedWords]) -> None:
        """End connections that did not arrive where they were granted to go. The hooks keep them silent."""
        for one in strays:
            was = one.whole().was
            space = self._spaces().get(was.netns)
            if space is not None:
                with contextlib.suppress(OSError), contextlib.closing(SockDiag(space)) as line:
                    # The hooks have bound it there, to keep it silent.
                    line.destroy(was.source, was.member, one.cookie, interface=LOOPBACK_INDEX)
        for workload, destination in dict.fromkeys((one.workload, one.destination) for one in strays):
            self.astray(workload, Address.unpack(destination))

    async def live(self) -> tuple[list[Connection], int]:
        """Return the connections that live, and how many more there are.

        The hooks count bytes at the end only; of those that live the kernel is asked now, which takes 10 us
        each. Of one that has ended meanwhile, or whose workload has gone, it does not know.
        """
        found = list(self._living())
        listed: list[Connection] = []
        for at in range(0, min(len(found), LIVE_LISTED), ASKED_AT_ONCE):
            some = found[at : min(at + ASKED_AT_ONCE, LIVE_LISTED)]
            carried = self._carried(some)
            now, wall_now = time.monotonic(), time.time()
            for cookie, one in some:
                sent, received = carried.get(cookie, (0, 0))
                told: dict[str, Any] = {"sent_bytes": sent, "received_bytes": received}
                told |= self._secured(one.called)
                listed.append(shown(cookie, one, self._named(one), now=now, wall_now=wall_now, **told))
            await trio.lowlevel.checkpoint()
        return listed, len(found) - len(listed)

    def _carried(self, living: Sequence[tuple[int, DirectLive]]) -> dict[int, tuple[int, int]]:
        """Ask the kernel what these connections have sent and received, by their cookies."""
        spaces = self._spaces()
        carried: dict[int, tuple[int, int]] = {}
        for number in {one.netns for _, one in living} & spaces.keys():
            here = [(one.source, one.member, cookie) for cookie, one in living if one.netns == number]
            try:
                with contextlib.closing(SockDiag(spaces[number])) as line:
                    counts = line.counted(here)
            except OSError as refused:
                log.rarely("the kernel does not tell what direct connections have carried", why=str(refused))
                continue
            found = zip(here, counts, strict=True)
            carried |= {cookie: payload(*one) for (_, _, cookie), one in found if one is not None}
        return carried

    def leave(self, number: int) -> None:
        """Close the books of a workload whose hooks are gone."""
        while self.read() == AT_ONCE:
            pass
        now, wall_now = time.monotonic(), time.time()
        lost = []
        for cookie, one in self.maps.lose(number) if self.maps is not None else ():
            end = {"outcome": Outcome.DRAINED, "detail": GONE_ON, **self._secured(one.called)}
            lost.append(shown(cookie, one, self._named(one), now=now, wall_now=wall_now, **end))
        self._end(lost)
        self._names.pop(number, None)

    def close(self, wanted: Callable[[str, DirectLive], bool], why: str = ON_REQUEST) -> int:
        """End those that are wanted, by service and as they are, both sides by RST; say how many.

        OSError if the kernel cannot (CONFIG_INET_DIAG_DESTROY), before any is ended.
        """
        spaces = self._spaces()
        lines: dict[int, SockDiag] = {}
        closed = 0
        try:
            for cookie, one in self._living():
                if one.netns not in spaces or not wanted(self._services.get(one.destination, ""), one):
                    continue
                if one.netns not in lines:
                    lines[one.netns] = SockDiag(spaces[one.netns])
                if len(self._cut) >= CUTS_BOUND:
                    self._cut.clear()
                self._cut[cookie] = why
                if lines[one.netns].destroy(one.source, one.member, cookie):
                    closed += 1
                else:
                    self._cut.pop(cookie, None)
        finally:
            for line in lines.values():
                line.close()
        return closed

    def _living(self) -> Iterator[tuple[int, DirectLive]]:
        return self.maps.live() if self.maps is not None else iter(())

    def _end(self, connections: list[Connection]) -> None:
        if connections:
            for one in connections:
                log.ended(one)
            self._tell(tally_of(connections), ())

    def _names_of(self, workload: int, destination: bytes) -> tuple[str, str]:
        return self._names.get(workload, ""), self._services.get(Address.unpack(destination), "")

    def _secured(self, called: int) -> dict[str, str]:
        """Say who the other side is, where the kernel vouches for it."""
        return {"peer": self._identity(called), "tls": BY_KERNEL} if called else {}

    def _named(self, one: DirectLive) -> tuple[str, str]:
        return self._names.get(one.workload, ""), self._services.get(one.destination, "")


def _shown(words: EndedWords, names: tuple[str, str], why: str, secured: dict[str, str]) -> Connection:
    ended = words.whole()
    return shown(
        ended.cookie,
        ended.was,
        names,
        now=ended.at,
        wall_now=time.time() - max(0.0, time.monotonic() - ended.at),
        sent_bytes=ended.sent,
        received_bytes=ended.received,
        outcome=Outcome.DRAINED if why and not ended.astray else outcome_of(ended),
        detail=why,
        **secured,
    )
