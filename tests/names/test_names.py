"""Core. What a name means: against a table of all names there are, and the cases one by one."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.service import Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.names.index import Index
from meshtrio.names.names import Asker, Bare, Named, instance_label, labels_of, meaning, reversed_ip
from tests.support.shop import SHOP, VIP4, VIP6, endpoints

CLUSTER = "cluster.local"


def means(
    name: str, namespace: str = "shop", *, snapshot: Snapshot = SHOP, cluster: str = CLUSTER
) -> Named | Bare | None:
    return meaning(labels_of(name), Asker(snapshot, namespace, labels_of(cluster), "dc1"), Index())


def told(meant: Named | Bare | None) -> str:
    """Say it in one word: a key, with what it is less than the service; or what is not there."""
    match meant:
        case None:
            return "-"
        case Bare(exists=exists):
            return "empty" if exists else "absent"
        case Named(service=service, port=port, ip=ip, tag=tag):
            return (
                service.key
                + (f" port {port.name}" if port else "")
                + (f" at {ip_address(ip[12:])}" if ip else "")
                + (f" tag {tag}" if tag else "")
            )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("orders", "shop/orders"),
        ("ORDERS.Mesh.", "shop/orders"),
        ("orders.shop", "shop/orders"),
        ("orders.shop.mesh", "shop/orders"),
        ("orders.shop.svc", "shop/orders"),
        ("orders.shop.svc.cluster.local", "shop/orders"),
        ("orders.shop.svc.cluster.remote", "-"),
        ("orders.shop.svc.cluster", "-"),
        ("orders.shop.svc.cluster.local.shop.svc.cluster.local", "-"),
        ("orders.default", "-"),
        ("web", "-"),
        ("web.default", "default/web"),
        ("web.mesh", "default/web"),
        ("web.shop.mesh", "absent"),
        ("cart.service.consul", "default/cart"),
        ("cart.service.dc1.consul", "default/cart"),
        ("cart.service.dc2.consul", "-"),
        ("orders.service.consul", "-"),
        ("v1.cart.service.consul", "default/cart tag v1"),
        ("BLUE.cart.service.dc1.consul", "default/cart tag blue"),
        ("v3.cart.service.consul", "-"),
        ("zone.cart.service.consul", "-"),
        ("v1.cart.service.dc2.consul", "-"),
        ("cart.query.consul", "-"),
        ("a.b.cart.service.dc1.consul", "-"),
        ("_http._tcp.orders", "shop/orders port http"),
        ("_http._tcp.orders.shop.mesh", "shop/orders port http"),
        ("_http._tcp.web.default.svc.cluster.local", "default/web port http"),
        ("_http._tcp.cart.service.consul", "default/cart port http"),
        ("_http._udp.orders.shop", "-"),
        ("_http._udp.orders.shop.mesh", "absent"),
        ("_nope._tcp.orders.shop.mesh", "absent"),
        ("_nope._tcp.orders.shop", "-"),
        ("_tcp.orders.shop.mesh", "empty"),
        ("_tcp.nope.shop.mesh", "absent"),
        ("mesh", "empty"),
        ("shop.mesh", "empty"),
        ("nope.mesh", "absent"),
        ("orders.mesh.mesh", "absent"),
        ("orders.mesh.example.com", "-"),
        ("10-0-0-1.orders.shop.mesh", "shop/orders at 10.0.0.1"),
        ("10-0-0-2.orders.shop.mesh", "absent"),
        ("www.example.com", "-"),
        ("example.com", "com/example"),
        ("com", "-"),
        ("localhost", "-"),
        ("", "-"),
        ("2.1.240.240.in-addr.arpa", "shop/orders"),
        ("1.0.0.10.in-addr.arpa", "-"),
        ("1.240.240.in-addr.arpa", "-"),
    ],
)
def test_what_a_name_means_in_the_shop(name: str, expected: str) -> None:
    assert told(means(name)) == expected


def test_a_name_without_a_namespace_is_looked_for_where_the_asker_lives() -> None:
    both = SHOP.with_services([Service("orders")])
    assert told(means("orders", "default", snapshot=both)) == "default/orders"
    assert told(means("orders.mesh", "shop", snapshot=both)) == "shop/orders"
    assert told(means("orders.mesh", "elsewhere", snapshot=both)) == "default/orders"
    assert told(means("orders", "elsewhere", snapshot=both)) == "-"


def test_public_names_are_not_taken_over_by_services_of_like_names() -> None:
    like = Snapshot().with_services(
        [Service("www"), Service("example"), Service("localhost"), Service("mesh"), Service("google", "dev")]
    )
    for name in ("www.example.com", "example.com", "localhost", "www.example", "com"):
        assert means(name, "default", snapshot=like) is None
    # Both exist, so this is what a cluster's search list would make of it as well. It is marked as short.
    meant = means("google.dev", "default", snapshot=like)
    assert isinstance(meant, Named)
    assert meant.short
    assert told(means("mesh", "default", snapshot=like)) == "empty"


@pytest.mark.parametrize("cluster", ["corp.mesh", "Corp.Mesh."])
def test_a_cluster_domain_under_mesh_is_the_clusters(cluster: str) -> None:
    assert told(means("orders.shop.svc.corp.mesh", cluster=cluster)) == "shop/orders"
    assert means("10-0-0-1.shop.pod.corp.mesh", cluster=cluster) is None
    assert told(means("nope.mesh", cluster=cluster)) == "absent"


def test_without_a_cluster_domain_and_with_mesh_as_such() -> None:
    assert told(means("orders.shop.svc", cluster="")) == "shop/orders"
    assert told(means("nope.mesh", cluster="")) == "absent"
    assert told(means("orders.shop.svc.mesh", cluster="mesh")) == "shop/orders"
    assert told(means("nope.mesh", cluster="mesh")) == "absent"


def test_a_slash_in_a_label_does_not_reach_into_another_namespace() -> None:
    odd = Snapshot().with_services([Service("b", "a/x"), Service("orders", "shop")])
    assert meaning(("x/b", "a"), Asker(odd, "default"), Index()) is None
    assert meaning(("shop/orders",), Asker(odd, ""), Index()) is None


NAMES, SPACES = ("a", "b", "mesh", "svc", "service", "local"), ("a", "x", "default", "consul", "svc", "mesh")
WORD = st.sampled_from(
    (
        "a",
        "b",
        "x",
        "default",
        "mesh",
        "svc",
        "service",
        "consul",
        "cluster",
        "local",
        "_p",
        "_tcp",
        "1-2-3-4",
    )
)


def table(services: list[Service], namespace: str) -> dict[str, str]:
    """List all names there are, and what each means, the strongest last."""
    names: dict[str, str] = {}
    for service in services:
        own = f"{service.name}.{service.namespace}"
        if service.namespace != "mesh":
            names[own] = service.key
        names[f"{own}.svc"] = service.key
        if service.namespace == namespace and service.name != "mesh":
            names[service.name] = service.key
    for service in services:
        own = f"{service.name}.{service.namespace}"
        if service.namespace == "default":
            names.setdefault(f"{service.name}.service.consul", service.key)
        names[f"{own}.svc.cluster.local"] = service.key
        if f"{own}.mesh" not in names:
            names[f"{own}.mesh"] = service.key
    for service in sorted(services, key=lambda one: one.namespace == namespace):
        if service.namespace in (namespace, "default"):
            names[f"{service.name}.mesh"] = service.key
    names |= {f"_p._tcp.{name}": f"{key} port p" for name, key in names.items()}
    for service in services:
        names[f"1-2-3-4.{service.name}.{service.namespace}.mesh"] = f"{service.key} at 1.2.3.4"
    return names


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(SPACES)), max_size=5, unique=True),
    st.sampled_from(SPACES),
    st.lists(WORD, max_size=6),
)
def test_it_means_what_the_table_says(keys: list[tuple[str, str]], namespace: str, words: list[str]) -> None:
    ports = (ServicePort("p", 80, endpoints("1.2.3.4:80")),)
    services = [Service(name, space, ports=ports) for name, space in keys]
    snapshot = Snapshot().with_services(services)
    listed = table(services, namespace)
    for name in (".".join(words), *listed):
        found = told(means(name, namespace, snapshot=snapshot))
        expected = listed.get(name, "-")
        if expected == "-" and name.split(".")[-1] == "mesh":
            assert found in ("empty", "absent")
        else:
            assert found == expected, name


@given(st.ip_addresses())
def test_addresses_are_read_from_their_reverse_names(ip: object) -> None:
    parsed = ip_address(str(ip))
    assert reversed_ip(labels_of(parsed.reverse_pointer)) == Address.of(str(parsed), 0).ip


@pytest.mark.parametrize(
    "name",
    [
        "1.0.0.256.in-addr.arpa",
        "x.0.0.1.in-addr.arpa",
        "arpa",
        "1." * 31 + "zz.ip6.arpa",
        "1." * 31 + "z.ip6.arpa",
    ],
)
def test_what_is_no_reverse_name_has_no_address(name: str) -> None:
    assert reversed_ip(labels_of(name)) == b""


def test_instances_are_named_by_their_addresses() -> None:
    assert instance_label(VIP4) == "240-240-1-2"
    assert instance_label(VIP6) == "fd6d-6573-68-0-0-0-0-102"


def test_only_consuls_labels_are_tags_and_no_datacenter_is_ours_if_none_is_known() -> None:
    labelled = endpoints("10.0.0.1:80", source="kubernetes", v1="")
    other = Snapshot().with_services([Service("cart", ports=(ServicePort("http", 80, labelled),))])
    assert told(means("v1.cart.service.consul", snapshot=other)) == "-"
    unknown = Asker(SHOP, "shop")
    assert meaning(labels_of("cart.service.dc1.consul"), unknown, Index()) is None
    assert told(meaning(labels_of("cart.service.consul"), unknown, Index())) == "default/cart"


def test_a_port_of_udp_is_found_by_its_own_label() -> None:
    port = ServicePort("dns", 53, endpoints("10.0.0.1:53"), "udp")
    known = SHOP.with_services([Service("kube-dns", "shop", datagrams=(port,))])
    assert told(means("_dns._udp.kube-dns", snapshot=known)) == "shop/kube-dns port dns"
    assert told(means("_dns._tcp.kube-dns.shop.mesh", snapshot=known)) == "absent"
    assert told(means("_udp.kube-dns.shop.mesh", snapshot=known)) == "empty"
    assert told(means("_tcp.kube-dns.shop.mesh", snapshot=known)) == "absent"
