"""What can be asked of a catalog: names, namespaces, cursors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.question import (
    NEAR,
    NoSuchService,
    ServicesWanted,
    WhichNamespace,
    WrongCursor,
    cursor,
    named,
    page_of,
    sources_of,
)
from meshtrio.catalog.service import Endpoint, Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot


def service(key: str, *hosts: str, ports: tuple[str, ...] = ("http",), source: str = "") -> Service:
    namespace, _, name = key.partition("/")
    made = tuple(
        ServicePort(
            port, at, tuple(Endpoint(f"{host}|{at}", Address.of(host, at), source="dns") for host in hosts)
        )
        for at, port in enumerate(ports, 80)
    )
    return Service(name, namespace, ports=made, source=source)


def snapshot(*keys: str) -> Snapshot:
    return Snapshot().with_services([service(key) for key in keys])


def refused(kind: type[Exception], known: Snapshot, asked: str) -> str:
    namespace, _, name = asked.rpartition("/")
    with pytest.raises(kind) as failed:
        named(known, namespace, name)
    return str(failed.value)


def test_a_name_is_enough_where_it_is_the_only_one() -> None:
    known = snapshot("a/web", "a/db", "b/db")
    assert named(known, "", "web").key == "a/web"
    assert named(known, "b", "db").key == "b/db"


def test_a_name_in_several_namespaces_is_asked_back() -> None:
    assert refused(WhichNamespace, snapshot("b/db", "a/db"), "db") == (
        "db is in 2 namespaces: a, b (want one, as in a/db)"
    )
    many = snapshot(*(f"n{at:02}/db" for at in range(12)))
    assert ", n09 and 2 more (" in refused(WhichNamespace, many, "db")


def test_who_was_meant() -> None:
    known = snapshot("shop/orders", "shop/orders-api", "shop/billing", "test/orders", "shop/x")
    there_is_no = "there is no service"
    assert refused(NoSuchService, known, "bilign") == f"{there_is_no} bilign; did you mean shop/billing?"
    assert refused(NoSuchService, known, "test/billing").endswith("did you mean shop/billing?")
    # Those of the namespace that was named come first.
    assert refused(NoSuchService, known, "test/ordes").endswith(
        "mean test/orders or shop/orders or shop/orders-api?"
    )
    assert refused(NoSuchService, known, "api").endswith("did you mean shop/orders-api?")
    assert refused(NoSuchService, known, "qqq") == f"{there_is_no} qqq"
    assert refused(NoSuchService, snapshot(), "qqq") == f"{there_is_no} qqq"
    assert refused(NoSuchService, known, "") == f"{there_is_no} "


def test_few_are_suggested_of_many() -> None:
    many = snapshot(*(f"shop/orders-{at}" for at in range(500)))
    said = refused(NoSuchService, many, "orders")
    assert said.count("shop/orders-") == NEAR
    assert said == refused(
        NoSuchService, snapshot(*(f"shop/orders-{at}" for at in reversed(range(500)))), "orders"
    )


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        (ServicesWanted(), ["a/db", "a/web", "b/web"]),
        (ServicesWanted(namespace="a"), ["a/db", "a/web"]),
        (ServicesWanted(name="w?b"), ["a/web", "b/web"]),
        (ServicesWanted(name="W*"), []),
        (ServicesWanted(source="file"), ["a/db"]),
        (ServicesWanted(source="dns"), ["a/web"]),
        (ServicesWanted(source="file", name="web"), []),
    ],
)
def test_what_is_chosen(wanted: ServicesWanted, keys: list[str]) -> None:
    known = [service("a/web", "10.0.0.1"), service("a/db", source="file"), service("b/web")]
    assert sorted(one.key for one in wanted.among(known)) == keys


def test_who_speaks_of_a_service() -> None:
    assert sources_of(service("a/web", "10.0.0.1", source="consul")) == {"consul", "dns"}


HOSTS = st.sets(st.integers(1, 30).map(lambda low: f"10.0.0.{low}"), max_size=6)
CATALOG = st.dictionaries(
    st.sampled_from(["a/x", "a/y", 'a/y","', "b/x"]), st.tuples(HOSTS, st.integers(1, 2))
)


def walked(pages: list[list[Service]], count: int) -> list[str]:
    """Read page by page, the n-th page from the n-th catalog, and the rest from the last."""
    seen: list[str] = []
    after = ""
    for at in range(200):
        rows = page_of(pages[min(at, len(pages) - 1)], after, count)
        seen += [cursor(row) for row in rows]
        if len(rows) < count:
            return seen
        after = seen[-1]
    raise AssertionError("no end")


def services(catalog: dict[str, tuple[set[str], int]]) -> list[Service]:
    return [service(key, *hosts, ports=("http", "admin")[:ports]) for key, (hosts, ports) in catalog.items()]


@given(CATALOG, st.integers(1, 7))
def test_pages_are_the_whole_in_order(catalog: dict[str, tuple[set[str], int]], count: int) -> None:
    made = services(catalog)
    assert walked([made], count) == walked([made], 1000)
    assert len(walked([made], count)) == sum(len(one.endpoints) for one in made)


@given(CATALOG, CATALOG, st.integers(1, 7))
def test_what_stays_while_others_come_and_go_is_there_once(
    before: dict[str, tuple[set[str], int]], after: dict[str, tuple[set[str], int]], count: int
) -> None:
    seen = walked([services(before), services(after)], count)
    stays = set(walked([services(before)], 1000)) & set(walked([services(after)], 1000))
    assert len(set(seen)) == len(seen)
    assert stays <= set(seen)


@pytest.mark.parametrize(
    "text",
    ["x", "[]", '["a"]', '["a/x","http","nowhere","id"]', '["a/x","http",1,"id"]', '{"a":1}', "[" * 5000],
)
def test_what_is_no_cursor(text: str) -> None:
    with pytest.raises(WrongCursor, match="no cursor"):
        page_of([service("a/x", "10.0.0.1")], text, 5)
