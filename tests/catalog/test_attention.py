"""Only what changed is looked at again, and nothing that changed is missed."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.attention import Attention, Circumstances
from meshtrio.catalog.probing import UNCHECKED, Target
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.config.discovery import HealthCheck


def service(name: str, *hosts: int, source: str = "consul") -> Service:
    ends = tuple(Endpoint(str(host), Address.of(f"10.0.0.{host}", 80), source=source) for host in hosts)
    return Service(name, ports=(ServicePort("http", 80, ends),), source=source)


ALL = Snapshot().with_services([service(name, 1) for name in "abcd"])
CHECK = (HealthCheck("a"), HealthCheck("default/b", type="http"))
LOST = frozenset({"consul"})


def keys(names: str) -> frozenset[str]:
    return frozenset(f"default/{name}" for name in names)


@pytest.mark.parametrize(
    ("before", "now", "touched"),
    [
        (Circumstances(), Circumstances(ALL), ""),
        (Circumstances(), Circumstances(ALL, CHECK), "ab"),
        (Circumstances(ALL, CHECK), Circumstances(ALL, CHECK), ""),
        (Circumstances(ALL, CHECK), Circumstances(ALL, CHECK[:1]), "b"),
        (Circumstances(ALL, CHECK), Circumstances(ALL, (HealthCheck("a"), HealthCheck("b"))), "b"),
        (Circumstances(ALL, CHECK), Circumstances(ALL, (*CHECK,)), ""),
        (Circumstances(ALL, CHECK), Circumstances(ALL, CHECK, LOST, keys("bc")), "abc"),
        (Circumstances(ALL, (), LOST, keys("bc")), Circumstances(ALL, (), LOST, keys("cd")), "bd"),
        (Circumstances(ALL, (), LOST, keys("bc")), Circumstances(ALL), "bc"),
        (
            Circumstances(ALL, CHECK, LOST, keys("c")),
            Circumstances(ALL.with_services([service(name, 2) for name in "acd"]), CHECK, LOST, keys("c")),
            "ac",
        ),
        (Circumstances(ALL, CHECK), Circumstances(ALL.with_services([], removed=["default/a"]), CHECK), "a"),
    ],
)
def test_what_changes_is_touched(before: Circumstances, now: Circumstances, touched: str) -> None:
    attention = Attention()
    attention.turn(before)
    assert attention.turn(now) == keys(touched)


def test_targets_are_of_the_circumstances_seen_last() -> None:
    attention = Attention()
    assert attention.targets("default/a", []) == ()
    attention.turn(Circumstances(ALL, (), LOST, keys("a")))
    here, there = (Address.of(f"10.0.0.{host}", 80) for host in (1, 2))
    assert attention.targets("default/a", []) == (Target(here, UNCHECKED),)
    assert attention.targets("default/b", []) == (), "nobody uses it"
    lost_words = [service("a", 2)]
    assert attention.targets("default/a", lost_words) == (Target(here, UNCHECKED), Target(there, UNCHECKED))
    attention.turn(Circumstances(Snapshot(), (), LOST, keys("a")))
    assert attention.targets("default/a", lost_words) == (Target(there, UNCHECKED),)


NAMES = st.sets(st.sampled_from("abcd"))
WORLD = st.builds(
    lambda services, checks, lost, dialled: Circumstances(
        Snapshot().with_services([service(name, host) for name, host in services.items()]),
        tuple(HealthCheck(name) for name in sorted(checks)),
        lost,
        keys("".join(dialled)) if lost else frozenset(),
    ),
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3)),
    NAMES,
    st.sampled_from([frozenset(), LOST, frozenset({"dns"})]),
    NAMES,
)


@given(worlds=st.lists(WORLD, min_size=2, max_size=4))
def test_whose_targets_change_is_touched(worlds: list[Circumstances]) -> None:
    attention = Attention()
    known: dict[str, tuple[Target, ...]] = {}
    for world in worlds:
        touched = attention.turn(world)
        now = {f"default/{name}": attention.targets(f"default/{name}", []) for name in "abcd"}
        assert {key for key in now if now[key] != known.get(key, ())} <= touched
        known = now


def test_a_large_catalog_of_which_nothing_is_probed_costs_nothing() -> None:
    def large(number: int) -> Service:
        ends = (
            Endpoint(str(n), Address.of(f"10.{number >> 8}.{number & 255}.{n}", 80)) for n in range(1, 11)
        )
        return Service(f"s{number}", ports=(ServicePort("http", 80, tuple(ends)),))

    snapshot = Snapshot().with_services(map(large, range(3000)))
    attention = Attention()
    attention.turn(Circumstances(snapshot, CHECK))
    began_s = time.process_time()
    for count in range(100):
        snapshot = snapshot.with_services([service(f"s{count}", 1)])
        assert attention.turn(Circumstances(snapshot, CHECK)) == set()
    assert (time.process_time() - began_s) / 100 < 0.003
