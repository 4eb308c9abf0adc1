"""Shell. Ask other datacenters about services that no instance of our own serves, for as long as that is so.

They are far away, and many nodes may ask: no question to them blocks there. Does not know how our own
datacenter is followed.
"""

from collections.abc import Iterator, Sequence

import trio

from meshtrio.catalog.consul import read_names, read_service
from meshtrio.catalog.consul_knowledge import Knowledge
from meshtrio.discover.consul_client import Client, Question
from meshtrio.discover.consul_instances import Instances
from meshtrio.discover.consul_wire import Failed

AGAIN_S = 10.0
APART_S = 0.5
LISTS_S = 60.0
"""How often it is asked which services they have at all."""
AT_ONCE = 16


class Elsewhere:
    """What the other datacenters have, in the order in which they are asked."""

    def __init__(
        self, client: Client, datacenters: Sequence[str], knowledge: Knowledge, instances: Instances
    ) -> None:
        """Begin without knowing what they have."""
        self._client, self._knowledge, self._instances = client, knowledge, instances
        self._names: dict[str, frozenset[str]] = dict.fromkeys(datacenters, frozenset())
        self._listed_at = -LISTS_S
        self._wanted = trio.Event()

    def look(self, name: str) -> None:
        """Ask at once if this service, of which our own datacenter has just spoken, is not served by it."""
        if self._knowledge.wants(name):
            self._wanted.set()

    async def run(self) -> None:
        """Ask, until cancelled."""
        while True:
            self._wanted = trio.Event()
            if trio.current_time() >= self._listed_at + LISTS_S:
                await self._list()
            names = iter(self._knowledge.wanting)
            async with trio.open_nursery() as asking:
                for _ in range(AT_ONCE):
                    asking.start_soon(self._ask_for_each, names)
            await trio.sleep(APART_S)
            with trio.move_on_after(AGAIN_S - APART_S):
                await self._wanted.wait()

    async def _list(self) -> None:
        for datacenter in self._names:
            try:
                answer = await self._client.services(Question(), datacenter)
                self._names[datacenter] = read_names(answer.body)[0]
            except (Failed, ValueError) as failed:
                self._instances.note(f"datacenter {datacenter}: {failed}")
                continue
            self._listed_at = trio.current_time()
        self._instances.say(self._knowledge.listed_elsewhere(frozenset().union(*self._names.values())))

    async def _ask_for_each(self, names: Iterator[str]) -> None:
        for name in names:
            await self._ask_for(name)

    async def _ask_for(self, name: str) -> None:
        """Ask one datacenter after the other, until one has an instance that serves.

        If one of them cannot be asked and no other serves, what was known holds.
        """
        first, whole = None, True
        for datacenter, listed in self._names.items():
            if name not in listed:
                continue
            try:
                body = (await self._client.instances(name, Question(), datacenter)).body
                service = read_service(name, body, wan=True).service
            except (Failed, ValueError) as failed:
                self._instances.note(f"datacenter {datacenter}: {failed}")
                whole = False
                continue
            if service is not None and any(endpoint.ready for endpoint in service.endpoints):
                self._instances.say(self._knowledge.answered_elsewhere(name, body))
                return
            first = body if first is None else first
        if whole and first is not None:
            self._instances.say(self._knowledge.answered_elsewhere(name, first))
