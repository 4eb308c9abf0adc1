"""Workloads that come and go, configuration that changes, garbage, and an orderly end."""

import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from meshtrio.intercept.cgroup import remove
from tests.support.mesh import SOAK_BOTH, Mesh, Workload, service
from tests.support.namespace import Namespace
from tests.support.world import VIP, App, app, island, our_cgroup, pod_cgroup, unique

pytestmark = pytest.mark.world


class Scene(NamedTuple):
    mesh: Mesh
    shop: Workload
    server: App


@pytest.fixture(scope="module")
def scene(rung: str) -> Iterator[Scene]:
    """One workload, one service."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        mesh = stack.enter_context(
            Mesh(home, rung=rung, services=[service("web", "127.0.0.1:9080", vips=[VIP])])
        )
        shop = stack.enter_context(mesh.workload("shop"))
        server = stack.enter_context(app(home))
        server.listen("127.0.0.1", 9080, "web")
        server.listen("127.0.0.1", 9081, "other")
        yield Scene(mesh, shop, server)


def test_others_come_and_go_and_nobody_notices(scene: Scene) -> None:
    mesh, shop, _ = scene
    rounds = 50 if mesh.rung == "ebpf" else 4  # a change of rules costs 0.2 s each
    shop.app.tell("hold", name="held", host=VIP, port=80)
    shop.app.tell("steady", name="load", host=VIP, port=80, every=0.02)
    for _ in range(rounds):
        name = unique("guest")
        assert mesh.add(name).status == 201
        assert mesh.remove(name).status == 200
    time.sleep(0.5)
    seen = shop.app.tell("steadied", name="load", end=True)["seen"]
    assert {who for _, who, _ in seen} == {"web"}
    assert len(seen) > 20
    assert shop.app.tell("held", name="held", end=True)["broke"] == ""
    mesh.wait(
        lambda: (
            not [one for one in our_cgroup("").iterdir() if one.name.startswith("guest-" + str(os.getpid()))]
        )
    )
    assert [one["name"] for one in mesh.status()["workloads"]] == [shop.name]


def test_a_namespace_that_vanishes_harms_nobody_else(scene: Scene) -> None:
    mesh, shop, _ = scene
    with pod_cgroup() as group:
        with contextlib.ExitStack() as vanishing:
            space = vanishing.enter_context(Namespace())
            path = f"/proc/{os.getpid()}/task/{space.tid}/ns/net"
            name = unique("pod")
            assert mesh.add(name, netns=path, cgroup=str(group)).status == 201
            with app(space, group) as inside:
                inside.listen("127.0.0.1", 9080, "pod")
        time.sleep(1.2)
        assert shop.app.burst(3, VIP, 80) == {"web": 3}
        assert mesh.remove(name).status == 200
        assert mesh.add(name, netns=path, cgroup=str(group)).status == 409
    assert shop.app.burst(3, VIP, 80) == {"web": 3}


def test_a_unit_that_starts_again_is_caught_again(scene: Scene) -> None:
    """Its cgroup goes with its last process and is made anew, as systemd does."""
    mesh, shop, _ = scene
    name = unique("unit")

    def lost() -> str:
        return next(str(one["lost"]) for one in mesh.status()["workloads"] if one["name"] == name)

    with pod_cgroup() as above:
        group = above / "shop.service"
        group.mkdir()
        assert mesh.add(name, cgroup=str(group)).status == 201
        with app(mesh.space, group) as first:
            assert first.burst(1, VIP, 80) == {"web": 1}
        assert remove(group, patience_s=10)
        assert "has gone" in lost()
        group.mkdir()
        mesh.wait(lambda: not lost())
        with app(mesh.space, group) as second:
            assert second.burst(3, VIP, 80) == {"web": 3}
            assert shop.app.burst(3, VIP, 80) == {"web": 3}
        assert mesh.remove(name).status == 200
        assert remove(group, patience_s=10)


def test_what_cannot_be_a_workload_is_refused(scene: Scene) -> None:
    mesh, shop, _ = scene
    assert mesh.agent is not None
    assert mesh.add(shop.name).status == 409
    groups = Path(f"/proc/{mesh.agent.pid}/cgroup").read_text().splitlines()
    mine = next(line[3:] for line in groups if line.startswith("0::"))
    for name, body in (
        (unique("own"), {"cgroup": mine}),
        (unique("root"), {"cgroup": "/"}),
        (unique("none"), {"cgroup": "/there-is-none"}),
        (unique("netns"), {"netns": "/etc/passwd"}),
        (unique("policy"), {"on_agent_loss": "maybe"}),
        ("..", {}),
        ("%2e%2e", {}),
        ("-x", {}),
        ("a" * 300, {}),
        ("UPPER_case", {}),
    ):
        answer = mesh.add(name, **body)
        assert answer.status in (400, 404, 409), (name, body, answer)
    assert mesh.ask("PUT", f"/v1/workloads/{unique('key')}", {"colour": "red"}).status == 400
    assert mesh.ask("PUT", f"/v1/workloads/{unique('long')}", {"cgroup": "x" * 100_000}).status == 413
    assert mesh.remove(unique("unknown")).status == 404
    assert [one["name"] for one in mesh.status()["workloads"]] == [shop.name]
    assert shop.app.burst(3, VIP, 80) == {"web": 3}


def test_the_catalog_changes(scene: Scene) -> None:
    mesh, shop, _ = scene
    assert shop.app.burst(2, VIP, 80) == {"web": 2}
    mesh.write_services(service("web", "127.0.0.1:9081", vips=[VIP]))
    mesh.wait(lambda: shop.app.burst(1, VIP, 80) == {"other": 1})
    version = mesh.status()["catalog"]["version"]
    mesh.write(mesh.catalog_file, "services: [{")
    mesh.wait(lambda: mesh.status()["catalog"]["fault"])
    assert mesh.status()["catalog"]["version"] == version
    assert mesh.status()["ready"]
    assert shop.app.burst(2, VIP, 80) == {"other": 2}
    mesh.write_services()
    mesh.wait(lambda: not mesh.status()["catalog"]["fault"] and not mesh.status()["catalog"]["services"])
    assert set(shop.app.burst(1, VIP, 80, patience=1)) <= {"ECONNRESET", "ENOTCONN", "silence"}
    mesh.write_services(service("web", "127.0.0.1:9080", vips=[VIP]))
    mesh.wait(lambda: shop.app.burst(1, VIP, 80) == {"web": 1})


def test_the_configuration_changes(scene: Scene) -> None:
    mesh, shop, server = scene
    mesh.space.add_address("10.5.0.1/32", "lo")
    server.listen("10.5.0.1", 7000, "outside")
    assert shop.app.burst(1, "10.5.0.1", 7000) == {"outside": 1}
    mesh.write_config(passthrough="deny")
    mesh.wait(lambda: "outside" not in shop.app.burst(1, "10.5.0.1", 7000))
    mesh.write_config(passthrough="allow")
    mesh.wait(lambda: shop.app.burst(1, "10.5.0.1", 7000) == {"outside": 1})

    mesh.write_config(workers=3)
    mesh.wait(lambda: "workers" in mesh.status()["config"]["fault"])
    assert len(mesh.status()["workers"]) == 1
    mesh.write_config(workers=1)
    mesh.wait(lambda: not mesh.status()["config"]["fault"])

    mesh.write(mesh.config_file, '{"passthrough": "perhaps", "colour": "red"}')
    fault = mesh.wait(lambda: mesh.status()["config"]["fault"])
    assert "passthrough" in fault
    assert "colour" in fault
    assert shop.app.burst(2, VIP, 80) == {"web": 2}
    mesh.write_config()
    mesh.wait(lambda: not mesh.status()["config"]["fault"])


def test_garbage_disturbs_nobody(scene: Scene) -> None:
    mesh, shop, _ = scene
    noise = random.Random(7)
    shop.app.tell("hold", name="held", host=VIP, port=80)
    shop.app.tell("steady", name="load", host=VIP, port=80)
    kept = []
    words = [
        b"\x00" * 100,
        noise.randbytes(5000),
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"PUT /v1/workloads/x HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n{",
        b"PUT /v1/workloads/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\xff\xfe{]",
        b"GET /%00%ff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise.randbytes(500),
        b"G",
    ]
    for word in words:
        for host, port in (("", 0), ("127.0.0.1", 15003), ("127.0.0.1", 15001), ("127.0.0.1", 15002)):
            with contextlib.suppress(OSError):
                made = socket.socket(socket.AF_UNIX) if not port else mesh.space.tcp_socket()
                kept.append(made)
                made.settimeout(2)
                made.connect((host, port) if port else str(mesh.control))
                made.sendall(word)
    assert mesh.ask("GET", "/healthz").status == 200
    assert mesh.ask("GET", "/v1/nothing").status == 404
    assert mesh.ask("POST", "/v1/status").status == 405
    time.sleep(1)
    assert mesh.ask("GET", "/readyz").status == 200
    for made in kept:
        made.close()
    seen = shop.app.tell("steadied", name="load", end=True)["seen"]
    assert {who for _, who, _ in seen} == {"web"}
    assert shop.app.tell("held", name="held", end=True)["broke"] == ""
    assert [one["name"] for one in mesh.status()["workloads"]] == [shop.name]


def test_two_who_ask_for_connections_both_get_them(scene: Scene) -> None:
    mesh, *_ = scene
    answers = []
    asking = [
        threading.Thread(target=lambda: answers.append(mesh.ask("GET", "/v1/connections").body))
        for _ in range(5)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    # A worker that another's question kept from answering would be silent for one of them.
    assert [answer["silent_workers"] for answer in answers] == [0] * 5


def test_an_orderly_end_lets_connections_end(rung: str) -> None:
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        mesh = stack.enter_context(
            Mesh(home, rung=rung, services=[service("web", "127.0.0.1:9080", vips=[VIP])])
        )
        shop, server = stack.enter_context(mesh.workload("shop")), stack.enter_context(app(home))
        server.listen("127.0.0.1", 9080, "web")
        assert mesh.agent is not None
        shop.app.tell("hold", name="held", host=VIP, port=80)
        mesh.signal(signal.SIGTERM, mesh.agent.pid)
        answer = mesh.wait(lambda: (said := mesh.ask("GET", "/readyz")).status == 503 and said)
        assert "draining" in answer.body["missing"]
        assert mesh.add(unique("late")).status == 409
        # New ones are not caught any more: they go where they were dialled to.
        home.add_address(f"{VIP}/32", "lo")
        server.listen(VIP, 80, "unmeshed")
        mesh.wait(lambda: shop.app.burst(3, VIP, 80) == {"unmeshed": 3})
        time.sleep(0.5)
        assert mesh.agent.poll() is None
        held = shop.app.tell("held", name="held", end=True)
        assert (held["broke"], held["rounds"] > 10) == ("", True)
        shop.app.process.kill()
        shop.app.process.wait()
        assert mesh.agent.wait(10) == 0
        mesh.assert_nothing_left()


@pytest.mark.parametrize("rung", SOAK_BOTH)
def test_the_drain_has_a_deadline(rung: str) -> None:
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        services = [service("web", "127.0.0.1:9080", vips=[VIP])]
        mesh = stack.enter_context(Mesh(home, rung=rung, services=services, timeouts={"drain_s": 1}))
        stack.enter_context(app(home)).listen("127.0.0.1", 9080, "web")
        with mesh.workload("shop") as shop:
            shop.app.tell("hold", name="held", host=VIP, port=80)
            assert mesh.agent is not None
            began = time.monotonic()
            mesh.signal(signal.SIGTERM, mesh.agent.pid)
            mesh.wait(lambda: shop.app.tell("held", name="held")["broke"])
            assert shop.app.tell("held", name="held")["broke"] == "ECONNRESET"
            assert 0.9 < time.monotonic() - began < 15
            shop.app.process.kill()
            shop.app.process.wait()
            assert mesh.agent.wait(10) == 0
        mesh.assert_nothing_left(but="cgroup")  # a process was still in it
