"""Every rule by which Kubernetes's objects become a service, with a small literal object each."""

from typing import Any

import pytest

from meshtrio.address import Address
from meshtrio.catalog.kubernetes import Reducer
from meshtrio.catalog.kubernetes_objects import Kind
from meshtrio.catalog.service import Endpoint, Health, Service
from meshtrio.config.wishes import Wishes
from meshtrio.identity.spiffe import TEMPLATE, namer
from tests.catalog.kubernetes_truth import Json, backend, meta, namespace, pod, read, service, slice_

V4 = bytes(10) + b"\xff\xff"


def built(*objects: tuple[Kind, Json], key: str = "shop/web", **arguments: Any) -> Service:
    reducer = Reducer(**arguments)
    for kind, said in objects:
        reducer.put(read(kind, said))
    made = reducer.service(key)
    assert made is not None
    return made


def sliced(*endpoints: Json, spec: Json | None = None, **more: Any) -> tuple[Endpoint, ...]:
    of_service = (Kind.SERVICE, service(**(spec or {})))
    return built(of_service, (Kind.SLICE, slice_("web-1", *endpoints, **more))).endpoints


def behind(said: Json, *, home: str = "", target: Json | None = None, **arguments: Any) -> Endpoint:
    """Give the one endpoint that has this pod behind it."""
    one = backend("10.0.0.1", "web-a")
    one["targetRef"].update(target or {})
    return built(
        (Kind.SERVICE, service()),
        (Kind.SLICE, slice_("web-1", one)),
        (Kind.POD, said),
        (Kind.NAMESPACE, namespace(mesh=home)),
        **arguments,
    ).endpoints[0]


def test_a_service_has_its_virtual_ip_ports_and_labels() -> None:
    said = service()
    said["metadata"]["labels"] = {"team": "a", "app": "web"}
    said["metadata"]["annotations"] = {"meshtrio.io/balancing": "random", "meshtrio.io/direct": "on"}
    made = built((Kind.SERVICE, said))
    assert made.key == "shop/web"
    assert made.vips == (V4 + bytes((10, 96, 0, 1)),)
    assert [(port.name, port.port, port.protocol) for port in made.ports] == [("http", 80, "http")]
    assert made.labels == (("app", "web"), ("team", "a"))
    assert made.wishes == Wishes("random")
    assert made.unheeded == ('meshtrio.io/direct is "on" (want off or auto)',)
    assert not made.headless
    assert made.external == ""


def test_a_dual_stack_service_has_both_virtual_ips() -> None:
    made = built((Kind.SERVICE, service(clusterIPs=["10.96.0.1", "fd00::1"])))
    assert made.vips == (V4 + bytes((10, 96, 0, 1)), bytes.fromhex("fd00" + "0" * 27 + "1"))


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"clusterIP": "None", "clusterIPs": ["None"]}])
def test_a_headless_service_has_no_virtual_ip(spec: Json) -> None:
    made = built((Kind.SERVICE, service(**spec)), (Kind.SLICE, slice_("web-1", backend("10.0.0.1"))))
    assert made.headless
    assert made.vips == ()
    assert [str(one.address) for one in made.endpoints] == ["10.0.0.1:8080"]


def test_an_external_name_is_another_name_and_has_no_endpoints() -> None:
    said = service(type="ExternalName", externalName="db.example.com", clusterIP="")
    said["spec"]["clusterIPs"] = ["None"]  # as it was before it became one
    made = built((Kind.SERVICE, said), (Kind.SLICE, slice_("web-1", backend("10.0.0.1"))))
    assert made.external == "db.example.com"
    assert (made.vips, made.headless, made.endpoints) == ((), False, ())
    assert [port.port for port in made.ports] == [80]


