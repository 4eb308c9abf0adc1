"""Two workloads on a wire: they prove who they are and encrypt by themselves, on both rungs."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.mesh import Mesh, Workload, service
from tests.support.wiretap import tapped
from tests.support.world import LEFT, RIGHT, RIGHT6, VIP, VIP6, App, app, island, pod_cgroup, two_pods

pytestmark = pytest.mark.world

SECRET = "nobody else may read this line"
CALLER, CALLED = "spiffe://cluster.local/ns/shop/sa/cart", "spiffe://cluster.local/ns/shop/sa/orders"


class Scene(NamedTuple):
    mesh: Mesh
    client: Workload
    server: Workload
    stranger: App
    """Outside the mesh, beside the client."""
    spaces: Any


@pytest.fixture(scope="module")
def pods(rung: str) -> Iterator[Scene]:
    """Two workloads with identities in pods of their own: one calls, one serves."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        left, right = stack.enter_context(two_pods())
        endpoints = [
            {"address": where, "identity": CALLED} for where in (f"{RIGHT}:9080", f"[{RIGHT6}]:9080")
        ]
        wrong = [{"address": f"{RIGHT}:9080", "identity": CALLER}]
        services: list[dict[str, Any]] = [
            {**service("web", vips=[VIP]), "endpoints": endpoints[:1]},
            {**service("web6", vips=[VIP6]), "endpoints": endpoints[1:]},
            {**service("wrong", port=81, vips=[VIP]), "endpoints": wrong},
            service("near", f"{RIGHT}:9080", port=82, vips=[VIP]),
        ]
        identity = {"directory": "", "exec_identities": ["spiffe://cluster.local/ns/shop/*"]}
        mesh = stack.enter_context(Mesh(home, rung=rung, services=services, identity=identity))
        client = stack.enter_context(
            mesh.workload(
                "client", left, cgroup=str(stack.enter_context(pod_cgroup())),
                namespace="shop", service_account="cart",
            )
        )  # fmt: skip
        server = stack.enter_context(
            mesh.workload(
                "server", right, cgroup=str(stack.enter_context(pod_cgroup())),
                namespace="shop", service_account="orders",
            )
        )  # fmt: skip
        for host in (RIGHT, RIGHT6):
            server.app.listen(host, 9080, "web")
        mesh.follow_ports()
        yield Scene(mesh, client, server, stack.enter_context(app(left)), (left, right))


@pytest.fixture(autouse=True)
def settings_as_they_were(pods: Scene) -> Iterator[None]:
    yield
    if pods.mesh.settings.get("mtls") or pods.mesh.settings.get("policy"):
        configure(pods.mesh)


def configure(mesh: Mesh, *, mtls: Any = None, policy: Any = None) -> None:
    """Let the running agent have these settings. Its workers have them some milliseconds later."""
    wanted = {"mtls": mtls or {}, "policy": policy or {}}
    mesh.write_config(**wanted)

    def holds() -> bool:
        config = mesh.ask("GET", "/v1/config").body
        plain = {"mode": "permissive", "default": "allow", "dry_run": False, "rules": []}
        return all(
            _is_like(config[section], {**{k: v for k, v in plain.items() if k in config[section]}, **said})
            for section, said in wanted.items()
        )

    mesh.wait(holds)


