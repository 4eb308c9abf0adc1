"""What a slice and an Endpoints object say, before a service or a pod is known."""

import pytest

from meshtrio.catalog.kubernetes_backends import read_endpoints, read_slice
from meshtrio.catalog.kubernetes_spec import Backend, Condition, Group
from tests.catalog.kubernetes_truth import Json, backend, meta, raw, slice_

FOUR = bytes(10) + b"\xff\xff\x0a\x00\x00"


def test_a_slice_is_for_the_service_that_its_label_names() -> None:
    named, spec = read_slice(raw(slice_("web-1", backend("10.0.0.1", "a"))))
    assert named.name == "web-1"
    assert spec.service == "web"
    one = Backend(FOUR + b"\x01", Condition.READY, target="a", pod_namespace="shop", pod_uid="uid-a")
    assert spec.groups == (Group((("http", 8080),), (one,)),)


@pytest.mark.parametrize("labels", [None, {}, {"other": "x"}])
def test_a_slice_without_the_label_is_for_no_service(labels: Json | None) -> None:
    said = slice_("web-1", backend("10.0.0.1"))
    said["metadata"]["labels"] = labels
    assert read_slice(raw(said))[1].service == ""


@pytest.mark.parametrize(("kind", "count"), [("IPv4", 1), ("IPv6", 1), ("FQDN", 0), ("IP", 0), (None, 0)])
def test_only_slices_of_addresses_have_backends(kind: str | None, count: int) -> None:
    assert len(read_slice(raw(slice_("web-1", backend("10.0.0.1"), addressType=kind)))[1].groups) == count


def test_a_target_that_is_no_pod_gives_its_name_alone() -> None:
    said = backend("10.0.0.1", targetRef={"kind": "Node", "name": "n1", "uid": "u"})
    (one,) = read_slice(raw(slice_("web-1", said)))[1].groups[0].backends
    assert (one.target, one.pod_namespace, one.pod_uid) == ("n1", "", "")


def test_equal_ports_zones_and_nodes_are_kept_once() -> None:
    one, two = (
        read_slice(raw(slice_("s", backend("10.0.0.1", "a", zone="west-of-here", nodeName="n-1"))))[1].groups[
            0
        ]
        for _ in range(2)
    )
    assert one.ports is two.ports
    assert one.backends[0].zone is two.backends[0].zone
    assert one.backends[0].node is two.backends[0].node
    assert one.backends[0].pod_namespace is two.backends[0].pod_namespace


def test_subsets_have_ports_each_and_addresses_that_are_ready_or_not() -> None:
    subsets = [
        {
            "addresses": [{"ip": "10.0.0.1"}],
            "notReadyAddresses": [{"ip": "10.0.0.2"}],
            "ports": [{"port": 1}],
        },
        {"notReadyAddresses": [{"ip": "10.0.0.3", "nodeName": "n"}], "ports": [{"name": "x", "port": 2}]},
        {},
    ]
    named, spec = read_endpoints(raw({"metadata": meta("web"), "subsets": subsets}))
    assert (named.name, spec.service) == ("web", "web")
    ready, not_ready = Condition.READY, Condition.NOT_READY
    assert spec.groups == (
        Group((("", 1),), (Backend(FOUR + b"\x01", ready), Backend(FOUR + b"\x02", not_ready))),
        Group((("x", 2),), (Backend(FOUR + b"\x03", not_ready, node="n"),)),
        Group((), ()),
    )