def test_ports_of_tcp_and_udp_stand_apart_and_others_are_none() -> None:
    udp = {"name": "dns", "port": 53, "protocol": "UDP", "appProtocol": "http"}
    sctp = {"name": "sig", "port": 54, "protocol": "SCTP"}
    tcp = {"name": "dns-tcp", "port": 53}
    told = [
        {"name": "dns", "port": 5353, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 5354, "protocol": "UDP"},
        {"name": "dns", "port": 5355},
        {"name": "dns-tcp", "port": 5356},
    ]
    made = built(
        (Kind.SERVICE, service(ports=[udp, sctp, tcp])),
        (Kind.SLICE, slice_("web-1", backend("10.0.0.1"), ports=told)),
    )
    assert [(one.name, one.port, one.protocol) for one in made.ports] == [("dns-tcp", 53, "")]
    assert [(one.name, one.port, one.protocol) for one in made.datagrams] == [("dns", 53, "udp")]
    assert [str(one.address) for one in made.endpoints] == ["10.0.0.1:5356", "10.0.0.1:5353"]
    assert built((Kind.SERVICE, service(ports=[udp]))).ports == ()
    assert built((Kind.SERVICE, service(ports=None))).every_port == ()


def test_endpoints_of_udp_are_known_by_their_pods() -> None:
    """What stands around a service comes to its UDP ports as to the others."""
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
    made = built(
        (Kind.SERVICE, service(ports=ports)),
        (Kind.SLICE, slice_("web-1", backend("10.0.0.1", conditions={"ready": False}), ports=ports)),
    )
    (one,) = made.datagrams[0].endpoints
    assert (one.ready, str(one.address)) == (False, "10.0.0.1:53")


def test_ports_are_matched_by_name() -> None:
    ports = [{"name": "http", "port": 80, "targetPort": "web"}, {"name": "admin", "port": 81}]
    told = [
        {"name": "admin", "port": 9000},
        {"name": "http", "port": 8080},
        {"name": "http", "port": 8081, "protocol": "UDP"},
        {"name": "other", "port": 1},
        {"name": "every", "port": None},
    ]
    made = built(
        (Kind.SERVICE, service(ports=ports)), (Kind.SLICE, slice_("web-1", backend("10.0.0.1"), ports=told))
    )
    assert [(one.name, one.endpoints[0].address.port, len(one.endpoints)) for one in made.ports] == [
        ("http", 8080, 1),
        ("admin", 9000, 1),
    ]


def test_a_port_without_a_name_matches_one_without_a_name() -> None:
    (one,) = sliced(backend("10.0.0.1"), spec={"ports": [{"port": 80}]}, ports=[{"name": None, "port": 8080}])
    assert one.address == Address.of("10.0.0.1", 8080)


READY, DRAINING = (Health.HEALTHY, False), (Health.HEALTHY, True)
NOT_READY, LEAVING = (Health.UNHEALTHY, False), (Health.UNHEALTHY, True)


@pytest.mark.parametrize(
    ("conditions", "means", "published"),
    [
        (None, READY, READY),
        ({}, READY, READY),
        ({"ready": None}, READY, READY),
        ({"ready": True}, READY, READY),
        ({"ready": False}, NOT_READY, READY),
        ({"ready": False, "serving": True, "terminating": False}, NOT_READY, READY),
        ({"ready": False, "serving": True, "terminating": True}, DRAINING, DRAINING),
        ({"ready": True, "serving": True, "terminating": True}, DRAINING, DRAINING),
        ({"ready": False, "serving": None, "terminating": True}, DRAINING, DRAINING),
        ({"ready": False, "serving": False, "terminating": True}, LEAVING, DRAINING),
    ],
)
def test_conditions(
    conditions: Json | None, means: tuple[Health, bool], published: tuple[Health, bool]
) -> None:
    one = {"addresses": ["10.0.0.1"], "conditions": conditions}
    for anyway, wanted in ((False, means), (True, published)):
        (made,) = sliced(one, spec={"publishNotReadyAddresses": anyway})
        assert (made.health, made.draining) == wanted


def test_zone_and_node() -> None:
    hints = {"forZones": [{"name": "west"}, {"name": "east"}]}
    (one,) = sliced(backend("10.0.0.1", zone="west", nodeName="n1", hints=hints))
    assert (one.zone, one.node, one.for_zones) == ("west", "n1", ("east", "west"))


