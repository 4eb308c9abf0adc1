"""Core. Kubernetes's news, one object at a time, become services. Does not know how the news come.

News may come in any order, twice, late, or never; a complete list now and then makes up for what never came.
A service is only built when it is asked for: what news return is which services may have become different, so
a burst of news about one service costs one building.

Pods cost least memory when they are told before the slices that name them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Set

from meshtrio.catalog.kubernetes_index import Index, thrifty
from meshtrio.catalog.kubernetes_objects import Kind, Object
from meshtrio.catalog.kubernetes_service import Surroundings, built
from meshtrio.catalog.kubernetes_spec import BackendsSpec, NamespaceSpec
from meshtrio.catalog.kubernetes_store import Death, Store, is_older, place_of
from meshtrio.catalog.service import Service
from meshtrio.identity.spiffe import TEMPLATE, namer

_NAMED = namer(TEMPLATE, "cluster.local")


class Reducer:
    """What is known of a cluster. Keys of services are "namespace/name"."""

    def __init__(self, named: Callable[[str, str], str] = _NAMED) -> None:
        """Begin with nothing. `named` gives the SPIFFE ID of a namespace's service account."""
        self._store = Store()
        self._index = Index()
        self._around = Surroundings(
            lambda namespace: self._store.of(Kind.POD, namespace), self._is_meshed, named
        )

    def put(self, news: Object) -> set[str]:
        """Take an object as it is, or was. Returns the services that may differ by it.

        What is older than what is known, or than a deletion, changes nothing.
        """
        if not self._store.admits(news):
            return set()
        return self._taken(news)

    def _taken(self, news: Object) -> set[str]:
        before = self._store.get(news.kind, news.namespace, news.name)
        after = thrifty(before, news, self._store.of(Kind.POD, news.namespace))
        self._store.put(after)
        return self._folded(before, after)

    def gone(self, kind: Kind, namespace: str, name: str, *, uid: str = "", version: str = "") -> set[str]:
        """Take that an object was deleted. Returns the services that may differ by it.

        With the uid and the version that the news of its deletion say, older news that come later do not
        bring it back, and a successor that is known already stays. Without, only what is as old as what was
        known is kept out.
        """
        held = self._store.remove(kind, namespace, name, Death(uid, version))
        return self._folded(held, None) if held is not None else set()

    def replace(
        self,
        kind: Kind,
        objects: Iterable[Object],
        *,
        namespace: str = "",
        version: str = "",
        unread: Collection[str] = (),
    ) -> set[str]:
        """Take a complete list, of one namespace if one is given. Returns the services that may differ by it.

        What it does not name is gone. See `Listing`, which takes a long list in pieces.
        """
        listing = Listing(self, kind, namespace)
        return listing.page(objects, unread=unread) | listing.end(version)

    def rewind(self) -> None:
        """Believe what comes next, whatever its version: the cluster's versions have begun anew.

        So it is when etcd was restored from a backup: a list's version is less than that of a list before.
        Nothing that is known is lost.
        """
        self._store.rewind()

    def service(self, key: str) -> Service | None:
        """Build a service as it is now. None: it is gone, or never was."""
        namespace, _, name = key.partition("/")
        service = self._store.get(Kind.SERVICE, namespace, name)
        if service is None:
            return None
        said = self._index.slices(key) or self._older_form(namespace, name)
        return built(service, said, self._around)

    def keys(self) -> set[str]:
        """Give the keys of all services."""
        return {f"{one.namespace}/{one.name}" for one in self._store.all_of(Kind.SERVICE)}

    def _only(self, kind: Kind, namespace: str, named: Mapping[str, Set[str]], version: str) -> set[str]:
        """Let go of what a complete list does not name."""
        touched: set[str] = set()
        for one in self._store.unnamed(kind, namespace, named, version):
            self._store.drop(one)
            touched |= self._folded(one, None)
        self._store.listed(kind, namespace, version)
        return touched

    def _is_refused(self, news: Object) -> bool:
        return self._store.get(news.kind, news.namespace, news.name) is None

    def _revived(self, news: Object, version: str) -> set[str]:
        """Take what a list of this version names, and what was gone before that."""
        over = [end for end in self._store.ends(news) if is_older(version, end)]
        return self._taken(news) if self._is_refused(news) and not over else set()

    def _folded(self, before: Object | None, after: Object | None) -> set[str]:
        """Index what became of an object, and say which services may differ by it."""
        one = after or before
        assert one is not None
        if before is not None and after is not None and before.spec is after.spec and before.uid == after.uid:
            return set()
        match one.kind:
            case Kind.SERVICE:
                return {f"{one.namespace}/{one.name}"}
            case Kind.SLICE | Kind.ENDPOINTS:
                touched = self._index.put(before, after)
                if one.kind is Kind.ENDPOINTS:
                    touched = {key for key in touched if not self._index.slices(key)}
            case Kind.POD:
                touched = self._index.naming(one.namespace, one.name)
            case Kind.NAMESPACE:
                toggled = _says_meshed(before) is not _says_meshed(after)
                touched = self._index.naming_any(one.name) if toggled else set()
        return {key for key in touched if self._has(key)}

    def _has(self, key: str) -> bool:
        namespace, _, name = key.partition("/")
        return self._store.get(Kind.SERVICE, namespace, name) is not None

    def _older_form(self, namespace: str, name: str) -> list[BackendsSpec]:
        held = self._store.get(Kind.ENDPOINTS, namespace, name)
        return [held.spec] if held is not None and isinstance(held.spec, BackendsSpec) else []

    def _is_meshed(self, namespace: str) -> bool:
        return _says_meshed(self._store.get(Kind.NAMESPACE, "", namespace))


class Listing:
    """A complete list, taken in pieces, between which other news may come.

    A list that is begun and never ended has said what it named, and that nothing is gone.
    """

    def __init__(self, reducer: Reducer, kind: Kind, namespace: str = "") -> None:
        """Begin a list of a kind, of one namespace if one is given."""
        self._reducer = reducer
        self._kind = kind
        self._namespace = namespace
        self._named: dict[str, set[str]] = {}
        self._blind = False
        self._refused: list[Object] = []
        """What was held to be gone, and may not be: whether the list knows better, its version says."""

    def page(self, objects: Iterable[Object], *, unread: Collection[str] = ()) -> set[str]:
        """Take the next objects of the list. Returns the services that may differ by them.

        `unread` names those that are poison, as PoisonError does: what was known of them stays. If there is
        one without a name, it could be any, so nothing is gone by this list.
        """
        touched: set[str] = set()
        for one in objects:
            self._name(one.namespace, one.name)
            touched |= self._reducer.put(one)
            if self._reducer._is_refused(one):
                self._refused.append(one)
        for key in unread:
            namespace, _, name = key.rpartition("/")
            self._blind = self._blind or not name
            self._name(namespace, name)
        return touched

    def end(self, version: str = "") -> set[str]:
        """Take that there are no others, at this version of the list. Returns the services that may differ.

        With a version, what was made after the list stays, though the list does not name it, and what was
        held to be gone before it is back.
        """
        touched: set[str] = set()
        for one in self._refused if version else ():
            touched |= self._reducer._revived(one, version)
        if not self._blind:
            touched |= self._reducer._only(self._kind, self._namespace, self._named, version)
        return touched

    def _name(self, namespace: str, name: str) -> None:
        self._named.setdefault(place_of(self._kind, namespace, name), set()).add(name)


def _says_meshed(held: Object | None) -> bool:
    return held is not None and isinstance(held.spec, NamespaceSpec) and held.spec.meshed
