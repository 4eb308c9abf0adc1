"""Ring 4. What kubectl does to a real cluster is what we say of it: made, changed, deleted, and compared."""

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from meshtrio.catalog.stream import State
from tests.kube.conftest import PODS, SERVICES, SLICES, role
from tests.support.kubernetes_objects import namespace, pod, service, slice_of
from tests.support.kubernetes_real import MESH, RealServer
from tests.support.kubernetes_side import QUICK, Follow, following, kubeconfig, live

Json = dict[str, Any]

PACE = msgspec.structs.replace(QUICK, connect_s=2.0, list_s=5.0, look_s=0.5, begin_s=5.0)

pytestmark = pytest.mark.slow


def bare(made: Json) -> Json:
    """Take away what the server writes itself."""
    for name in ("managedFields", "creationTimestamp", "uid"):
        made["metadata"].pop(name, None)
    made.pop("status", None)
    for container in made.get("spec", {}).get("containers", ()):
        container["image"] = "none"
    if made["kind"] == "Service":
        made["spec"].pop("clusterIPs", None)
        made["spec"].pop("ipFamilies", None)
    return made


def slices(owner: str, *ips: str, space: str, suffix: str = "abcde") -> Json:
    made = bare(slice_of(owner, ips, namespace=space, suffix=suffix, version="v1beta1"))
    for endpoint in made["endpoints"]:
        # v1beta1 of 1.20 says the node and the zone so.
        endpoint["topology"] = {"kubernetes.io/hostname": endpoint.pop("nodeName")}
    return made


def truth(server: RealServer) -> dict[str, set[str]]:
    """Say what kubectl sees: the services, and the addresses of their slices."""
    listed = json.loads(server.kubectl("get", "services,endpointslices", "-A", "-o", "json"))["items"]
    found: dict[str, set[str]] = {
        f"{one['metadata']['namespace']}/{one['metadata']['name']}": set()
        for one in listed
        if one["kind"] == "Service"
    }
    for one in listed:
        if one["kind"] == "EndpointSlice":
            owner = one["metadata"]["labels"]["kubernetes.io/service-name"]
            key = f"{one['metadata']['namespace']}/{owner}"
            if key in found:
                found[key] |= {ip for endpoint in one["endpoints"] or () for ip in endpoint["addresses"]}
    return found


def said(follow: Follow) -> dict[str, set[str]]:
    return {key: follow.ips(key) for key in follow.services}


async def compared(follow: Follow, server: RealServer, within_s: float = 5.0) -> None:
    want = await trio.to_thread.run_sync(truth, server)
    await follow.until(lambda: said(follow) == want, within_s)


async def doing(server: RealServer, *objects: Json) -> None:
    await trio.to_thread.run_sync(lambda: server.apply(*objects))


async def kubectl(server: RealServer, *arguments: str) -> str:
    return await trio.to_thread.run_sync(lambda: server.kubectl(*arguments))


async def test_the_usual_life(server: RealServer, config: Path) -> None:
    await doing(server, bare(namespace("shop", {"meshtrio.io/mesh": "enabled"})))
    await doing(server, bare(service("orders", "10.96.7.7", namespace="shop")))
    await doing(server, slices("orders", "10.1.0.1", "10.1.0.2", space="shop"))
    async with following(config, PACE) as follow:
        await compared(follow, server)
        await follow.until(lambda: live(follow))
        assert set(follow.streams) == {"services", "endpointslices-v1beta1", "pods", "namespaces"}
        orders = follow.services["shop/orders"]
        assert [(port.name, port.port) for port in orders.ports] == [("http", 80)]
        assert {(str(one.address), one.node) for one in orders.endpoints} == {
            ("10.1.0.1:8080", "node-a"),
            ("10.1.0.2:8080", "node-a"),
        }
        await doing(server, slices("orders", "10.1.0.2", "10.1.0.3", space="shop"))
        await compared(follow, server)
        await doing(server, slices("orders", "10.1.0.9", space="shop", suffix="more"))
        await compared(follow, server)
        assert follow.ips("shop/orders") == {"10.1.0.2", "10.1.0.3", "10.1.0.9"}
        await kubectl(server, "-n", "shop", "delete", "endpointslice", "orders-abcde")
        await compared(follow, server)
        await kubectl(server, "-n", "shop", "delete", "service", "orders")
        await compared(follow, server)
        assert "shop/orders" not in follow.services
        assert all(stream.errors == 0 for stream in follow.streams.values() if stream.essential)


async def test_pods_and_namespaces_say_who_serves(server: RealServer, config: Path) -> None:
    await doing(server, bare(namespace("bank")), bare(service("vault", "10.96.7.8", namespace="bank")))
    await doing(server, bare(pod("vault-0", "10.1.1.1", namespace="bank", labels={"app": "vault"})))
    uid = await kubectl(server, "-n", "bank", "get", "pod", "vault-0", "-o", "jsonpath={.metadata.uid}")
    made = slices("vault", "10.1.1.1", space="bank")
    made["endpoints"][0]["targetRef"]["uid"] = uid
    await doing(server, made)
    async with following(config, PACE) as follow:
        await follow.until(lambda: follow.ips("bank/vault") == {"10.1.1.1"})

        def endpoint() -> Any:
            return follow.services["bank/vault"].endpoints[0]

        assert ("app", "vault") in endpoint().labels
        assert not endpoint().meshed
        await kubectl(server, "label", "namespace", "bank", "meshtrio.io/mesh=enabled")
        await follow.until(lambda: endpoint().meshed)
        assert endpoint().identity == "spiffe://cluster.local/ns/bank/sa/orders"
        await kubectl(server, "-n", "bank", "label", "pod", "vault-0", "meshtrio.io/mesh=disabled")
        await follow.until(lambda: not endpoint().meshed)