@pytest.mark.parametrize("hints", [None, {}, {"forZones": None}, {"forZones": []}])
def test_no_hint(hints: object) -> None:
    (one,) = sliced(backend("10.0.0.1", hints=hints))
    assert one.for_zones == ()


def test_v1beta1_says_zone_and_node_in_its_topology() -> None:
    place = {"topology.kubernetes.io/zone": "west", "kubernetes.io/hostname": "n1"}
    (one,) = sliced(backend("10.0.0.1", topology=place))
    assert (one.zone, one.node) == ("west", "n1")


def test_a_slice_of_host_names_is_skipped() -> None:
    assert sliced(backend("db.example.com"), addressType="FQDN") == ()


def test_of_several_addresses_the_first_counts() -> None:
    made = sliced({"addresses": ["10.0.0.2", "10.0.0.1"]}, {"addresses": []}, {"addresses": None})
    assert [one.address.host for one in made] == ["10.0.0.2"]


def test_five_slices_are_one_service() -> None:
    slices = [(Kind.SLICE, slice_(f"web-{n}", backend(f"10.0.0.{9 - n}", f"p{n}"))) for n in range(5)]
    made = built((Kind.SERVICE, service()), *slices)
    assert [one.address.host for one in made.endpoints] == [f"10.0.0.{n}" for n in range(5, 10)]
    assert [one.id for one in made.endpoints] == ["p4", "p3", "p2", "p1", "p0"]


def test_dual_stack_slices_of_the_same_pods_have_an_id_each() -> None:
    families = ["IPv4", "IPv6"]
    six = slice_("web-6", backend("fd00::1", "a"), addressType="IPv6")
    both = built(
        (Kind.SERVICE, service(ipFamilies=families)),
        (Kind.SLICE, six),
        (Kind.SLICE, slice_("web-4", backend("10.0.0.1", "a"))),
    )
    assert [one.id for one in both.endpoints] == ["a", "a@[fd00::1]:8080"]
    alone = built((Kind.SERVICE, service(ipFamilies=families)), (Kind.SLICE, six))
    assert [one.id for one in alone.endpoints] == ["a@[fd00::1]:8080"], "an id changed hands"
    single = built((Kind.SERVICE, service(ipFamilies=["IPv6"])), (Kind.SLICE, six))
    assert [one.id for one in single.endpoints] == ["a"]


def test_an_address_in_two_slices_is_one_endpoint_and_the_ready_one_wins() -> None:
    for ready in ((True, False), (False, True)):
        slices = [
            (Kind.SLICE, slice_(f"web-{n}", backend("10.0.0.1", "a", ready=is_ready)))
            for n, is_ready in enumerate(ready)
        ]
        (one,) = built((Kind.SERVICE, service()), *slices).endpoints
        assert one.ready


def test_of_equal_words_about_an_address_that_of_the_first_slice_counts() -> None:
    slices = [(Kind.SLICE, slice_(f"web-{n}", backend("10.0.0.1", f"p{n}"))) for n in range(2)]
    for told in (slices, slices[::-1]):
        assert [one.id for one in built((Kind.SERVICE, service()), *told).endpoints] == ["p0"]


def test_a_pod_at_two_ports_while_they_move_has_an_id_for_each() -> None:
    moved = slice_("web-2", backend("10.0.0.1", "a"), ports=[{"name": "http", "port": 9090}])
    made = built(
        (Kind.SERVICE, service()),
        (Kind.SLICE, slice_("web-1", backend("10.0.0.1", "a"))),
        (Kind.SLICE, moved),
    )
    assert [one.id for one in made.endpoints] == ["a", "a@10.0.0.1:9090"]


def test_an_endpoint_without_a_target_is_called_by_its_address() -> None:
    strange = backend("10.0.0.2", targetRef={"kind": "Pod", "name": "no name\n"})
    assert [one.id for one in sliced(backend("10.0.0.1"), strange)] == ["10.0.0.1:8080", "10.0.0.2:8080"]


