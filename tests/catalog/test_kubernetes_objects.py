"""One object's JSON: what is kept of it, what its ports mean, and when it is poison."""

import json
import sys
from typing import Any

import msgspec
import pytest

from meshtrio.catalog.kubernetes_objects import KINDS, Kind, Object, PoisonError, decode, protocol_of
from meshtrio.catalog.kubernetes_spec import NamespaceSpec, PodSpec, ServiceSpec
from meshtrio.catalog.kubernetes_wire import Annotations
from meshtrio.config.wishes import NO_WISHES, WORDS, BreakerWishes, RetryWishes, Wishes
from tests.catalog.kubernetes_truth import Json, backend, meta, namespace, pod, raw, read, service, slice_

SMALLEST: dict[Kind, Json] = {kind: {"metadata": meta("web")} for kind in KINDS}
NAMELESS: list[Json] = [
    {},
    {"metadata": {}},
    {"metadata": None},
    {"metadata": {"name": None, "namespace": "shop"}},
]


def whole(kind: Kind) -> Json:
    subset = {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1}]}
    return {
        Kind.SERVICE: service(),
        Kind.SLICE: slice_("web-1", backend("10.0.0.1", "a", zone="z", nodeName="n")),
        Kind.ENDPOINTS: {"metadata": meta("web"), "subsets": [subset]},
        Kind.POD: pod("a", labels={"app": "web"}),
        Kind.NAMESPACE: namespace(mesh="enabled"),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_has_a_name_a_uid_and_a_version(kind: Kind) -> None:
    said = whole(kind)
    said["metadata"].update(name="x", uid="u-1", resourceVersion="77")
    one = read(kind, said)
    home = "" if kind is Kind.NAMESPACE else "shop"
    assert (one.kind, one.namespace, one.name, one.uid, one.version) == (kind, home, "x", "u-1", "77")
    assert decode(kind, raw(said)) == one, "as it stands in a list"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_a_name_is_needed(kind: Kind) -> None:
    assert read(kind, {"metadata": {"name": "web", "namespace": "shop"}}).name == "web"


def nulled(said: Any) -> Any:
    """Make each field null in turn."""
    if isinstance(said, dict):
        for key, value in said.items():
            yield {**said, key: None}
            yield from ({**said, key: inner} for inner in nulled(value))
    if isinstance(said, list):
        for at, value in enumerate(said):
            yield from ([*said[:at], inner, *said[at + 1 :]] for inner in nulled(value))


@pytest.mark.parametrize("kind", KINDS)
def test_null_is_nothing_wherever_it_stands(kind: Kind) -> None:
    may_not = 0
    for said in nulled(whole(kind)):
        try:
            read(kind, said)
        except PoisonError as poison:
            may_not += 1
            assert any(word in poison.why for word in ("metadata", "Expected `str`", "Expected `object`"))
    assert may_not <= 6, "names, labels' values and addresses"


@pytest.mark.parametrize("kind", KINDS)
def test_a_megabyte_of_annotations_is_not_kept(kind: Kind) -> None:
    said = whole(kind)
    said["metadata"].update(annotations={"big": "x" * 1_000_000}, managedFields=[{"x": "y" * 100_000}])
    one = read(kind, said)
    said["metadata"].update(annotations=None, managedFields=None)
    assert one == read(kind, said)
    assert size(one) < 3000


def size(value: Any) -> int:
    """Add up all that an object holds."""
    inner = value if isinstance(value, tuple) else ()
    if isinstance(value, msgspec.Struct):
        inner = msgspec.structs.astuple(value)
    return sys.getsizeof(value) + sum(map(size, inner))


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("http", "http"),
        ("HTTP-web", "http"),
        ("http2-x", "http2"),
        ("grpc-orders", "grpc"),
        ("grpc-web-orders", "http"),
        ("tls-x", "tls"),
        ("https", "tls"),
        ("tcp-db", "tcp"),
        ("mysql", "tcp"),
        ("kubernetes.io/h2c", "http2"),
        ("kubernetes.io/ws", "http"),
        ("kubernetes.io/wss", "tls"),
        ("example.com/own", ""),
        ("httpx", ""),
        ("web-http", ""),
        ("", ""),
    ],
)
def test_what_a_port_speaks(said: str, means: str) -> None:
    assert protocol_of(said) == means


