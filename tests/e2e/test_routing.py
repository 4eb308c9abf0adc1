"""What becomes of a connection: endpoints, failover, pass-through, limits, and every way to end.

All of it is behind the doors, so on nf_tables it is for the soak.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.support.mesh import SOAK_BOTH, Mesh, Workload, service
from tests.support.world import NOWHERE, VIP, App, app, island

pytestmark = pytest.mark.world

RESET = ("ECONNRESET", "ENOTCONN")
"""The second one if the reset was there before getpeername() asked."""


class Scene(NamedTuple):
    mesh: Mesh
    shop: Workload
    server: App


@pytest.fixture(scope="module", params=SOAK_BOTH)
def rung(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def scene(rung: str) -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        home.add_address("10.5.0.1/32", "lo")
        services = [
            service("two", "127.0.0.1:9080", "127.0.0.1:9081", vips=[VIP]),
            service("half-dead", "127.0.0.1:9999", "127.0.0.1:9080", vips=[VIP], port=81),
            service("half-silent", f"{NOWHERE}:80", "127.0.0.1:9080", vips=[VIP], port=82),
            service("dead", "127.0.0.1:9998", "127.0.0.1:9999", vips=[VIP], port=83),
            service("silent", f"{NOWHERE}:80", vips=[VIP], port=84),
            service("empty", vips=[VIP], port=85),
            service("late", "127.0.0.1:9082", vips=[VIP], port=86),
            service("early", "127.0.0.1:9083", vips=[VIP], port=87),
            service("reset", "127.0.0.1:9084", vips=[VIP], port=88),
            service("notice", "127.0.0.1:9085", vips=[VIP], port=89),
        ]
        timeouts = {"connect_s": 1.5, "connect_try_s": 0.4, "idle_s": 2}
        mesh = stack.enter_context(Mesh(home, rung=rung, services=services, timeouts=timeouts))
        shop = stack.enter_context(mesh.workload("shop"))
        server = stack.enter_context(app(home))
        # `reset` and `notice` are meshed themselves, so an end goes through two hops.
        inside = stack.enter_context(mesh.workload("inside")).app
        for port, name, kind in ((9080, "one", "greet"), (9081, "other", "greet")):
            server.listen("127.0.0.1", port, name, kind)
        server.listen("10.5.0.1", 7000, "outside")
        for port, kind in ((9082, "answer_late"), (9083, "end_early"), (9084, "reset"), (9085, "notice")):
            inside.listen("127.0.0.1", port, kind, kind)
        mesh.follow_ports()
        yield Scene(mesh, shop, inside)


def test_endpoints_take_turns(scene: Scene) -> None:
    assert scene.shop.app.burst(10, VIP, 80) == {"one": 5, "other": 5}


def test_an_endpoint_that_is_dialled_itself_is_that_very_one(scene: Scene) -> None:
    assert scene.shop.app.burst(6, "127.0.0.1", 9081) == {"other": 6}
    found = scene.mesh.wait_ended(6, destination="127.0.0.1:9081")
    assert {one["service"] for one in found} == {"default/two"}


def test_a_server_that_speaks_first_need_not_wait(scene: Scene) -> None:
    """One dial of many is enough to show it: a wait would be in each."""
    assert any(scene.shop.app.dial(VIP, 80)["took_s"] < 0.03 for _ in range(50))


def test_a_refusal_leads_to_the_next_endpoint(scene: Scene) -> None:
    assert scene.shop.app.burst(6, VIP, 81) == {"one": 6}


def test_silence_leads_to_the_next_endpoint(scene: Scene) -> None:
    """After connect_try_s; who waited for connect_s would not be connected."""
    assert max(scene.shop.app.dial(VIP, 82)["took_s"] for _ in range(4)) > 0.3


def test_no_endpoint_left_is_a_reset(scene: Scene) -> None:
    wanted = {83: "connect_failed", 84: "connect_timeout", 85: "no_endpoint"}
    for port in wanted:
        assert scene.shop.app.fails_to_dial(VIP, port) in RESET
    for port, outcome in wanted.items():
        (ended,) = scene.mesh.wait_ended(1, destination=f"{VIP}:{port}")
        assert (ended["outcome"], ended["workload"]) == (outcome, scene.shop.name)


def test_what_is_no_service_passes_through(scene: Scene) -> None:
    said = scene.shop.app.dial("10.5.0.1", 7000)
    assert said["greeting"]["name"] == "outside"
    assert said["peer"] == ["10.5.0.1", 7000]
    (ended,) = scene.mesh.wait_ended(1, destination="10.5.0.1:7000")
    assert (ended["outcome"], ended["service"]) == ("carried", "")


def test_what_is_no_service_and_refuses_is_reset(scene: Scene) -> None:
    assert scene.shop.app.fails_to_dial("10.5.0.1", 7001) in ("ECONNRESET", "ECONNREFUSED")
    (ended,) = scene.mesh.wait_ended(1, destination="10.5.0.1:7001")
    assert ended["outcome"] == "connect_failed"


def test_the_caller_ends_its_direction_first(scene: Scene) -> None:
    tell = scene.shop.app.tell
    tell("open_", keep="late", host=VIP, port=86)
    tell("say", keep="late", text="x" * 1000, hear=False)
    tell("say_end", keep="late")
    assert tell("hear_", keep="late")["heard"] == '{"name": "answer_late", "heard": 1000}\n'
    assert tell("hear_", keep="late")["heard"] == ""
    tell("close", keep="late")
    assert scene.mesh.wait_ended(1, destination=f"{VIP}:86")[0]["outcome"] == "carried"


def test_the_called_one_ends_its_direction_first(scene: Scene) -> None:
    tell = scene.shop.app.tell
    tell("open_", keep="early", host=VIP, port=87)
    assert "end_early" in tell("hear_", keep="early")["heard"]
    assert tell("hear_", keep="early")["heard"] == ""
    tell("say", keep="early", text="y" * 2000, hear=False)
    tell("close", keep="early")
    assert scene.server.tell("noted", name="end_early heard")["noted"] == 2000
    assert scene.mesh.wait_ended(1, destination=f"{VIP}:87")[0]["outcome"] == "carried"


def test_a_reset_of_the_called_one_arrives_as_one(scene: Scene) -> None:
    tell = scene.shop.app.tell
    tell("open_", keep="reset", host=VIP, port=88)
    assert tell("say", may_fail=True, keep="reset", text="x")["error"] in RESET
    tell("close", keep="reset")
    (outbound,) = scene.mesh.wait_ended(1, destination=f"{VIP}:88")
    (inbound,) = scene.mesh.wait_ended(1, destination="127.0.0.1:9084")
    assert outbound["outcome"] == inbound["outcome"] == "upstream_reset_early"


def test_a_reset_of_the_caller_arrives_as_one(scene: Scene) -> None:
    tell = scene.shop.app.tell
    tell("open_", keep="notice", host=VIP, port=89)
    tell("hear_", keep="notice")
    tell("close_by_reset", keep="notice")
    assert scene.server.tell("noted", name="notice saw")["noted"] in RESET
    (outbound,) = scene.mesh.wait_ended(1, destination=f"{VIP}:89")
    assert outbound["outcome"] == "client_reset"


def test_silence_ends_a_connection(scene: Scene) -> None:
    tell = scene.shop.app.tell
    scene.shop.app.dial(VIP, 80, keep="idle")
    began = time.monotonic()
    assert tell("hear_", may_fail=True, keep="idle")["error"] in RESET
    assert 1.5 < time.monotonic() - began < 15
    tell("close", keep="idle")
    scene.mesh.wait_ended(1, outcome="idle")


def test_limits_refuse_with_a_reset(rung: str) -> None:
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        services = [
            service("web", "127.0.0.1:9080", vips=[VIP]),
            service("silent", f"{NOWHERE}:80", vips=[VIP], port=81),
        ]
        limits = {"connections": 8, "per_workload": 5, "pending": 3}
        mesh = stack.enter_context(
            Mesh(home, rung=rung, services=services, limits=limits, passthrough="deny")
        )
        stack.enter_context(app(home)).listen("127.0.0.1", 9080, "web")
        one, other = (stack.enter_context(mesh.workload(word)).app for word in ("one", "other"))

        # Of one workload five.
        for number in range(5):
            one.dial(VIP, 80, keep=f"kept {number}")
        assert one.fails_to_dial(VIP, 80) in RESET
        # Of all eight.
        for number in range(3):
            other.dial(VIP, 80, keep=f"kept {number}")
        assert other.fails_to_dial(VIP, 80) in RESET
        mesh.wait_ended(2, outcome="limit")
        for client in (one, other):
            client.tell("drop", keep="kept")
        mesh.wait(lambda: not mesh.live())
        # Waiting for an endpoint three.
        one.tell("many", keep="wait", times=3, host=VIP, port=81)
        mesh.wait(lambda: len(mesh.live()) == 3)
        assert other.fails_to_dial(VIP, 80) in RESET
        one.tell("drop", keep="wait")
        mesh.wait_ended(3, outcome="limit")
        mesh.wait(lambda: not mesh.live())
        assert other.burst(5, VIP, 80) == {"web": 5}

        # And what is no service is refused where the policy says so.
        assert one.fails_to_dial("10.5.0.1", 7000) in RESET
        mesh.wait_ended(1, outcome="no_route")


@pytest.mark.slow
@pytest.mark.parametrize("times", [3_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_thousands_of_silent_connections_do_not_disturb(rung: str, times: int) -> None:
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        keeps, most, beyond = ("open", "beyond"), times - 1_000, 1_000
        limits = {"connections": 2 * times, "pending": times, "per_workload": most}
        mesh = stack.enter_context(
            Mesh(home, rung=rung, services=[service("web", "127.0.0.1:9080", vips=[VIP])], limits=limits)
        )
        stack.enter_context(app(home)).listen("127.0.0.1", 9080, "web")
        shop, calm = (stack.enter_context(mesh.workload(word)).app for word in ("shop", "calm"))
        assert shop.tell("many", keep="open", times=most, host=VIP, port=80) == {"opened": most}
        # Some hear of the refusal by connect already.
        tried = shop.tell("many", keep="beyond", times=beyond, host=VIP, port=80, resets=True)
        assert sum(tried.values()) == beyond
        assert calm.burst(5, VIP, 80) == {"web": 5}
        assert mesh.status()["ready"]
        # What is beyond the limit was refused, each with its outcome, and nothing else was.
        # Not always the last ones: who is accepted at once is looked at in any order.
        mesh.wait(lambda: sum(shop.tell("alive", keep=keep)["alive"] for keep in keeps) == most)
        mesh.wait(lambda: mesh.status()["outcomes"].get("limit", 0) >= beyond)
        assert mesh.status()["outcomes"]["limit"] == beyond
        for keep in keeps:
            shop.tell("drop", keep=keep)
        mesh.wait(lambda: not mesh.live(), 20)
        assert calm.burst(5, VIP, 80) == {"web": 5}
        mesh.wait(lambda: sum(mesh.status()["outcomes"].values()) >= times + 10)
        for one in (shop, calm):
            one.process.kill()
            one.process.wait()
        assert mesh.stop() == 0
        mesh.assert_nothing_left()