def _is_like(has: Any, wanted: Any) -> bool:
    """Say whether everything wanted is there, with defaults beside it."""
    if isinstance(wanted, dict):
        return all(_is_like(has[name], value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return len(has) == len(wanted) and all(map(_is_like, has, wanted))
    return bool(has == wanted)


def is_served(who: App) -> bool:
    """Say whether a stranger gets through to the server."""
    said = who.tell("dial", host=RIGHT, port=9080, may_fail=True)
    return bool((said.get("greeting") or {}).get("name") == "web")


class Before:
    """What had ended before, so that a test sees its own connection only."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._now = time.time()

    def both_ends(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Wait for the two ends of the one connection since, and return them: outbound, inbound."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self._mesh.ended() if one["began"] >= self._now]

        self._mesh.wait(lambda: len(found()) >= 2)
        inbound, outbound = sorted(found(), key=lambda one: str(one["direction"]))
        return outbound, inbound


@pytest.mark.parametrize(("vip", "far"), [(VIP, RIGHT), (VIP6, RIGHT6)])
def test_nobody_on_the_wire_reads_along_and_both_know_who_the_other_is(
    pods: Scene, vip: str, far: str
) -> None:
    before = Before(pods.mesh)
    with tapped(pods.spaces[0]) as tap:
        pods.client.app.tell("open_", keep="one", host=vip, port=80)
        pods.client.app.tell("say", keep="one", text=SECRET)
        pods.client.app.tell("close", keep="one")
        outbound, inbound = before.both_ends()
    assert (outbound["peer"], inbound["peer"]) == (CALLED, CALLER)
    assert {outbound["tls"], inbound["tls"]} == {"TLSv1.3"}
    assert outbound["cipher"] == inbound["cipher"] != ""
    assert outbound["endpoint"] in (f"{far}:9080", f"[{far}]:9080")
    assert b"meshtrio/1" in tap.seen  # it is the right wire
    assert SECRET.encode() not in tap.seen


def test_who_dials_an_address_of_this_node_is_secured_too(pods: Scene) -> None:
    """The catalog says nothing of this endpoint; the kernel says that it is ours."""
    before = Before(pods.mesh)
    assert pods.client.app.dial(VIP, 82)["greeting"]["name"] == "web"
    outbound, inbound = before.both_ends()
    secured = pods.mesh.rung == "ebpf"  # nf_tables keeps no list of who listens
    assert (outbound["peer"], inbound["peer"]) == ((CALLED, CALLER) if secured else ("", ""))


def test_within_a_node_the_kernels_word_may_do(pods: Scene) -> None:
    """Then nothing is encrypted; both still know who the other is, and policy holds."""
    allow = {"action": "allow", "name": "cart", "callers": {"ids": [CALLER]}}
    configure(
        pods.mesh,
        mtls={"mode": "strict", "same_node": "kernel", "handshake_s": 1},
        policy={"default": "deny", "rules": [allow]},
    )
    secured = "kernel" if pods.mesh.rung == "ebpf" else "TLSv1.3"  # nf_tables keeps no list of who listens
    for vip in (VIP, VIP6):

        def ends() -> tuple[str, str]:
            before = Before(pods.mesh)
            assert pods.client.app.dial(vip, 80)["greeting"]["name"] == "web"  # noqa: B023 (called at once)
            outbound, inbound = before.both_ends()
            assert (outbound["peer"], inbound["peer"]) == (CALLED, CALLER)
            return outbound["tls"], inbound["tls"]

        pods.mesh.wait(lambda: ends() == (secured, secured))
    assert not is_served(pods.stranger)


def test_an_endpoint_that_is_somebody_else_gets_no_byte(pods: Scene) -> None:
    assert pods.client.app.fails_to_dial(VIP, 81) == "ECONNRESET"
    (ended,) = pods.mesh.wait_ended(1, outcome="upstream_tls")
    assert CALLER in ended["detail"]
    assert CALLED in ended["detail"]


def test_a_stranger_is_let_in_unless_the_mode_is_strict(pods: Scene) -> None:
    pods.mesh.wait(lambda: is_served(pods.stranger))
    configure(pods.mesh, mtls={"mode": "strict", "handshake_s": 0.5})
    pods.mesh.wait(lambda: not is_served(pods.stranger))
    pods.mesh.wait_ended(1, outcome="plaintext", direction="inbound")
    assert pods.client.app.dial(VIP, 80)["greeting"]["name"] == "web"
    configure(pods.mesh, mtls={"mode": "strict", "rules": [{"mode": "disable", "port": 9080}]})
    pods.mesh.wait(lambda: is_served(pods.stranger))


def test_policy_lets_in_whom_it_names(pods: Scene) -> None:
    allow = {"action": "allow", "name": "cart", "callers": {"ids": [CALLER]}}
    configure(pods.mesh, policy={"default": "deny", "rules": [allow]})
    pods.mesh.wait(lambda: not is_served(pods.stranger))
    assert pods.client.app.dial(VIP, 80)["greeting"]["name"] == "web"
    found = pods.mesh.wait_ended(1, outcome="denied", direction="inbound")
    assert "anonymous" in found[0]["detail"]
    assert found[0]["source"].startswith(LEFT)
    configure(pods.mesh, policy={"default": "deny", "dry_run": True})
    pods.mesh.wait(lambda: is_served(pods.stranger))
    pods.mesh.wait(lambda: "policy.default denies anonymous" in pods.mesh.ended()[0]["policy"])


def test_not_one_connection_notices_a_rotation(pods: Scene) -> None:
    pods.client.app.tell("steady", name="new", host=VIP, port=80, every=0.02)
    pods.client.app.tell("hold", name="old", host=VIP, port=80)
    serials = certificates(pods.mesh)
    for _ in range(5):
        time.sleep(0.3)  # some fifteen connections
        assert pods.mesh.ask("POST", "/v1/certs/rotate", {}).status in (200, 202)
        serials = pods.mesh.wait(lambda: _all_other(certificates(pods.mesh), serials))  # noqa: B023 (at once)
    seen = pods.client.app.tell("steadied", name="new", end=True)["seen"]
    assert len(seen) > 10
    assert {who for _, who, _ in seen} == {"web"}
    held = pods.client.app.tell("held", name="old", end=True)
    assert (held["broke"], held["rounds"] > 10) == ("", True)


def certificates(mesh: Mesh) -> dict[str, str]:
    return {one["workload"]: one["serial"] for one in mesh.ask("GET", "/v1/certs").body["certificates"]}


def _all_other(now: dict[str, str], before: dict[str, str]) -> dict[str, str] | None:
    return now if all(now[name] != before[name] for name in before) else None
