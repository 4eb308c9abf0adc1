"""Ring 2, real sockets. The usual life of the Kubernetes source: what is there, what changes, what goes."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from meshtrio.catalog.service import Service
from meshtrio.catalog.stream import State
from tests.support.kubernetes import ApiServer, Wrong
from tests.support.kubernetes_objects import endpoints, namespace, pod, service, slice_of
from tests.support.kubernetes_side import Follow, busy_threads, following, kubeconfig, live


async def test_what_is_there_is_said_at_once_and_whole(api: ApiServer, config: Path) -> None:
    api.store.put("namespaces", namespace("default"))
    api.store.put("services", service("orders"))
    api.store.put("endpointslices", slice_of("orders", ["10.1.0.1", "10.1.0.2"]))
    async with following(config) as follow:
        await follow.until(lambda: "default/orders" in follow.services)
        assert follow.ips() == {"10.1.0.1", "10.1.0.2"}
        await follow.until(lambda: live(follow))
        assert set(follow.streams) == {"services", "endpointslices", "pods", "namespaces"}
        assert [name for name, stream in follow.streams.items() if not stream.essential] == [
            "namespaces",
            "pods",
        ]


async def test_what_changes_is_said(api: ApiServer, config: Path) -> None:
    async with following(config) as follow:
        await follow.until(lambda: api.watching == 4)
        api.store.put("services", service("orders"))
        api.store.put("endpointslices", slice_of("orders", ["10.1.0.1"]))
        await follow.until(lambda: follow.ips() == {"10.1.0.1"})
        api.store.put("endpointslices", slice_of("orders", ["10.1.0.1", "10.1.0.2"]))
        await follow.until(lambda: follow.ips() == {"10.1.0.1", "10.1.0.2"})
        api.store.put("pods", pod("orders-0", "10.1.0.1", labels={"app": "orders"}))
        await follow.until(lambda: ("app", "orders") in follow.services["default/orders"].endpoints[0].labels)
        api.store.delete("endpointslices", "orders-abcde")
        await follow.until(lambda: follow.ips() == set())
        api.store.delete("services", "orders")
        await follow.until(lambda: not follow.services)
        assert follow.streams["services"].events == 2
        assert follow.streams["services"].position == str(api.store.version)


async def test_no_service_is_said_before_its_endpoints_are_known(api: ApiServer, config: Path) -> None:
    api.store.put("services", service("orders"))
    api.store.put("endpointslices", slice_of("orders", ["10.1.0.1"]))
    api.fail(Wrong(500), 3, when=lambda request: request.resource == "endpointslices")
    async with following(config) as follow:
        await follow.until(lambda: api.requests.count_of("endpointslices") > 2)
        assert not follow.services
        await follow.until(lambda: follow.services)
        assert follow.ips() == {"10.1.0.1"}


@pytest.mark.parametrize("versions", [("v1",), ("v1", "v1beta1"), ("v1beta1",), ()])
async def test_the_best_form_of_endpoints_that_there_is(tmp_path: Path, versions: tuple[str, ...]) -> None:
    with ApiServer(slices=versions) as api:
        config = kubeconfig(tmp_path / "config", api.url)
        api.store.put("services", service("orders"))
        api.store.put("endpoints", endpoints("orders", ["10.1.0.9"]))
        if versions:
            api.store.put("endpointslices", slice_of("orders", ["10.1.0.1"]))
        async with following(config) as follow:
            await follow.until(lambda: live(follow))
            await follow.until(lambda: follow.ips() == ({"10.1.0.1"} if versions else {"10.1.0.9"}))
            name = {(): "endpoints", ("v1beta1",): "endpointslices-v1beta1"}.get(versions, "endpointslices")
            assert set(follow.streams) == {"services", name, "pods", "namespaces"}
            assert follow.streams[name].essential


async def test_slices_are_taken_when_the_server_gets_them(tmp_path: Path) -> None:
    with ApiServer(slices=()) as api:
        config = kubeconfig(tmp_path / "config", api.url)
        api.store.put("services", service("orders"))
        api.store.put("endpoints", endpoints("orders", ["10.1.0.9"]))
        async with following(config, resync_s=1) as follow:
            await follow.until(lambda: follow.ips() == {"10.1.0.9"})
            api.slices = ("v1",)
            api.store.put("endpointslices", slice_of("orders", ["10.1.0.1"]))
            await follow.until(lambda: live(follow, ["endpointslices"]))
            assert follow.ips() == {"10.1.0.1"}
            assert "endpoints" not in follow.streams


async def test_endpoints_will_do_where_slices_are_forbidden(api: ApiServer, config: Path) -> None:
    api.forbidden = lambda request: request.resource == "endpointslices"
    api.store.put("services", service("orders"))
    api.store.put("endpoints", endpoints("orders", ["10.1.0.9"]))
    async with following(config) as follow:
        await follow.until(lambda: follow.ips() == {"10.1.0.9"})


async def test_only_the_chosen_namespaces_are_asked_for(api: ApiServer, config: Path) -> None:
    for name in ("shop", "bank", "secret"):
        api.store.put("namespaces", namespace(name, {"meshtrio.io/mesh": "enabled"}))
        api.store.put("services", service("orders", namespace=name))
        api.store.put("endpointslices", slice_of("orders", ["10.1.0.1"], namespace=name))
        api.store.put("pods", pod("orders-0", "10.1.0.1", namespace=name))
    async with following(config, namespaces=("shop", "bank")) as follow:
        await follow.until(lambda: api.watching == 8)
        api.store.put("endpointslices", slice_of("orders", ["10.1.0.2"], namespace="bank"))
        await follow.until(lambda: follow.ips("bank/orders") == {"10.1.0.2"})
        assert set(follow.services) == {"shop/orders", "bank/orders"}
        assert follow.services["shop/orders"].endpoints[0].meshed
        api.store.put("namespaces", namespace("shop"))
        await follow.until(lambda: not follow.services["shop/orders"].endpoints[0].meshed)
        asked = {request.namespace for request in api.requests if request.resource not in ("", "namespaces")}
        assert asked == {"shop", "bank"}
        chosen = {r.query["fieldSelector"] for r in api.requests if r.resource == "namespaces"}
        assert chosen == {"metadata.name=shop", "metadata.name=bank"}


async def test_a_namespace_that_is_forbidden_keeps_no_other_from_being_said(
    api: ApiServer, config: Path
) -> None:
    for name in ("shop", "bank"):
        api.store.put("services", service("orders", namespace=name))
        api.store.put("endpointslices", slice_of("orders", ["10.1.0.1"], namespace=name))
    api.forbidden = lambda request: request.namespace == "bank"
    async with following(config, namespaces=("shop", "bank"), pods=False, resync_s=0.5) as follow:
        await follow.until(lambda: follow.ips("shop/orders") == {"10.1.0.1"})
        await follow.until(lambda: follow.streams["bank/services"].state is State.REFUSED)
        api.forbidden = lambda request: False
        await follow.until(lambda: follow.ips("bank/orders") == {"10.1.0.1"})


async def test_services_go_on_without_pods_and_namespaces(api: ApiServer, config: Path) -> None:
    api.forbidden = lambda request: request.resource in ("pods", "namespaces")
    api.store.put("services", service("orders"))
    api.store.put("endpointslices", slice_of("orders", ["10.1.0.1"]))
    async with following(config) as follow:
        await follow.until(lambda: follow.ips() == {"10.1.0.1"})
        await follow.until(lambda: live(follow, ["services", "endpointslices"]))
        for name in ("pods", "namespaces"):
            stream = follow.streams[name]
            assert stream.state is State.REFUSED
            assert "forbidden" in stream.last_error
            assert not stream.essential


async def test_what_was_said_under_other_settings_is_taken_back(api: ApiServer, config: Path) -> None:
    for name in ("shop", "bank"):
        api.store.put("services", service("orders", namespace=name))
        api.store.put("endpointslices", slice_of("orders", ["10.1.0.1"], namespace=name))
    async with following(config) as follow:
        await follow.until(lambda: len(follow.services) == 2)
    async with following(config, hub=follow.hub, namespaces=("bank",)) as follow:
        assert len(follow.services) == 2
        await follow.until(lambda: set(follow.services) == {"bank/orders"})


async def test_poison_is_named_and_hinders_nothing(api: ApiServer, config: Path) -> None:
    api.store.put("services", service("orders"))
    api.store.put("endpointslices", slice_of("orders", ["10.1.0.1"]))
    bad = b'{"metadata":{"name":"bad","namespace":"default","resourceVersion":"VERSION"},"spec":{"ports":7}}'
    api.store.put_raw("services", ("default", "bad"), bad)
    async with following(config, resync_s=0.5) as follow:
        await follow.until(lambda: follow.ips() == {"10.1.0.1"})
        assert follow.streams["services"].skipped == 1
        assert "default/bad" in follow.streams["services"].last_skipped
        # What was known stays, through the watch and through the next lists, until it is deleted.
        worse = bad.replace(b'"bad"', b'"orders"')
        api.store.put_raw("services", ("default", "orders"), worse)
        await follow.until(lambda: "default/orders" in follow.streams["services"].last_skipped)
        listed = api.requests.lists_of("services")
        await follow.until(lambda: api.requests.lists_of("services") > listed + 1)
        assert follow.ips() == {"10.1.0.1"}
        api.store.delete("services", "orders")
        await follow.until(lambda: not follow.services)


async def test_a_cluster_without_anything_is_a_word_too(api: ApiServer, config: Path) -> None:
    async with following(config) as follow:
        await follow.until(lambda: live(follow))
        assert follow.services == {}


async def test_no_configuration_is_told_and_looked_for_again(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.store.put("services", service("orders"))
    path = tmp_path / "config"
    async with following(path) as follow:
        await follow.until(lambda: follow.streams and follow.streams["services"].state is State.REFUSED)
        kubeconfig(path, api.url)
        await follow.until(lambda: "default/orders" in follow.services)


async def test_ending_at_any_moment_is_quick_and_leaves_no_thread(api: ApiServer, config: Path) -> None:
    api.store.put("services", *(service(f"s{at}") for at in range(1200)))
    async with following(config) as follow:
        took_s = await follow.until(lambda: len(follow.services) == 1200)
    for part in range(8):
        async with following(config):
            await trio.sleep(took_s * part / 6)
    assert busy_threads() == []


@pytest.mark.slow
async def test_ten_thousand_services_are_loaded_and_the_loop_is_not_held_up(
    api: ApiServer, config: Path, record_property: Callable[[str, object], None]
) -> None:
    api.store.put(
        "services",
        *(service(f"s{at}", f"10.{96 + at // 65536}.{at // 256 % 256}.{at % 256}") for at in range(10_000)),
    )
    for at in range(10_000):
        ips = [f"10.{one}.{at // 256}.{at % 256}" for one in range(1, 11)]
        api.store.put("endpointslices", slice_of(f"s{at}", ips))
    stalls: list[float] = []

    async def feel() -> None:
        while True:
            began = time.perf_counter()
            await trio.sleep(0.001)
            stalls.append(time.perf_counter() - began)

    def known(follow: Follow) -> bool:
        last: Service | None = follow.services.get("default/s9999")
        return len(follow.services) == 10_000 and last is not None and len(last.endpoints) == 10

    def shows(follow: Follow, ips: set[str]) -> bool:
        return follow.ips("default/s77") == ips

    async with trio.open_nursery() as nursery, following(config) as follow:
        nursery.start_soon(feel)
        loaded_s = await follow.until(lambda: known(follow), 60)
        changes_s = []
        for at in range(20):
            api.store.put("endpointslices", slice_of("s77", [f"10.99.0.{at}"]))
            changed = {f"10.99.0.{at}"}
            changes_s.append(await follow.until(partial(shows, follow, changed)))
        nursery.cancel_scope.cancel()
    stalls.sort()
    words = f"loaded in {loaded_s:.1f} s; a change in {sorted(changes_s)[18] * 1000:.0f} ms (p95); stalls "
    words += f"p99 {stalls[len(stalls) * 99 // 100] * 1000:.0f} ms, longest {stalls[-1] * 1000:.0f} ms"
    print(words)
    record_property("kubernetes", words)
