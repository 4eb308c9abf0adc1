"""Core. The newest known version of each Kubernetes object, however its news are ordered, repeated or late.
Does not know what the objects say.

A resourceVersion is a number that grows with every change in the cluster, so of two versions of a name the
greater one is newer, also where the object was deleted and made again in between. That is so in every known
server, and was never promised for those whose versions are no numbers: there the last word counts.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

import msgspec

from meshtrio.catalog.kubernetes_objects import KINDS, Kind, Object

GRAVES = 4096
"""How many deletions are remembered. Full: the oldest is forgotten, and news older than it, should they come
so late, would bring its object back until the next complete list."""

_NONE: Mapping[str, Object] = {}


class Death(NamedTuple):
    """Which one died, and when; empty: not known."""

    uid: str = ""
    version: str = ""


class Store:
    """Objects by kind, namespace and name; a Namespace is in itself."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._held: dict[Kind, dict[str, dict[str, Object]]] = {kind: {} for kind in KINDS}
        self._graves: OrderedDict[tuple[Kind, str, str], str] = OrderedDict()
        """The versions of deletions."""
        self._listed: dict[tuple[Kind, str], str] = {}
        """By kind and namespace (empty: all): the version of the last complete list."""

    def of(self, kind: Kind, namespace: str) -> Mapping[str, Object]:
        """Give the objects of one namespace by name."""
        return self._held[kind].get(namespace, _NONE)

    def all_of(self, kind: Kind) -> Iterator[Object]:
        """Give all objects of a kind."""
        return (held for of_place in self._held[kind].values() for held in of_place.values())

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Find an object."""
        return self.of(kind, place_of(kind, namespace, name)).get(name)

    def admits(self, news: Object) -> bool:
        """Say whether this is news, and not a repetition, or later overtaken, or of what was deleted."""
        held = self.get(news.kind, news.namespace, news.name)
        if held is not None:
            same = held.uid == news.uid and held.version == news.version != ""
            return not same and not is_older(news.version, held.version)
        ends = self.ends(news)
        return news.version not in ends and not any(is_older(news.version, end) for end in ends)

    def ends(self, news: Object) -> list[str]:
        """Give the versions at which this object was known to be gone: its deletion's, and those of complete
        lists, which knew it already if they did not name it."""
        places = ("", place_of(news.kind, news.namespace, news.name))
        ends = [self._graves.get((news.kind, news.namespace, news.name), "")]
        ends += [self._listed.get((news.kind, place), "") for place in places]
        return [end for end in ends if end]

    def put(self, news: Object) -> None:
        """Hold this from now on."""
        place = place_of(news.kind, news.namespace, news.name)
        self._held[news.kind].setdefault(place, {})[news.name] = news
        self._graves.pop((news.kind, news.namespace, news.name), None)

    def remove(self, kind: Kind, namespace: str, name: str, death: Death) -> Object | None:
        """Let an object go, and give it, unless a newer one than what died is held."""
        held = self.get(kind, namespace, name)
        if held is not None:
            other = death.uid not in ("", held.uid) and not is_older(held.version, death.version)
            if other or is_older(death.version, held.version):
                return None
            self.drop(held)
        self._bury((kind, namespace, name), death.version or (held.version if held else ""))
        return held

    def drop(self, held: Object) -> None:
        """Let an object go as if it had never been here."""
        place = place_of(held.kind, held.namespace, held.name)
        of_place = self._held[held.kind][place]
        del of_place[held.name]
        if not of_place:
            del self._held[held.kind][place]

    def _bury(self, who: tuple[Kind, str, str], version: str) -> None:
        if not version or is_older(version, self._graves.get(who, "")):
            return
        self._graves[who] = version
        self._graves.move_to_end(who)
        if len(self._graves) > GRAVES:
            self._graves.popitem(last=False)

    def unnamed(
        self, kind: Kind, namespace: str, named: Mapping[str, Set[str]], version: str
    ) -> list[Object]:
        """Find what a complete list of this version does not name. What is newer than the list is left out.

        `named` are names by place. With a namespace only what is there is looked at.
        """
        places = [namespace] if namespace else list(self._held[kind])
        return [
            held
            for place in places
            for name, held in self.of(kind, place).items()
            if name not in named.get(place, ()) and not is_older(version, held.version)
        ]

    def listed(self, kind: Kind, namespace: str, version: str) -> None:
        """Note that a complete list of this version was taken in, and what it does not name removed.

        Without a version nothing is known of when things were gone any more.
        """
        if not version:
            self._listed.pop((kind, namespace), None)
        elif not is_older(version, self._listed.get((kind, namespace), "")):
            self._listed[kind, namespace] = version

    def rewind(self) -> None:
        """Forget all versions: whatever comes next of an object is news."""
        self._graves.clear()
        self._listed.clear()
        for places in self._held.values():
            for of_place in places.values():
                for name, held in of_place.items():
                    of_place[name] = msgspec.structs.replace(held, version="")


def place_of(kind: Kind, namespace: str, name: str) -> str:
    """Say where an object is: in its namespace, and a Namespace in itself."""
    return name if kind is Kind.NAMESPACE else namespace


def is_older(version: str, than: str) -> bool:
    """Say whether a version is older than another. Those that are no numbers are never older."""
    if not (version.isascii() and version.isdigit() and than.isascii() and than.isdigit()):
        return False
    version, than = version.lstrip("0"), than.lstrip("0")
    return (len(version), version) < (len(than), than)
