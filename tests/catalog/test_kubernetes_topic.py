"""Ring 1. What is asked of an API server, word for word."""

from meshtrio.catalog.kubernetes_objects import Kind
from meshtrio.catalog.kubernetes_topic import APIS, Topic, topics


def test_a_whole_cluster_is_four_streams() -> None:
    found = topics((), pods=True)
    assert [topic.kind for topic in found] == [Kind.NAMESPACE, Kind.POD, Kind.SERVICE, Kind.SLICE]
    assert {topic.namespace for topic in found} == {""}
    assert [topic.apis[0].path("") for topic in found] == [
        "/api/v1/namespaces",
        "/api/v1/pods",
        "/api/v1/services",
        "/apis/discovery.k8s.io/v1/endpointslices",
    ]


def test_chosen_namespaces_are_asked_for_each() -> None:
    found = topics(("shop", "bank", "shop"), pods=False)
    assert [topic.named(topic.apis[0]) for topic in found] == [
        "shop/namespaces",
        "bank/namespaces",
        "shop/services",
        "bank/services",
        "shop/endpointslices",
        "bank/endpointslices",
    ]


def test_a_namespace_is_in_none_and_so_is_chosen_by_name() -> None:
    topic = Topic(Kind.NAMESPACE, "shop")
    assert topic.apis[0].path(topic.namespace) == "/api/v1/namespaces"
    assert topic.selection == {"fieldSelector": "metadata.name=shop"}
    assert Topic(Kind.NAMESPACE).selection == {}
    assert Topic(Kind.POD, "shop").selection == {}


def test_slices_have_older_forms() -> None:
    assert [api.path("shop") for api in APIS[Kind.SLICE]] == [
        "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices",
        "/apis/discovery.k8s.io/v1beta1/namespaces/shop/endpointslices",
        "/api/v1/namespaces/shop/endpoints",
    ]
    assert [Topic(Kind.SLICE).named(api) for api in APIS[Kind.SLICE]] == [
        "endpointslices",
        "endpointslices-v1beta1",
        "endpoints",
    ]
    assert APIS[Kind.SLICE][-1].kind is Kind.ENDPOINTS


def test_services_and_what_serves_them_are_essential() -> None:
    assert [topic.kind for topic in topics((), pods=True) if topic.essential] == [Kind.SERVICE, Kind.SLICE]