@pytest.mark.parametrize(
    ("port", "means"),
    [
        ({"name": "grpc-x"}, "grpc"),
        ({"name": "grpc-x", "appProtocol": "http"}, "http"),
        ({"name": "grpc-x", "appProtocol": "example.com/own"}, ""),
        ({"name": "grpc-x", "appProtocol": None}, "grpc"),
        ({"appProtocol": "kubernetes.io/h2c"}, "http2"),
        ({}, ""),
    ],
)
def test_an_app_protocol_counts_more_than_a_name(port: Json, means: str) -> None:
    spec = read(Kind.SERVICE, service(ports=[{"port": 80, **port}])).spec
    assert isinstance(spec, ServiceSpec)
    assert spec.ports[0].protocol == means


@pytest.mark.parametrize(
    ("annotation", "label", "weight"),
    [
        ("7", "8", 7),
        (None, "8", 8),
        ("1000", None, 1000),
        ("1", None, 1),
        ("1001", None, 1),
        ("0", None, 0),
        ("0", "8", 0),
        ("-5", None, 1),
        ("many", "8", 1),
        ("٣", None, 1),
        ("9" * 5000, None, 1),
        (None, None, 1),
    ],
)
def test_weight(annotation: str | None, label: str | None, weight: int) -> None:
    said = pod("a", labels={"meshtrio.io/weight": label} if label else None)
    said["metadata"]["annotations"] = {"meshtrio.io/weight": annotation, "other": "x"}
    spec = read(Kind.POD, said).spec
    assert isinstance(spec, PodSpec)
    assert spec.weight == weight


def test_a_service_says_what_it_wishes_for_its_traffic() -> None:
    said = service()
    said["metadata"]["annotations"] = {
        "meshtrio.io/balancing": "maglev",
        "meshtrio.io/hash-key": "header:x-user",
        "meshtrio.io/breaker": "off",
        "meshtrio.io/direct": "auto",
        "meshtrio.io/retries": "many",
        "meshtrio.io/hedge-after": "0.5",
        "meshtrio.io/slow-start": "0",
        "other": "x",
    }
    spec = read(Kind.SERVICE, said).spec
    assert isinstance(spec, ServiceSpec)
    off = BreakerWishes(enabled=False)
    hedged = RetryWishes(hedge_after_s=0.5)
    wished = Wishes("maglev", "header:x-user", slow_start_s=0, direct="auto", breaker=off, retries=hedged)
    assert spec.wishes == wished
    assert spec.unheeded == ('meshtrio.io/retries is "many" (want a count, 0 to 10)',)


def test_each_wish_that_there_is_can_be_an_annotation() -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(Annotations)}
    assert fields == {f"meshtrio.io/{word}" for word in ("weight", *WORDS)}


@pytest.mark.parametrize("annotations", [None, {}, {"other": "x"}, {"meshtrio.io/balancing": None}])
def test_a_service_without_a_word_of_ours_wishes_for_nothing(annotations: Any) -> None:
    said = service()
    said["metadata"]["annotations"] = annotations
    spec = read(Kind.SERVICE, said).spec
    assert isinstance(spec, ServiceSpec)
    assert (spec.wishes, spec.unheeded) == (NO_WISHES, ())


def test_a_pod_says_its_zone_if_it_knows() -> None:
    spec = read(Kind.POD, pod("a", labels={"topology.kubernetes.io/zone": "west"})).spec
    assert isinstance(spec, PodSpec)
    assert spec.zone == "west"


@pytest.mark.parametrize(("mesh", "meshed"), [("enabled", True), ("disabled", False), ("", False)])
def test_a_namespace_says_whether_it_is_in_the_mesh(mesh: str, meshed: bool) -> None:
    assert read(Kind.NAMESPACE, namespace(mesh=mesh)).spec == NamespaceSpec(meshed)


def poisoned(kind: Kind, **changes: Any) -> Json:
    said = whole(kind)
    said["metadata"].update(changes.pop("metadata", {}))
    return {**said, **changes}


