"""Both ends in the mesh, or one of them: each end is caught exactly once, on both rungs."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.mesh import Mesh, Workload, service
from tests.support.world import LEFT, LEFT6, RIGHT, RIGHT6, VIP, VIP6, App, app, island, pod_cgroup, two_pods

pytestmark = pytest.mark.world

FAMILIES = ((VIP, LEFT, RIGHT), (VIP6, LEFT6, RIGHT6))
"""A virtual IP, where the caller is, and where the called one is."""


class Scene(NamedTuple):
    mesh: Mesh
    client: Workload
    server: Workload
    stranger: App
    """Outside the mesh, beside the client."""
    far_stranger: App
    """Outside the mesh, beside the server."""


@pytest.fixture(scope="module")
def pods(rung: str) -> Iterator[Scene]:
    """Two pods on a wire: one calls, one serves."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        left, right = stack.enter_context(two_pods())
        services = [
            service("web", f"{RIGHT}:9080", vips=[VIP]),
            service("web6", f"[{RIGHT6}]:9080", vips=[VIP6]),
            service("outside", f"{RIGHT}:9081", f"[{RIGHT6}]:9081", port=81),
        ]
        mesh = stack.enter_context(Mesh(home, rung=rung, services=services))
        client = stack.enter_context(
            mesh.workload("client", left, cgroup=str(stack.enter_context(pod_cgroup())))
        )
        server = stack.enter_context(
            mesh.workload("server", right, cgroup=str(stack.enter_context(pod_cgroup())))
        )
        stranger, far_stranger = stack.enter_context(app(left)), stack.enter_context(app(right))
        for host in (RIGHT, RIGHT6):
            server.app.listen(host, 9080, "web")
            far_stranger.listen(host, 9081, "outside")
        mesh.follow_ports()
        yield Scene(mesh, client, server, stranger, far_stranger)


