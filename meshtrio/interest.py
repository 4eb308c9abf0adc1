"""Shell. What a worker knows of the catalog: the addresses that its workloads have dialled, kept true.

The first connection to an address asks the agent; the agent then tells of each change until the
worker forgets the address. That an address is no service is known in the same way and for as long,
so it is never a stale guess. Does not decide anything.
"""

from collections import OrderedDict

import trio

from meshtrio.address import Address
from meshtrio.catalog.service import Found
from meshtrio.channel import Channel, ChannelClosed
from meshtrio.messages import Forget, Resolve, Resolved, ToAgent, ToWorker

ADDRESSES = 8192
"""How many addresses are kept. Full: the one dialled longest ago is forgotten, and asked for again."""
ANSWER_S = 1.0
"""How long the agent may take. Longer: what was dialled counts as no service, and the policy decides."""


class Unanswered(Exception):
    """The agent is gone or does not answer, and the address was not known."""


class Interest:
    """Addresses and what they are. Used by one task loop only."""

    def __init__(self, channel: Channel[ToWorker, ToAgent]) -> None:
        """Ask over this line; whoever receives from it hands `Resolved` to `learn`."""
        self._channel = channel
        self._known: OrderedDict[Address, Found | None] = OrderedDict()
        self._asked: dict[Address, trio.Event] = {}
        self.alone = False
        """Whether the agent has gone; then nothing new can be learnt."""

    async def find(self, address: Address) -> Found | None:
        """Return what the address is; None: no service. Unanswered if nobody can say."""
        known = self._known
        if address in known:
            known.move_to_end(address)
            return known[address]
        if self.alone:
            raise Unanswered
        answered = self._asked.get(address)
        if answered is None:
            answered = self._asked[address] = trio.Event()
            try:
                with trio.move_on_after(ANSWER_S):
                    await self._channel.send(Resolve(address))
                    await answered.wait()
            except ChannelClosed:
                self.alone = True
            finally:
                self._asked.pop(address, None)
                answered.set()
        else:
            with trio.move_on_after(ANSWER_S):
                await answered.wait()
        if address not in known:
            raise Unanswered
        return known[address]

    def learn(self, news: Resolved) -> Address | None:
        """Take what the agent says. Returns an address to be forgotten, if any: nobody wants it now.

        It was pushed out, or its answer came too late; unforgotten, the agent would tell of it for ever.
        """
        answered = self._asked.get(news.address)
        if answered is None and news.address not in self._known:
            return news.address
        self._known[news.address] = news.found
        if answered is not None:
            answered.set()
        if len(self._known) > ADDRESSES:
            return self._known.popitem(last=False)[0]
        return None

    async def forget(self, address: Address) -> None:
        """Tell the agent that this address interests nobody any more."""
        try:
            await self._channel.send(Forget(address))
        except ChannelClosed:
            self.alone = True