TWO = [{"name": "x", "port": 1}, {"name": "x", "port": 2}]
SAME = [{"name": "x", "port": 1}, {"name": "y", "port": 1}]
POISON = [
    (Kind.SERVICE, {"spec": {"clusterIP": "10.96.0.256"}}, "spec.clusterIPs is '10.96.0.256'"),
    (Kind.SERVICE, {"spec": {"clusterIPs": ["localhost"]}}, "spec.clusterIPs is 'localhost'"),
    (Kind.SERVICE, {"spec": {"ports": [{"port": 65536}]}}, "$.spec.ports[0].port"),
    (Kind.SERVICE, {"spec": {"ports": [{"port": 0}]}}, "$.spec.ports[0].port"),
    (Kind.SERVICE, {"spec": {"ports": [{"port": "http"}]}}, "Expected `int | null`, got `str`"),
    (Kind.SERVICE, {"spec": {"ports": TWO}}, "two TCP or UDP ports of one name"),
    (Kind.SERVICE, {"spec": {"ports": SAME}}, "two TCP or UDP ports of one name or number"),
    (
        Kind.SERVICE,
        {"spec": {"ports": [{**one, "protocol": "UDP"} for one in SAME]}},
        "of one name or number",
    ),
    (Kind.SERVICE, {"spec": {"ports": [TWO[0], {**TWO[1], "protocol": "UDP"}]}}, "ports of one name"),
    (Kind.SERVICE, {"spec": {"type": "ExternalName", "externalName": "a b"}}, "spec.externalName is 'a b'"),
    (Kind.SERVICE, {"spec": {"type": "ExternalName"}}, "spec.externalName is ''"),
    (Kind.SERVICE, {"metadata": {"labels": {"a": 1}}}, "Expected `str`, got `int`"),
    (Kind.SERVICE, {"metadata": {"uid": "x" * 254}}, "metadata.uid has 254 characters"),
    (Kind.SERVICE, {"metadata": {"resourceVersion": "1" * 254}}, "metadata.resourceVersion has 254"),
    (Kind.SLICE, {"endpoints": [{"addresses": ["10.0.0.x"]}]}, "addresses is '10.0.0.x'"),
    (Kind.SLICE, {"endpoints": {}}, "Expected `array | null`, got `object`"),
    (Kind.SLICE, {"ports": [{"port": -1}]}, "`int` >= 1"),
    (Kind.SLICE, {"endpoints": [{"addresses": ["10.0.0.1"], "zone": "z" * 254}]}, "zone has 254"),
    (Kind.ENDPOINTS, {"subsets": [{"addresses": [{"ip": ""}], "ports": []}]}, "addresses is ''"),
    (Kind.POD, {"spec": {"serviceAccountName": "a/b"}}, "spec.serviceAccountName is 'a/b'"),
    (Kind.POD, {"spec": []}, "Expected `object | null`, got `array`"),
]


@pytest.mark.parametrize(("kind", "changes", "why"), POISON, ids=[why for _, _, why in POISON])
def test_poison_is_named_and_says_why(kind: Kind, changes: Json, why: str) -> None:
    said = poisoned(kind, **changes)
    with pytest.raises(PoisonError) as caught:
        read(kind, said)
    assert caught.value.name == f"shop/{said['metadata']['name']}"
    assert why in caught.value.why
    assert str(caught.value) == f"{caught.value.name}: {caught.value.why}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"\xff",
        b'{"deep":' + b"[" * 100_000,
        *(json.dumps(one).encode() for one in NAMELESS),
    ],
    ids=range(7 + len(NAMELESS)),
)
def test_poison_without_a_name_is_still_poison(kind: Kind, text: bytes) -> None:
    with pytest.raises(PoisonError, match=r"^an object without a name: ") as caught:
        decode(kind, text)
    assert caught.value.name == ""
    assert 0 < len(caught.value.why) <= 200


@pytest.mark.parametrize("name", ["", "a/b", "..", "Web", "a\nb", "x" * 254, "-a"])
def test_what_is_no_name_is_poison(name: str) -> None:
    for changes in ({"name": name}, {"namespace": name}):
        with pytest.raises(PoisonError) as caught:
            read(Kind.SERVICE, poisoned(Kind.SERVICE, metadata=changes))
        assert caught.value.name in ("", "web")
        assert next(iter(changes)) in caught.value.why


def test_a_namespace_is_poison_under_its_own_name() -> None:
    with pytest.raises(PoisonError) as caught:
        read(Kind.NAMESPACE, {"metadata": meta("shop", "", labels={"meshtrio.io/mesh": 1})})
    assert caught.value.name == "shop"


def test_nothing_here_can_be_edited() -> None:
    assert Object.__struct_config__.frozen
