"""Shell. What becomes of one query that came in at one door, by UDP or TCP. Does not know how it came in.

A query that can be answered here is answered at once, without a task. For any other there is an `Errand`,
which somebody runs.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import trio

from meshtrio.address import Address
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.config.discovery import Dns
from meshtrio.names import chase, wire
from meshtrio.names.answer import Answers, Chase, Drop, Forward
from meshtrio.names.question import Question, read
from meshtrio.names.reply import is_reply, truncated, used_again
from meshtrio.observe import log
from meshtrio.resolver.counts import Counts
from meshtrio.resolver.door import DNS_PORT, DnsDoor, OwnAddresses
from meshtrio.resolver.negative import Key, Negative, believed_s, key_of
from meshtrio.resolver.upstream import ask_by_tcp, ask_by_udp

IN_FLIGHT = 512
"""How many errands of a door run at once. Full: further queries are dropped, and their clients ask again."""
PATIENCE_S = 5.0
"""How long a reply is waited for. Then there is none, as there would be none without us."""


class Common:
    """What all desks share."""

    def __init__(self, snapshot: Callable[[], Snapshot], settings: Dns, answers: Answers) -> None:
        """Begin with nothing counted and nothing remembered."""
        self.snapshot = snapshot
        self.counts = Counts()
        self.negative = Negative()
        self.set(settings, answers)

    def set(self, settings: Dns, answers: Answers) -> None:
        """Go on by other settings."""
        self.settings = settings
        self.answers = answers
        self.servers = tuple(Address.of(ip, DNS_PORT) for ip in settings.servers)


class Errand(msgspec.Struct, frozen=True):
    """A query that another resolver has to be asked for."""

    query: bytes
    verdict: Forward | Chase
    servers: tuple[Address, ...]
    """Asked one after the other."""
    tcp: bool
    key: Key | None
    """Under which "there is none" is remembered."""


class Desk:
    """Decides what comes in at one door."""

    def __init__(self, common: Common, door: DnsDoor, number: int) -> None:
        """Serve this door, which no other has the number of."""
        self.common = common
        self.door = door
        self.own = OwnAddresses((*door.udp, *door.tcp))
        self._number = number
        self._in_flight = 0

    def meant(self, source: tuple[Any, ...], tcp: socket.socket | None = None) -> Address | None:
        """Say which resolver was meant by who asks; `source` is the kernel's name of it."""
        return self.door.resolver_of(Address.of(source[0], source[1]), tcp=tcp)

    def begin(self, query: bytes, meant: Callable[[], Address | None], *, tcp: bool) -> bytes | Errand | None:
        """Answer a query, or give what must be run (`run`) to answer it; None: it gets no answer.

        `meant` tells which resolver was meant, and is called only if it matters.
        """
        try:
            return self._begun(query, meant, tcp=tcp)
        except Exception as bug:  # noqa: BLE001 - one query may not end the service for all others
            self._bug(bug)
            return None

    async def run(self, errand: Errand) -> bytes | None:
        """Ask the other resolver, and give what its answer is for our client; None: it gets none."""
        counts = self.common.counts
        try:
            with trio.move_on_after(PATIENCE_S):
                reply = await self._reply(errand)
                counts.forwarded += 1
                return reply
            counts.drop("timeout")
        except OSError:
            counts.failed += 1
            return wire.error(errand.query, wire.SERVFAIL, errand.verdict.question)
        except Exception as bug:  # noqa: BLE001 - as above
            self._bug(bug)
        finally:
            self._in_flight -= 1
        return None

    def _begun(
        self, query: bytes, meant: Callable[[], Address | None], *, tcp: bool
    ) -> bytes | Errand | None:
        common = self.common
        verdict = common.answers.verdict(
            query, common.snapshot(), namespace=self.door.workload_namespace, tcp=tcp
        )
        if isinstance(verdict, bytes):
            common.counts.answered += 1
            return verdict
        if isinstance(verdict, Drop):
            common.counts.drop(verdict.value)
            return None
        servers = common.servers or (meant(),)
        return self._errand(query, verdict, servers, tcp=tcp)

    def _errand(
        self, query: bytes, verdict: Forward | Chase, meant: Sequence[Address | None], *, tcp: bool
    ) -> bytes | Errand | None:
        common, question = self.common, verdict.question
        servers = tuple(one for one in meant if one is not None and not self.own.has_address(one))
        if not servers:
            common.counts.failed += 1
            return wire.error(query, wire.SERVFAIL, question)
        key = None
        if isinstance(verdict, Forward):
            key = key_of(query, question, servers[0], door=self._number)
            kept = common.negative.find(key, trio.current_time()) if key else None
            if kept is not None and (tcp or len(kept) <= question.size):
                common.counts.remembered += 1
                return used_again(kept, query, question)
        if self._in_flight >= IN_FLIGHT:
            common.counts.drop("full")
            return None
        self._in_flight += 1
        return Errand(query, verdict, servers, tcp, key)

    async def _reply(self, errand: Errand) -> bytes:
        verdict, query = errand.verdict, errand.query
        question = verdict.question
        if isinstance(verdict, Chase):
            asked = chase.asked(query, verdict)
            reply = await self._asked(errand, asked, read(asked))
            return chase.joined(query, verdict, reply, wire.limit_of(question, tcp=errand.tcp))
        reply = await self._asked(errand, query, question)
        believed = believed_s(reply, question, self.common.settings.negative_ttl_s)
        if errand.key is not None and believed:
            self.common.negative.keep(errand.key, reply, trio.current_time() + believed)
        if not errand.tcp and len(reply) > question.size:
            return truncated(reply, question)
        return reply

    async def _asked(self, errand: Errand, query: bytes, question: Question) -> bytes:
        ask = ask_by_tcp if errand.tcp else ask_by_udp
        *others, last = errand.servers
        for server in others:
            with trio.move_on_after(PATIENCE_S / len(errand.servers)):
                try:
                    return await ask(self.door, server, query, lambda reply: is_reply(reply, query, question))
                except OSError:
                    continue
        return await ask(self.door, last, query, lambda reply: is_reply(reply, query, question))

    def _bug(self, bug: Exception) -> None:
        log.bug("a DNS query ended by a bug of ours", bug)
        self.common.counts.drop("bug")