@pytest.fixture(scope="module")
def house(rung: str) -> Iterator[tuple[Mesh, Workload, Workload, App]]:
    """One namespace with two workloads and a stranger, over loopback."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        services = [
            service("web", "127.0.0.1:9080", vips=[VIP]),
            service("web6", "[::1]:9080", vips=[VIP6]),
            service("outside", "127.0.0.1:9081", port=81),
        ]
        mesh = stack.enter_context(Mesh(home, rung=rung, services=services))
        client, server = (stack.enter_context(mesh.workload(word)) for word in ("client", "server"))
        stranger = stack.enter_context(app(home))
        server.app.listen("127.0.0.1", 9080, "web")
        server.app.listen("::1", 9080, "web6")
        stranger.listen("127.0.0.1", 9081, "outside")
        mesh.follow_ports()
        yield mesh, client, server, stranger


class Before:
    """What was counted before, so that a test sees its own connections only."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._hooks = mesh.hooks()
        self._now = time.time()

    def wait(self, wanted: int) -> list[dict[str, Any]]:
        """Wait until so many have ended since, and return them, outbound first."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self._mesh.ended() if one["began"] >= self._now]

        self._mesh.wait(lambda: len(found()) >= wanted)
        return sorted(found(), key=lambda one: one["direction"], reverse=True)

    def hooks(self) -> dict[str, int]:
        """Return what the hooks have counted since, without what is always there."""
        now = self._mesh.hooks()
        delta = {name: count - self._hooks.get(name, 0) for name, count in now.items()}
        # The worker asks sock_diag before it dials as the caller; the kernel runs sk_lookup for that, too.
        as_caller = any(one["source_address"] == "caller" for one in self._mesh.status()["workloads"])
        delta["caught"] = delta.get("caught", 0) - as_caller * delta.get("passed_our_dial", 0)
        return {name: count for name, count in delta.items() if count and name != "passed_not_ours"}


def test_two_pods_over_a_wire_are_caught_once_each(pods: Scene) -> None:
    before = Before(pods.mesh)
    for vip, near, far in FAMILIES:
        said = pods.client.app.dial(vip, 80)
        assert said["peer"] == [vip, 80]
        assert said["greeting"]["local"] == [far, 9080]
        assert said["greeting"]["peer"][0] == near  # the called process sees who calls
    found = before.wait(4)
    assert [one["direction"] for one in found] == ["outbound"] * 2 + ["inbound"] * 2
    assert [one["workload"] for one in found] == [pods.client.name] * 2 + [pods.server.name] * 2
    assert {one["outcome"] for one in found} == {"carried"}
    assert {one["destination"] for one in found[:2]} == {f"{VIP}:80", f"[{VIP6}]:80"}
    assert {one["source"].rpartition(":")[0] for one in found[2:]} == {LEFT, f"[{LEFT6}]"}
    if pods.mesh.rung == "ebpf":
        assert before.hooks() == {"redirected": 2, "caught": 2, "passed_our_dial": 2}
    assert {one["source_address"] for one in pods.mesh.status()["workloads"]} == {"caller"}


def test_a_stranger_calls_a_meshed_server(pods: Scene) -> None:
    before = Before(pods.mesh)
    for _, near, far in FAMILIES:
        said = pods.stranger.dial(far, 9080)["greeting"]
        assert (said["name"], said["peer"][0]) == ("web", near)
    found = before.wait(2)
    assert [(one["direction"], one["workload"]) for one in found] == [("inbound", pods.server.name)] * 2
    if pods.mesh.rung == "ebpf":
        assert before.hooks() == {"caught": 2, "passed_our_dial": 2}


def test_a_meshed_client_calls_a_stranger(pods: Scene) -> None:
    before = Before(pods.mesh)
    for _, near, far in FAMILIES:
        said = pods.client.app.dial(far, 9081)
        assert said["greeting"]["name"] == "outside"
        assert said["greeting"]["peer"][0] == near
        assert said["peer"] == [far, 9081]
    found = before.wait(2)
    assert [(one["direction"], one["service"]) for one in found] == [("outbound", "default/outside")] * 2
    if pods.mesh.rung == "ebpf":
        assert before.hooks() == {"redirected": 2}


def test_the_called_app_sees_a_fixed_address_if_configured(rung: str) -> None:
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        left, right = stack.enter_context(two_pods())
        mesh = stack.enter_context(Mesh(home, rung=rung, source_address="fixed"))
        group = str(stack.enter_context(pod_cgroup()))
        server = stack.enter_context(mesh.workload("server", right, cgroup=group))
        assert server.told["source_address"] == "fixed"
        for host in (RIGHT, RIGHT6):
            server.app.listen(host, 9080, "web")
        mesh.follow_ports()
        stranger = stack.enter_context(app(left))
        assert stranger.dial(RIGHT, 9080)["greeting"]["peer"][0] == "127.0.0.6"
        assert stranger.dial(RIGHT6, 9080)["greeting"]["peer"][0] == "::1"


def test_strangers_are_left_alone(pods: Scene) -> None:
    before = Before(pods.mesh)
    assert pods.stranger.dial(RIGHT, 9081)["greeting"]["peer"][0] == LEFT
    assert before.wait(0) == []
    assert before.hooks() == {}


def test_two_workloads_over_loopback_are_caught_once_each(
    house: tuple[Mesh, Workload, Workload, App],
) -> None:
    mesh, client, server, _ = house
    before = Before(mesh)
    for vip, host in ((VIP, "127.0.0.1"), (VIP6, "::1")):
        said = client.app.dial(vip, 80)
        assert said["peer"] == [vip, 80]
        assert said["greeting"]["local"] == [host, 9080]
    found = before.wait(4)
    assert [one["direction"] for one in found] == ["outbound"] * 2 + ["inbound"] * 2
    assert [one["workload"] for one in found] == [client.name] * 2 + [server.name] * 2
    assert {one["outcome"] for one in found} == {"carried"}
    if mesh.rung == "ebpf":
        assert before.hooks() == {"redirected": 2, "caught": 2, "passed_our_dial": 2}


def test_a_hundred_over_loopback_are_a_hundred_each(house: tuple[Mesh, Workload, Workload, App]) -> None:
    mesh, client, _, _ = house
    before = Before(mesh)
    assert client.app.burst(50, VIP, 80) == {"web": 50}
    assert client.app.burst(50, "127.0.0.1", 9080) == {"web": 50}
    found = before.wait(200)
    assert [one["direction"] for one in found] == ["outbound"] * 100 + ["inbound"] * 100
    assert {one["outcome"] for one in found} == {"carried"}


def test_a_stranger_and_a_workload_over_loopback(house: tuple[Mesh, Workload, Workload, App]) -> None:
    mesh, client, server, stranger = house
    before = Before(mesh)
    assert client.app.dial(VIP, 81)["greeting"]["name"] == "outside"
    assert stranger.dial("127.0.0.1", 9080)["greeting"]["name"] == "web"
    outbound, inbound = before.wait(2)
    assert (outbound["workload"], inbound["workload"]) == (client.name, server.name)


def test_loopback_that_is_no_service_is_left_alone(house: tuple[Mesh, Workload, Workload, App]) -> None:
    mesh, client, _, _ = house
    client.app.listen("127.0.0.1", 9099, "own")
    mesh.follow_ports()
    before = Before(mesh)
    assert client.app.dial("127.0.0.1", 9099)["greeting"]["name"] == "own"
    assert all(one["direction"] == "inbound" for one in before.wait(0))