async def test_services_of_every_type(server: RealServer, config: Path) -> None:
    headless = bare(service("ring", "None"))
    outside = bare(service("outside"))
    outside["spec"] = {"type": "ExternalName", "externalName": "db.example.com"}
    chosen = bare(service("chosen"))
    del chosen["spec"]["clusterIP"]
    chosen["spec"]["ports"].append({"name": "grpc", "port": 90, "appProtocol": "grpc", "protocol": "TCP"})
    await doing(server, headless, outside, chosen)
    ip = await kubectl(server, "get", "service", "chosen", "-o", "jsonpath={.spec.clusterIP}")
    async with following(config, PACE) as follow:
        await compared(follow, server)
        assert follow.services["default/ring"].headless
        assert follow.services["default/outside"].external == "db.example.com"
        made = follow.services["default/chosen"]
        assert [vip[12:] for vip in made.vips] == [bytes(map(int, ip.split(".")))]
        assert made.port_named("grpc").protocol == "grpc"


async def test_whatever_is_done_the_truth_is_said(server: RealServer, config: Path) -> None:
    luck = random.Random(4)
    await doing(server, bare(namespace("churn")))
    async with following(config, PACE) as follow:
        for _ in range(6):
            batch: list[Json] = []
            for at in luck.sample(range(12), 5):
                batch.append(bare(service(f"s{at}", f"10.96.8.{at + 1}", namespace="churn")))
                ips = {f"10.2.{at}.{luck.randint(1, 20)}" for _ in range(luck.randint(1, 4))}
                batch.append(slices(f"s{at}", *sorted(ips), space="churn"))
            await doing(server, *batch)
            gone = f"s{luck.randint(0, 11)}"
            await kubectl(server, "-n", "churn", "delete", "service", gone, "--ignore-not-found")
            await kubectl(
                server, "-n", "churn", "delete", "endpointslice", f"{gone}-abcde", "--ignore-not-found"
            )
            await compared(follow, server)


async def test_a_long_list_comes_in_pages(server: RealServer, config: Path) -> None:
    await doing(server, bare(namespace("many")))

    def make() -> None:
        for at in range(620):
            one = bare(service(f"m{at}", namespace="many"))
            del one["spec"]["clusterIP"]
            server.call("POST", "/api/v1/namespaces/many/services", one)

    await trio.to_thread.run_sync(make)
    async with following(config, PACE) as follow:
        await compared(follow, server)
        assert len(follow.services) > 620
    await kubectl(server, "delete", "-n", "many", "services", "--all", "--wait=false")


async def test_who_may_not_see_pods_sees_services(server: RealServer, config: Path) -> None:
    await doing(server, *role("ClusterRole", "mesh", [SERVICES, SLICES]))
    try:
        async with following(config, PACE) as follow:
            await follow.until(lambda: live(follow, ["services", "endpointslices-v1beta1"]))
            await compared(follow, server)
            pods = follow.streams["pods"]
            await follow.until(lambda: pods.state is State.REFUSED)
            assert 'User "mesh" cannot list resource "pods"' in pods.last_error
            await doing(server, *role("ClusterRole", "mesh", [SERVICES, SLICES, PODS]))
            await follow.until(lambda: live(follow))
    finally:
        server.apply(*role("ClusterRole", "mesh", [SERVICES, SLICES, PODS]))


async def test_who_may_not_see_slices_sees_endpoints(server: RealServer, config: Path) -> None:
    await doing(server, *role("ClusterRole", "mesh", [SERVICES, PODS]), bare(service("old", "10.96.7.9")))
    subset = {"addresses": [{"ip": "10.1.3.1"}], "ports": [{"name": "http", "port": 8080}]}
    meta = {"name": "old", "namespace": "default"}
    await doing(server, {"kind": "Endpoints", "apiVersion": "v1", "metadata": meta, "subsets": [subset]})
    try:
        async with following(config, PACE) as follow:
            await follow.until(lambda: live(follow, ["services", "endpoints"]))
            assert follow.ips("default/old") == {"10.1.3.1"}
    finally:
        server.apply(*role("ClusterRole", "mesh", [SERVICES, SLICES, PODS]))
        server.kubectl("delete", "endpoints,service", "old")


async def test_rights_in_one_namespace_are_enough_for_it(server: RealServer, tmp_path: Path) -> None:
    server.kubectl("delete", "clusterrolebinding", "mesh")
    spaces = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["corner"], **PODS}
    spaces["resources"] = ["namespaces"]
    try:
        await doing(server, bare(namespace("corner")), bare(service("one", "10.96.7.20", namespace="corner")))
        await doing(server, slices("one", "10.1.4.1", space="corner"))
        await doing(server, *role("Role", "mesh", [SERVICES, SLICES, PODS], "corner"))
        await doing(server, *role("ClusterRole", "corner", [spaces | {"resourceNames": ["corner"]}]))
        config = kubeconfig(tmp_path / "c", server.url, {"token": MESH}, ca=server.certificate.cert)
        async with following(config, PACE, namespaces=("corner",)) as follow:
            await follow.until(lambda: live(follow))
            assert said(follow) == {"corner/one": {"10.1.4.1"}}
    finally:
        server.apply(*role("ClusterRole", "mesh", [SERVICES, SLICES, PODS]))
