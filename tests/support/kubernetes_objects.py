"""Core. Kubernetes objects as their server writes them, with what it adds and nobody reads."""

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

_NOISE = [{"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": {"f:a": {}}}]


def _meta(name: str, namespace: str, labels: dict[str, str] | None = None) -> Json:
    meta: Json = {"name": name, "managedFields": _NOISE, "creationTimestamp": "2026-01-01T00:00:00Z"}
    if namespace:
        meta["namespace"] = namespace
    if labels:
        meta["labels"] = labels
    return meta


def service(name: str, ip: str = "10.96.0.10", *, namespace: str = "default", port: int = 80) -> Json:
    ports = [{"name": "http", "protocol": "TCP", "port": port, "targetPort": 8080}]
    spec = {"clusterIP": ip, "clusterIPs": [ip], "type": "ClusterIP", "ports": ports, "ipFamilies": ["IPv4"]}
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": _meta(name, namespace),
        "spec": spec,
        "status": {"loadBalancer": {}},
    }


def slice_of(
    owner: str, ips: Iterable[str], *, namespace: str = "default", suffix: str = "abcde", version: str = "v1"
) -> Json:
    def endpoint(at: int, ip: str) -> Json:
        target = {"kind": "Pod", "namespace": namespace, "name": f"{owner}-{at}", "uid": f"{owner}-{at}"}
        return {
            "addresses": [ip],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "node-a",
            "targetRef": target,
        }

    return {
        "kind": "EndpointSlice",
        "apiVersion": f"discovery.k8s.io/{version}",
        "metadata": _meta(f"{owner}-{suffix}", namespace, {"kubernetes.io/service-name": owner}),
        "addressType": "IPv4",
        "endpoints": [endpoint(at, ip) for at, ip in enumerate(ips)],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }


def endpoints(owner: str, ips: Iterable[str], *, namespace: str = "default") -> Json:
    subset = {
        "addresses": [{"ip": ip, "nodeName": "node-a"} for ip in ips],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }
    return {
        "kind": "Endpoints",
        "apiVersion": "v1",
        "metadata": _meta(owner, namespace),
        "subsets": [subset],
    }


def pod(name: str, ip: str, *, namespace: str = "default", labels: dict[str, str] | None = None) -> Json:
    made: Json = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": _meta(name, namespace, labels),
        "spec": {"serviceAccountName": "orders", "nodeName": "node-a", "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    }
    made["metadata"]["uid"] = name
    return made


def namespace(name: str, labels: dict[str, str] | None = None) -> Json:
    return {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": _meta(name, "", labels),
        "status": {"phase": "Active"},
    }
