"""The newest version wins, and what died stays dead, as far as can be known."""

import pytest

from meshtrio.catalog.kubernetes_objects import Kind, Object
from meshtrio.catalog.kubernetes_spec import NamespaceSpec
from meshtrio.catalog.kubernetes_store import GRAVES, Death, Store, is_older

POD = Kind.POD


def pod(version: str = "5", name: str = "a", uid: str = "u") -> Object:
    return Object(POD, "shop", name, uid, version, NamespaceSpec(meshed=False))


def holding(*objects: Object) -> Store:
    store = Store()
    for one in objects:
        store.put(one)
    return store


def bury(store: Store, version: str = "", uid: str = "") -> bool:
    """Say whether anything was taken away."""
    return store.remove(POD, "shop", "a", Death(uid, version)) is not None


@pytest.mark.parametrize(
    ("version", "than", "older"),
    [
        ("9", "10", True),
        ("10", "9", False),
        ("7", "7", False),
        ("007", "8", True),
        ("8", "0007", False),
        ("9" * 5000, "1" + "0" * 5000, True),
        ("", "1", False),
        ("1", "", False),
        ("x1", "x2", False),
        ("²", "3", False),
        ("-1", "1", False),
    ],
)
def test_versions(version: str, than: str, older: bool) -> None:
    assert is_older(version, than) is older


def test_an_older_one_never_replaces_a_newer() -> None:
    store = holding(pod("10"))
    assert not store.admits(pod("9"))
    assert not store.admits(pod("9", uid="other"))
    assert not store.admits(pod("10")), "a repetition"
    assert store.admits(pod("11"))


@pytest.mark.parametrize(("held", "news"), [("x2", "x1"), ("10", ""), ("", "10"), ("", "")])
def test_what_cannot_be_compared_is_taken(held: str, news: str) -> None:
    assert holding(pod(held)).admits(pod(news))


def test_late_news_of_the_dead_are_not_admitted() -> None:
    for store, version in ((holding(pod("5")), "7"), (holding(), "7"), (holding(pod("7")), "")):
        bury(store, version, "u")
        assert not any(store.admits(pod(late)) for late in ("4", "5", "6", "7"))
        assert not store.admits(pod("6", uid="one-before"))
        assert store.admits(pod("8")), "made again, or not deleted after all"
        assert store.admits(pod("8", uid="next"))


def test_what_is_dropped_may_come_back() -> None:
    store = holding(pod("5"))
    store.drop(pod("5"))
    assert store.get(POD, "shop", "a") is None
    assert store.admits(pod("5"))
    assert store.ends(pod("5")) == []


def test_a_late_death_does_not_take_the_successor() -> None:
    assert not bury(holding(pod("9", uid="next")), "7", "u")
    assert not bury(holding(pod("x9", uid="next")), "x7", "u")
    assert bury(holding(pod("9", uid="next")), "11", "one-that-we-never-saw")
    assert bury(holding(pod("9", uid="next")))
    assert bury(holding(pod("9")), "9", "u")


def test_of_two_deaths_the_later_one_counts() -> None:
    for order in (("7", "9"), ("9", "7")):
        store = holding()
        for version in order:
            bury(store, version, "u")
        assert not store.admits(pod("8"))


def test_graves_are_bounded_and_the_oldest_is_forgotten() -> None:
    store = Store()
    for n in range(GRAVES + 1):
        store.remove(POD, "shop", f"p{n}", Death("u", "7"))
    assert store.admits(pod("5", "p0"))
    assert not store.admits(pod("5", "p1"))
    assert len(store._graves) == GRAVES


def test_who_is_alive_has_no_grave() -> None:
    store = holding(pod("5"))
    bury(store, "7", "u")
    store.put(pod("8", uid="next"))
    assert not store._graves


def test_what_a_list_did_not_name_was_gone_by_then() -> None:
    for where in ("", "shop"):
        store = Store()
        store.listed(POD, where, "10")
        store.listed(POD, where, "8")  # a list that took long
        assert not store.admits(pod("9"))
        assert not store.admits(pod("10"))
        assert store.admits(pod("11"))
    store = Store()
    store.listed(POD, "other", "10")
    store.listed(Kind.SERVICE, "", "10")
    assert store.admits(pod("9"))
    store.listed(POD, "", "10")
    store.listed(POD, "", "")
    assert store.admits(pod("9"))


def test_a_list_spares_what_is_newer_than_itself() -> None:
    store = holding(pod("5", "a"), pod("6", "b"), pod("9", "c"))
    named = {"shop": {"a"}}
    assert [one.name for one in store.unnamed(POD, "", named, "7")] == ["b"]
    assert [one.name for one in store.unnamed(POD, "", named, "")] == ["b", "c"]
    assert [one.name for one in store.unnamed(POD, "other", {}, "")] == []


def test_after_a_rewind_anything_is_news_and_nothing_is_lost() -> None:
    store = holding(pod("500"))
    store.remove(POD, "shop", "b", Death("u", "400"))
    store.listed(POD, "", "500")
    store.rewind()
    assert store.get(POD, "shop", "a") is not None
    assert store.admits(pod("3"))
    assert store.admits(pod("3", "b"))
    assert store.admits(pod("3", "new"))


def test_empty_namespaces_are_forgotten() -> None:
    store = holding(pod("5"))
    bury(store)
    assert store._held[POD] == {}
    assert list(store.all_of(POD)) == []
