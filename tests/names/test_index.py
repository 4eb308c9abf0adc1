"""Core. The index says what a search of the whole catalog would say, after any changes."""

from hypothesis import given
from hypothesis import strategies as st

from meshtrio.catalog.service import Service
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.vips import addresses
from meshtrio.names.index import Index

SERVICE = st.builds(
    lambda name, namespace, number, twice: Service(name, namespace, vips=addresses(number) * (1 + twice)),
    st.sampled_from("abc"),
    st.sampled_from("xy"),
    st.integers(1, 4),
    st.booleans(),
)
CHANGE = st.tuples(
    st.lists(SERVICE, max_size=3), st.lists(st.sampled_from(["x/a", "x/b", "y/c"]), max_size=2)
)


@given(st.lists(st.tuples(CHANGE, st.booleans(), st.booleans()), max_size=8))
def test_it_follows_whatever_is_changed_and_asked(
    steps: list[tuple[tuple[list[Service], list[str]], bool, bool]],
) -> None:
    snapshot, index = Snapshot(), Index()
    for (changed, removed), asks, keeps_up in steps:
        snapshot = snapshot.with_services(changed, removed=removed)
        if keeps_up:
            index.keep_up(snapshot)
        if not asks:
            continue
        for number in range(1, 5):
            for vip in addresses(number):
                owners = [service for service in snapshot if vip in service.vips]
                assert index.owner(vip, snapshot) is (owners[0] if owners else None)
        for namespace in "xyz":
            there = any(service.namespace == namespace for service in snapshot)
            assert index.has_namespace(namespace, snapshot) is there


def test_it_holds_nothing_until_it_is_needed() -> None:
    index = Index()
    full = Snapshot().with_services([Service("a", vips=addresses(1))])
    index.keep_up(full)
    assert index._owners == {}
    assert index.owner(addresses(1)[0], full) is not None
    emptied = full.with_services([], removed=["default/a"])
    index.keep_up(emptied)
    assert index._owners == {}
