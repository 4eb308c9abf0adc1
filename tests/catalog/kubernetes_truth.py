"""What a cluster's objects mean, said a second time, naively: over plain JSON, with a search for everything.

Written from the documentation of the API and not from meshtrio's reducer, so that where both agree they are
probably right. Also short ways to write objects.
"""

import ipaddress
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from meshtrio.address import Address
from meshtrio.catalog.kubernetes_objects import Kind, Object, decode
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort

Json = dict[str, Any]
Truth = dict[tuple[Kind, str, str], Json]
MESH = "meshtrio.io/mesh"


def read(kind: Kind, said: Json) -> Object:
    """Decode an object from its JSON."""
    return decode(kind, json.dumps(said).encode())


def meta(name: str, namespace: str = "shop", version: int = 1, uid: str = "", **more: Any) -> Json:
    said = {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version), **more}
    return {**said, "namespace": namespace} if namespace else said


def service(name: str = "web", namespace: str = "shop", version: int = 1, **spec: Any) -> Json:
    spec = {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}], **spec}
    return {"metadata": meta(name, namespace, version), "spec": spec}


def backend(ip: str, pod: str = "", ready: bool | None = True, **more: Any) -> Json:
    said: Json = {"addresses": [ip], "conditions": {"ready": ready}, **more}
    if pod:
        said["targetRef"] = {"kind": "Pod", "name": pod, "namespace": "shop", "uid": f"uid-{pod}"}
    return said


def slice_(name: str, *endpoints: Json, of: str = "web", version: int = 1, **more: Any) -> Json:
    return {
        "metadata": meta(name, version=version, labels={"kubernetes.io/service-name": of}),
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(endpoints),
        **more,
    }


def pod(name: str, version: int = 1, labels: Json | None = None, **spec: Any) -> Json:
    return {
        "metadata": meta(name, version=version, labels=labels),
        "spec": {"serviceAccountName": "runner", **spec},
    }


def namespace(name: str = "shop", mesh: str = "", version: int = 1) -> Json:
    return {"metadata": meta(name, "", version, labels={MESH: mesh} if mesh else None)}


def naive(truth: Truth, key: str) -> Service | None:
    """Build a service from all that is true."""
    where, _, name = key.partition("/")
    said = truth.get((Kind.SERVICE, where, name))
    if said is None:
        return None
    spec = said["spec"]
    ips = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    external = spec["externalName"] if spec.get("type") == "ExternalName" else ""
    slices = [
        one
        for (kind, ns, _), one in truth.items()
        if kind is Kind.SLICE and ns == where and _labels(one).get("kubernetes.io/service-name") == name
    ]
    legacy = truth.get((Kind.ENDPOINTS, where, name))
    flat = list(_of_slices(slices)) if slices else list(_of_subsets(legacy or {}))
    ports = tuple(
        ServicePort(
            port.get("name") or "",
            port["port"],
            ()
            if external
            else _endpoints(truth, said, [one for one in flat if one["name"] == port.get("name", "")]),
            {"kubernetes.io/h2c": "http2"}.get(port.get("appProtocol", ""))
            or port.get("name", "").split("-")[0],
        )
        for port in spec.get("ports") or []
        if port.get("protocol", "TCP") == "TCP"
    )
    vips = tuple(_ip(ip) for ip in ips if ip not in ("", "None"))
    labels = tuple(sorted(_labels(said).items()))
    return Service(
        name, where, () if external else vips, ports, "None" in ips and not external, external, labels
    )


def _of_slices(slices: Iterable[Json]) -> Iterable[Json]:
    for one in sorted(slices, key=lambda one: str(one["metadata"]["name"])):
        for port in one["ports"] or []:
            for endpoint in one["endpoints"] or []:
                if port.get("protocol", "TCP") == "TCP" and one["addressType"] != "FQDN":
                    is_so = endpoint.get("conditions") or {}
                    yield {
                        "name": port.get("name") or "",
                        "port": port["port"],
                        "ip": endpoint["addresses"][0],
                        "ready": is_so.get("ready") is not False,
                        "terminating": bool(is_so.get("terminating")),
                        "serving": is_so.get("serving") is not False,
                        "target": endpoint.get("targetRef") or {},
                        "zone": endpoint.get("zone") or "",
                        "hints": [one["name"] for one in (endpoint.get("hints") or {}).get("forZones", [])],
                        "node": endpoint.get("nodeName") or "",
                    }


def _of_subsets(endpoints: Json) -> Iterable[Json]:
    for subset in endpoints.get("subsets") or []:
        for port in subset.get("ports") or []:
            for field, ready in (("addresses", True), ("notReadyAddresses", False)):
                for address in subset.get(field) or []:
                    yield {
                        "name": port.get("name") or "",
                        "port": port["port"],
                        "ip": address["ip"],
                        "ready": ready,
                        "terminating": False,
                        "serving": ready,
                        "target": address.get("targetRef") or {},
                        "zone": "",
                        "node": address.get("nodeName") or "",
                    }


def _endpoints(truth: Truth, said: Json, flat: list[Json]) -> tuple[Endpoint, ...]:
    anyway = said["spec"].get("publishNotReadyAddresses")
    dual = len(said["spec"].get("clusterIPs") or []) > 1 or len(said["spec"].get("ipFamilies") or []) > 1

    def rank(one: Json) -> int:
        if one["terminating"]:
            return 1 if anyway or one["serving"] else 3
        return 0 if anyway or one["ready"] else 2

    best: dict[Address, Json] = {}
    for one in sorted(flat, key=rank):
        best.setdefault(Address.of(one["ip"], one["port"]), one)
    made: list[Endpoint] = []
    for address, one in sorted(best.items()):
        target = one["target"]
        name = target.get("name") or str(address)
        if any(other.id == name for other in made) or (dual and target and ":" in address.host):
            name = f"{name}@{address}"
        behind = truth.get((Kind.POD, target.get("namespace") or "", target.get("name") or ""))
        if behind is not None and behind["metadata"]["uid"] != target["uid"]:
            behind = None
        labels = _labels(behind) if behind else {}
        home = _labels(truth.get((Kind.NAMESPACE, "", target.get("namespace") or "")))
        says = labels.get(MESH)
        by_home = home.get(MESH) == "enabled" and says != "disabled"
        meshed = bool(behind) and (says == "enabled" or by_home)
        account = behind["spec"]["serviceAccountName"] if behind else ""
        made.append(
            Endpoint(
                name,
                address,
                weight=int(labels.get("meshtrio.io/weight", 1)),
                zone=one["zone"],
                for_zones=tuple(sorted(one.get("hints", ()))),
                health=Health.HEALTHY if rank(one) < 2 else Health.UNHEALTHY,
                draining=one["terminating"],
                node=one["node"],
                version=labels.get("version", ""),
                labels=tuple(sorted(labels.items())),
                meshed=meshed,
                identity=f"spiffe://cluster.local/ns/{target['namespace']}/sa/{account}" if meshed else "",
            )
        )
    return tuple(made)


def _labels(said: Json | None) -> dict[str, str]:
    return (said or {}).get("metadata", {}).get("labels") or {}


def _ip(text: str) -> bytes:
    parsed = ipaddress.ip_address(text)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


def raw(said: Json) -> msgspec.Raw:
    """Write an object as it stands inside a list."""
    return msgspec.Raw(json.dumps(said).encode())
