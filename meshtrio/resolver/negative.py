"""Core. Replies of "there is none" that were forwarded, kept for a few seconds. Does not know the clock.

Search lists make most names fail several times before they succeed, for each connection anew. What is there
is not kept: it changes, and the resolver that was asked keeps it itself.
"""

from collections import OrderedDict
from collections.abc import Hashable

from meshtrio.address import Address
from meshtrio.names import reply
from meshtrio.names.question import Question

BOUND = 4096
"""So many replies, of some hundred bytes each. Full: the one that was not used for longest goes."""
REPLY_BYTES = 1232
"""Longer ones are not kept."""

Key = tuple[Hashable, ...]


class Negative:
    """What there is not, by who said so."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._kept: OrderedDict[Key, tuple[float, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Key, now: float) -> bytes | None:
        """Find what is kept under this key, if it may still be believed."""
        found = self._kept.get(key)
        if found is None:
            return None
        until, said = found
        if now >= until:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return said

    def keep(self, key: Key, said: bytes, until: float) -> None:
        """Keep a reply until then."""
        self._kept[key] = until, said
        self._kept.move_to_end(key)
        if len(self._kept) > BOUND:
            self._kept.popitem(last=False)

    def forget(self, door: int) -> None:
        """Let go of all that was kept for a door."""
        for key in [key for key in self._kept if key[0] == door]:
            del self._kept[key]


def key_of(query: bytes, question: Question, server: Address, *, door: int) -> Key | None:
    """Make the key for the reply to a query; None if it is for this query alone.

    The door is part of it, for 127.0.0.53 is another resolver in another namespace. All that a resolver may
    answer differently by is part of it: flags, and whether there is EDNS, with DO or not.
    """
    if question.options or not question.sound:
        return None
    asked = (question.labels, question.type, question.in_class)
    return (door, server, asked, query[2:4], question.edns, question.version, question.dnssec_ok)


def believed_s(said: bytes, question: Question, at_most_s: int) -> int:
    """Say for how long a reply may be kept; 0: not at all."""
    return min(reply.denial_ttl_s(said, question), at_most_s) if len(said) <= REPLY_BYTES else 0