SUBSETS = [
    {
        "addresses": [
            {"ip": "10.0.0.1", "nodeName": "n1", "targetRef": {"kind": "Pod", "name": "a", "uid": "uid-a"}}
        ],
        "notReadyAddresses": [{"ip": "10.0.0.2"}],
        "ports": [{"name": "http", "port": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}],
    },
    {"addresses": [{"ip": "10.0.0.3"}], "ports": [{"name": "http", "port": 9090}]},
    {"addresses": [{"ip": "10.0.0.4"}], "ports": None},
]
ENDPOINTS = {"metadata": meta("web"), "subsets": SUBSETS}


def test_endpoints_serve_a_service_that_has_no_slice() -> None:
    made = built(
        (Kind.SERVICE, service()), (Kind.ENDPOINTS, ENDPOINTS), (Kind.POD, pod("a", labels={"version": "7"}))
    )
    assert [(one.id, str(one.address), one.ready, one.node, one.version) for one in made.endpoints] == [
        ("a", "10.0.0.1:8080", True, "n1", "7"),
        ("10.0.0.2:8080", "10.0.0.2:8080", False, "", ""),
        ("10.0.0.3:9090", "10.0.0.3:9090", True, "", ""),
    ]


def test_endpoints_are_not_asked_where_there_is_a_slice() -> None:
    made = built((Kind.SERVICE, service()), (Kind.ENDPOINTS, ENDPOINTS), (Kind.SLICE, slice_("web-1")))
    assert made.endpoints == ()


def test_published_addresses_count_in_endpoints_too() -> None:
    said = service(publishNotReadyAddresses=True)
    made = built((Kind.SERVICE, said), (Kind.ENDPOINTS, ENDPOINTS))
    assert all(one.ready for one in made.endpoints)


def test_a_pod_adds_labels_version_and_weight() -> None:
    labels = {"version": "1", "app.kubernetes.io/version": "2", "meshtrio.io/weight": "9"}
    one = behind(pod("web-a", labels=labels))
    assert one.labels == tuple(sorted(labels.items()))
    assert (one.version, one.weight) == ("2", 9)
    assert (one.meshed, one.identity) == (False, "")


@pytest.mark.parametrize(
    ("label", "home", "meshed"),
    [
        ("enabled", "", True),
        ("enabled", "disabled", True),
        ("", "enabled", True),
        ("disabled", "enabled", False),
        ("perhaps", "enabled", True),
        ("", "disabled", False),
        ("", "", False),
    ],
)
def test_meshed(label: str, home: str, meshed: bool) -> None:
    one = behind(pod("web-a", labels={"meshtrio.io/mesh": label} if label else None), home=home)
    assert one.meshed is meshed
    assert one.identity == ("spiffe://cluster.local/ns/shop/sa/runner" if meshed else "")


def test_an_identity_is_of_the_trust_domain_and_the_account() -> None:
    said = pod("web-a", serviceAccountName=None)
    assert (
        behind(said, home="enabled", named=namer(TEMPLATE, "example.org")).identity
        == "spiffe://example.org/ns/shop/sa/default"
    )


def test_what_is_not_behind_the_address_adds_nothing() -> None:
    said = pod("web-a", labels={"meshtrio.io/mesh": "enabled", "version": "2"})
    for target in ({"uid": "uid-of-before"}, {"kind": "Node"}, {"namespace": "other"}):
        one = behind(said, target=target)
        assert (one.id, one.version, one.meshed, one.identity) == ("web-a", "", False, "")
    assert behind(said, target={"uid": None, "namespace": None, "kind": None}).version == "2"


def test_the_order_of_addresses_in_a_slice_changes_nothing() -> None:
    ends = [backend(f"10.0.0.{n}", f"p{n}") for n in range(5)]
    assert sliced(*ends) == sliced(*reversed(ends))
