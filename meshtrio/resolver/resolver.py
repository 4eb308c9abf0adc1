"""Shell. The resolver that workloads' queries are brought to: names of the catalog, and the rest forwarded.

serve(door)
 |- a task for each UDP socket          answers at once
 |   |- a task for each errand          another resolver is asked
 |- a task for each listening socket
     |- a task for each connection      answers at once, in order
         |- a task for each errand      answers when they come, in any order (RFC 7766, section 6.2.1.1)
"""

import itertools
import random
from collections.abc import Callable

import trio

from meshtrio.catalog.snapshot import Snapshot
from meshtrio.config.discovery import Dns
from meshtrio.names.answer import Answers
from meshtrio.resolver.counts import Counts
from meshtrio.resolver.datagrams import serve_datagrams
from meshtrio.resolver.desk import Common, Desk
from meshtrio.resolver.door import DnsDoor
from meshtrio.resolver.streams import Lines, serve_streams


class Resolver:
    """Serves any number of doors."""

    def __init__(self, snapshot: Callable[[], Snapshot], settings: Dns, *, datacenter: str = "") -> None:
        """Answer by what `snapshot` gives at the moment of each query.

        `datacenter` is Consul's own; without it, names that say one are forwarded.
        """
        self.datacenter = datacenter
        """May be replaced as well; holds with the next settings."""
        self._common = Common(snapshot, settings, self._answers(settings))
        self._numbers = itertools.count()

    @property
    def settings(self) -> Dns:
        """What it goes by. May be replaced at any time; queries from then on go by the new ones."""
        return self._common.settings

    @settings.setter
    def settings(self, settings: Dns) -> None:
        self._common.set(settings, self._answers(settings))

    @property
    def counts(self) -> Counts:
        """How queries have ended, at all doors."""
        return self._common.counts

    @property
    def remembered(self) -> int:
        """How many replies of "there is none" are kept at the moment."""
        return len(self._common.negative)

    async def serve(self, door: DnsDoor) -> None:
        """Answer what comes in at this door, until cancelled. The door stays open; connections are closed."""
        number = next(self._numbers)
        desk = Desk(self._common, door, number)
        lines = Lines()
        try:
            async with trio.open_nursery() as servers:
                for datagrams in door.udp:
                    servers.start_soon(serve_datagrams, desk, datagrams)
                for streams in door.tcp:
                    servers.start_soon(serve_streams, desk, lines, streams)
                await trio.sleep_forever()
        finally:
            self._common.negative.forget(number)

    def _answers(self, settings: Dns) -> Answers:
        return Answers(settings, random.shuffle, datacenter=self.datacenter)
