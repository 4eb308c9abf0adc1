"""Kubernetes's news folded in every order: what comes out is true, and what differs is touched."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.catalog.kubernetes import Listing, Reducer
from meshtrio.catalog.kubernetes_objects import KINDS, Kind
from meshtrio.catalog.service import Service
from tests.catalog.kubernetes_truth import (
    MESH,
    Json,
    Truth,
    backend,
    meta,
    naive,
    namespace,
    pod,
    read,
    service,
    slice_,
)

KEYS = ("shop/web", "shop/api")
POD_NAMES = ("a", "b", "c")


class News(NamedTuple):
    kind: Kind
    said: Json
    died: bool


class Cluster:
    """What is true, what was true at each version, and all news that led there."""

    def __init__(self) -> None:
        self.version = 100  # so that versions of two and of four digits are compared too
        self.past: dict[int, Truth] = {self.version: {}}
        self.news: list[News] = []

    @property
    def truth(self) -> Truth:
        return self.past[self.version]

    def change(self, kind: Kind, said: Json, *, dies: bool) -> None:
        said = copy.deepcopy(said)
        place = (kind, said["metadata"].get("namespace", ""), said["metadata"]["name"])
        truth = dict(self.truth)
        before = truth.pop(place, None)
        if dies and before is None:
            return
        self.version += 1 if self.version % 7 else 950
        said = copy.deepcopy(before) if dies and before else said
        uid = (
            before["metadata"]["uid"]
            if before
            else f"{place[2]}-{sum(n.kind is kind for n in self.news) % 2}"
        )
        said["metadata"].update(resourceVersion=str(self.version), uid=uid)
        if not dies:
            truth[place] = said
        self.news.append(News(kind, said, dies))
        self.past[self.version] = truth


class Follower:
    """A reducer, and the services as who asks only for what is touched knows them."""

    def __init__(self) -> None:
        self.reducer = Reducer()
        self.known: dict[str, Service | None] = {}

    def hear(self, touched: set[str]) -> None:
        for key in touched:
            self.known[key] = self.reducer.service(key)

    def news(self, one: News) -> None:
        said = one.said["metadata"]
        if not one.died:
            return self.hear(self.reducer.put(read(one.kind, one.said)))
        place = (one.kind, said.get("namespace", ""), said["name"])
        return self.hear(self.reducer.gone(*place, uid=said["uid"], version=said["resourceVersion"]))

    def list(self, cluster: Cluster, kind: Kind, at: int) -> None:
        listed = [read(kind, said) for (one, _, _), said in cluster.past[at].items() if one is kind]
        self.hear(self.reducer.replace(kind, listed, version=str(at)))

    def agrees(self, cluster: Cluster) -> None:
        for key in KEYS:
            assert self.reducer.service(key) == naive(cluster.truth, key)
            assert self.known.get(key) == naive(cluster.truth, key), f"{key} was not touched"
        assert self.reducer.keys() == {key for key in KEYS if naive(cluster.truth, key)}


def _ends(draw: Any) -> list[Json]:
    made = []
    for name in draw(st.lists(st.sampled_from((*POD_NAMES, "")), max_size=4)):
        one = backend(f"10.0.0.{draw(st.integers(1, 3))}", name)
        one["conditions"] = draw(st.sampled_from(({"ready": True}, {"ready": False}, {"terminating": True})))
        if name:
            one["targetRef"]["uid"] = f"{name}-{draw(st.integers(0, 1))}"
        made.append(one)
    return made


@st.composite
def said(draw: Any) -> tuple[Kind, Json]:
    kind = draw(st.sampled_from((Kind.SLICE, *KINDS)))
    name = draw(st.sampled_from(("web", "api")))
    match kind:
        case Kind.SERVICE:
            ports = [{"name": name, "port": n} for n, name in enumerate(("http", "tcp-x"), 80)]
            spec = {
                "ports": ports[: draw(st.integers(0, 2))],
                "publishNotReadyAddresses": draw(st.booleans()),
            }
            made = service(name, **spec)
        case Kind.SLICE:
            ports = [
                {"name": draw(st.sampled_from(("http", "tcp-x"))), "port": draw(st.integers(8080, 8081))}
            ]
            made = slice_(
                draw(st.sampled_from("xyz")), *_ends(draw), of=draw(st.sampled_from(("web", "api", "")))
            )
            made["ports"] = ports
        case Kind.ENDPOINTS:
            ends = [{"ip": one["addresses"][0], "targetRef": one.get("targetRef")} for one in _ends(draw)]
            subset = {
                "ports": [{"name": "http", "port": 8080}],
                "addresses": ends[:1],
                "notReadyAddresses": ends[1:],
            }
            made = {"metadata": meta(name), "subsets": [subset]}
        case Kind.POD:
            labels = {
                MESH: draw(st.sampled_from(("enabled", "disabled", "-"))),
                "version": draw(st.sampled_from("12")),
            }
            made = pod(draw(st.sampled_from(POD_NAMES)), labels=labels)
        case _:
            made = namespace(mesh=draw(st.sampled_from(("enabled", "disabled"))))
    return kind, made


@st.composite
def clusters(draw: Any) -> Cluster:
    cluster = Cluster()
    for name in ("web", "api"):
        cluster.change(Kind.SERVICE, service(name), dies=False)
    for kind, one in draw(st.lists(said(), max_size=25)):
        cluster.change(kind, one, dies=draw(st.integers(0, 3)) == 0)
    return cluster


@given(clusters(), st.data())
def test_news_in_any_order_and_repeated_lead_to_the_truth(cluster: Cluster, data: st.DataObject) -> None:
    follower = Follower()
    more = data.draw(st.lists(st.sampled_from(cluster.news)))
    for one in data.draw(st.permutations(cluster.news + more)):
        follower.news(one)
    follower.agrees(cluster)


@given(clusters(), st.data())
def test_lists_make_up_for_what_was_lost_and_stand_against_what_comes_late(
    cluster: Cluster, data: st.DataObject
) -> None:
    follower = Follower()
    listed = st.tuples(st.sampled_from(KINDS), st.sampled_from(sorted(cluster.past)))
    anything = st.lists(st.sampled_from(cluster.news) | listed)

    def hear(some: list[Any]) -> None:
        for one in some:
            follower.news(one) if isinstance(one, News) else follower.list(cluster, *one)

    hear(data.draw(anything))
    for kind in data.draw(st.permutations(KINDS)):
        follower.list(cluster, kind, cluster.version)
    follower.agrees(cluster)
    hear(data.draw(anything))
    follower.agrees(cluster)


@given(clusters(), st.data())
def test_in_order_nothing_but_names_is_needed_and_each_step_is_true(
    cluster: Cluster, data: st.DataObject
) -> None:
    """The plain contract: `gone` and `replace` without versions."""
    follower = Follower()
    reducer = follower.reducer
    for one in cluster.news:
        if one.died:
            place = (one.said["metadata"].get("namespace", ""), one.said["metadata"]["name"])
            follower.hear(reducer.gone(one.kind, *place))
        else:
            follower.news(one)
        now = int(one.said["metadata"]["resourceVersion"])
        for key in KEYS:
            assert follower.known.get(key) == naive(cluster.past[now], key)
    before = cluster.past[data.draw(st.sampled_from(sorted(cluster.past)))]
    follower.reducer = reducer = Reducer()
    for truth in (before, cluster.truth):
        for kind in KINDS:
            listed = [read(kind, one) for (of, _, _), one in truth.items() if of is kind]
            follower.hear(reducer.replace(kind, listed))
    follower.agrees(cluster)


def given_web(*more: tuple[Kind, Json]) -> Reducer:
    reducer = Reducer()
    for kind, one in ((Kind.SERVICE, service()), (Kind.SERVICE, service("api")), *more):
        reducer.put(read(kind, one))
    return reducer


def ids(reducer: Reducer, key: str = "shop/web") -> list[str]:
    made = reducer.service(key)
    return [one.id for one in made.endpoints] if made else ["no service"]


def test_a_pod_may_come_before_its_slice_or_after() -> None:
    labelled = read(Kind.POD, pod("a", labels={"version": "2"}))
    named = read(Kind.SLICE, slice_("s", backend("10.0.0.1", "a")))
    for first, second, touched in (
        (labelled, named, [set(), {"shop/web"}]),
        (named, labelled, [{"shop/web"}] * 2),
    ):
        reducer = given_web()
        assert [reducer.put(first), reducer.put(second)] == touched
        made = reducer.service("shop/web")
        assert made is not None
        assert made.endpoints[0].version == "2"


def test_a_slice_that_moves_to_another_service_touches_both() -> None:
    reducer = given_web((Kind.SLICE, slice_("s", backend("10.0.0.1", "a"))))
    assert reducer.put(read(Kind.SLICE, slice_("s", backend("10.0.0.1", "a"), of="api", version=2))) == set(
        KEYS
    )
    assert (ids(reducer), ids(reducer, "shop/api")) == ([], ["a"])
    assert reducer.put(read(Kind.POD, pod("a"))) == {"shop/api"}


def test_a_namespace_that_joins_the_mesh_touches_those_who_have_pods_there() -> None:
    reducer = given_web((Kind.POD, pod("a")), (Kind.SLICE, slice_("s", backend("10.0.0.1", "a"))))
    steps = [("", set()), ("enabled", {"shop/web"}), ("enabled", set()), ("disabled", {"shop/web"})]
    for version, (mesh, touched) in enumerate(steps):
        assert reducer.put(read(Kind.NAMESPACE, namespace(mesh=mesh, version=version))) == touched
        made = reducer.service("shop/web")
        assert made is not None
        assert made.endpoints[0].meshed is (mesh == "enabled")
    reducer.put(read(Kind.NAMESPACE, namespace(mesh="enabled", version=9)))
    assert reducer.gone(Kind.NAMESPACE, "", "shop") == {"shop/web"}


def test_what_says_the_same_touches_nothing() -> None:
    """Pods change their status all the time, and leases their Endpoints."""
    objects: list[tuple[Kind, Callable[..., Json]]] = [
        (Kind.SERVICE, service),
        (Kind.SLICE, lambda version: slice_("s", backend("10.0.0.1", "a"), version=version)),
        (Kind.POD, lambda version: pod("a", version=version)),
        (Kind.ENDPOINTS, lambda version: {"metadata": meta("web", version=version), "subsets": None}),
    ]
    reducer = given_web(*((kind, make(version=1)) for kind, make in objects))
    for kind, make in objects:
        assert reducer.put(read(kind, make(version=2))) == set()
        assert reducer.put(read(kind, make(version=1))) == set()


def test_a_pod_that_is_made_anew_is_another_though_it_says_the_same() -> None:
    reducer = given_web(
        (Kind.SLICE, slice_("s", backend("10.0.0.1", "a"))), (Kind.POD, pod("a", labels={"x": "y"}))
    )
    successor = pod("a", version=2, labels={"x": "y"})
    successor["metadata"]["uid"] = "next"
    assert reducer.put(read(Kind.POD, successor)) == {"shop/web"}
    made = reducer.service("shop/web")
    assert made is not None
    assert made.endpoints[0].labels == ()


def test_what_came_and_went_unseen_before_a_list_does_not_come_after_it() -> None:
    reducer = Reducer()
    reducer.replace(Kind.SERVICE, [], version="7")
    assert reducer.put(read(Kind.SERVICE, service(version=6))) == set()
    assert reducer.keys() == set()
    assert reducer.put(read(Kind.SERVICE, service(version=8))) == {"shop/web"}


def test_what_was_wrongly_held_to_be_gone_is_back_with_the_next_list() -> None:
    """As slices are, that we were forbidden to see for a while."""
    listed = [read(Kind.SERVICE, service(version=5)), read(Kind.SERVICE, service("api", version=5))]
    ways: tuple[Callable[[Reducer], object], ...] = (
        lambda reducer: reducer.gone(Kind.SERVICE, "shop", "web"),
        lambda reducer: reducer.gone(Kind.SERVICE, "shop", "web", version="7"),
        lambda reducer: Listing(reducer, Kind.SERVICE).end() and reducer.put(listed[1]),
        lambda reducer: reducer.replace(Kind.SERVICE, listed[1:], version="7"),
    )
    for takes_away in ways:
        reducer = Reducer()
        assert reducer.replace(Kind.SERVICE, listed, version="6") == set(KEYS)
        takes_away(reducer)
        assert reducer.keys() == {"shop/api"}
        assert reducer.replace(Kind.SERVICE, listed, version="8") == {"shop/web"}
        assert reducer.keys() == set(KEYS)


def test_what_died_after_a_list_is_not_back_with_it() -> None:
    reducer = given_web()
    reducer.gone(Kind.SERVICE, "shop", "web", version="9")
    listing = Listing(reducer, Kind.SERVICE)
    listing.page([read(Kind.SERVICE, service(version=5)), read(Kind.SERVICE, service("api", version=5))])
    assert listing.end("8") == set()
    assert reducer.keys() == {"shop/api"}
    listing = Listing(reducer, Kind.SERVICE)
    listing.page([read(Kind.SERVICE, service(version=5)), read(Kind.SERVICE, service("api", version=5))])
    reducer.put(read(Kind.SERVICE, service(version=12, clusterIP="10.96.0.9")))
    assert listing.end("11") == set(), "made anew while the list was taken"


def test_what_concerns_no_service_touches_nothing() -> None:
    reducer = Reducer()
    assert reducer.put(read(Kind.SLICE, slice_("s", backend("10.0.0.1", "a")))) == set()
    assert reducer.put(read(Kind.POD, pod("a"))) == set()
    assert reducer.gone(Kind.POD, "shop", "nobody") == set()
    assert reducer.service("shop/web") is None
    assert reducer.service("") is None
    assert reducer.put(read(Kind.SERVICE, service())) == {"shop/web"}
    assert ids(reducer) == ["a"]


def test_endpoints_step_in_when_the_last_slice_is_gone() -> None:
    subset = {"addresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "http", "port": 8080}]}
    told = read(Kind.ENDPOINTS, {"metadata": meta("web"), "subsets": [subset]})
    reducer = given_web((Kind.SLICE, slice_("s", backend("10.0.0.1"))))
    assert reducer.put(told) == set()
    assert ids(reducer) == ["10.0.0.1:8080"]
    assert reducer.gone(Kind.SLICE, "shop", "s") == {"shop/web"}
    assert ids(reducer) == ["10.0.0.2:8080"]


def test_a_list_of_one_namespace_says_nothing_of_others() -> None:
    reducer = given_web()
    reducer.put(read(Kind.SERVICE, service("web", "other")))
    assert reducer.replace(Kind.SERVICE, [], namespace="shop") == set(KEYS)
    assert reducer.keys() == {"other/web"}
    for name in ("shop", "other"):
        reducer.put(read(Kind.NAMESPACE, namespace(name, "enabled")))
    reducer.replace(Kind.NAMESPACE, [], namespace="other")
    assert reducer._is_meshed("shop")
    assert not reducer._is_meshed("other")


@pytest.mark.parametrize("unread", [["shop/web"], [""], ["shop/web", "api"]])
def test_what_a_list_names_and_nobody_can_read_stays_as_it_was(unread: list[str]) -> None:
    reducer = given_web()
    reducer.replace(Kind.SERVICE, [], unread=unread, version="500")
    assert reducer.keys() == (set(KEYS) if "" in unread else {"shop/web"})


def test_a_list_in_pieces_takes_away_only_when_it_ends() -> None:
    reducer = given_web()
    listing = Listing(reducer, Kind.SERVICE)
    assert listing.page([read(Kind.SERVICE, service("api", version=4))]) == set()
    reducer.put(read(Kind.SERVICE, service("late", version=8)))
    assert reducer.keys() == {*KEYS, "shop/late"}
    assert listing.end("7") == {"shop/web"}
    assert reducer.keys() == {"shop/api", "shop/late"}, "what was made after the list was taken for gone"


def test_a_list_from_a_backup_counts_once_it_is_known_to_be_one() -> None:
    reducer = given_web()
    reducer.replace(Kind.SERVICE, [read(Kind.SERVICE, service(version=900))], version="900")
    old = [
        read(Kind.SERVICE, one)
        for one in (service(version=400, clusterIP="10.96.0.7"), service("api", version=5))
    ]
    assert reducer.replace(Kind.SERVICE, old, version="401") == set()
    reducer.rewind()
    assert reducer.keys() == {"shop/web"}, "something was lost"
    assert reducer.replace(Kind.SERVICE, old, version="401") == set(KEYS)
