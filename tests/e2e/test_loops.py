"""Loop proof: whatever points at ourselves ends in a defined outcome, and none goes round."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.support.mesh import Mesh, Workload, service
from tests.support.world import VIP, App, app, island

pytestmark = pytest.mark.world

OUTBOUND, INBOUND, ADMIN = 15002, 15001, 15003
OTHER_VIP = "10.96.0.20"
RESET = ("ECONNRESET", "ENOTCONN")
"""The second one if the reset was there before getpeername() asked."""


class Scene(NamedTuple):
    mesh: Mesh
    shop: Workload
    stranger: App


@pytest.fixture(scope="module")
def scene(rung: str) -> Iterator[Scene]:
    """One workload that calls, and services that point at all the wrong places."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        home.add_address("10.5.0.1/32", "lo")
        services = [
            service("self", "127.0.0.1:9080", vips=[VIP]),
            service("out-door", f"127.0.0.1:{OUTBOUND}", vips=[VIP], port=81),
            service("in-door", f"127.0.0.1:{INBOUND}", vips=[VIP], port=82),
            service("door-or-self", f"127.0.0.1:{OUTBOUND}", "127.0.0.1:9080", vips=[VIP], port=83),
            service("there", f"{OTHER_VIP}:85", vips=[VIP], port=84),
            service("and-back", f"{VIP}:84", vips=[OTHER_VIP], port=85),
            service("admin", f"127.0.0.1:{ADMIN}", vips=[VIP], port=86),
            service("out-door6", f"[::1]:{OUTBOUND}", vips=[VIP], port=87),
            service("any-door", f"0.0.0.0:{OUTBOUND}", vips=[VIP], port=88),
            service("own-address", f"10.5.0.1:{INBOUND}", vips=[VIP], port=89),
        ]
        mesh = stack.enter_context(
            Mesh(home, rung=rung, services=services, timeouts={"connect_s": 1, "connect_try_s": 0.5})
        )
        shop = stack.enter_context(mesh.workload("shop"))
        shop.app.listen("127.0.0.1", 9080, "self")
        mesh.follow_ports()
        yield Scene(mesh, shop, stack.enter_context(app(home)))


def ended_as(scene: Scene, outcome: str, port: int) -> None:
    """Exactly one connection to this port of the virtual IP has ended, and so."""
    (one,) = scene.mesh.wait_ended(1, destination=f"{VIP}:{port}")
    assert (one["outcome"], one["direction"]) == (outcome, "outbound"), one


def test_a_service_whose_endpoint_is_the_caller_itself_works(scene: Scene) -> None:
    assert scene.shop.app.dial(VIP, 80)["greeting"]["name"] == "self"
    scene.mesh.wait_ended(1, destination=f"{VIP}:80", outcome="carried", direction="outbound")
    inbound = scene.mesh.wait_ended(1, destination="127.0.0.1:9080", outcome="carried", direction="inbound")
    assert len(inbound) == 1


def test_an_endpoint_that_is_a_door_is_a_loop(scene: Scene) -> None:
    for port in (81, 82, 87):
        assert scene.shop.app.fails_to_dial(VIP, port) in RESET
    for port in (81, 82, 87):
        ended_as(scene, "loop", port)


def test_a_door_under_another_address_ends_at_the_door(scene: Scene) -> None:
    for port in (88, 89):
        assert scene.shop.app.fails_to_dial(VIP, port) in RESET
    for port in (88, 89):
        (one,) = scene.mesh.wait_ended(1, destination=f"{VIP}:{port}")
        assert one["outcome"] in ("loop", "upstream_reset_early", "connect_failed")
    assert not scene.mesh.live()


def test_an_endpoint_that_is_a_door_is_left_out(scene: Scene) -> None:
    assert scene.shop.app.burst(4, VIP, 83) == {"self": 4}


def test_services_that_point_at_each_other_end(scene: Scene) -> None:
    """The worker's own dials are not caught, so there is no second lap."""
    assert scene.shop.app.fails_to_dial(VIP, 84) in RESET
    ended_as(scene, "connect_timeout", 84)
    assert not scene.mesh.live()


def test_the_admin_port_as_an_endpoint_is_an_endpoint(scene: Scene) -> None:
    scene.shop.app.tell("open_", keep="admin", host=VIP, port=86)
    request = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert scene.shop.app.tell("say", keep="admin", text=request)["heard"].startswith("HTTP/1.1 200")
    while scene.shop.app.tell("hear_", keep="admin")["heard"]:
        pass
    scene.shop.app.tell("close", keep="admin")
    ended_as(scene, "carried", 86)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("port", [OUTBOUND, INBOUND])
def test_a_workload_that_dials_a_door_is_refused(scene: Scene, host: str, port: int) -> None:
    expected = {"EPERM", *RESET} if scene.mesh.rung == "ebpf" else {*RESET}
    assert scene.shop.app.fails_to_dial(host, port) in expected
    assert not scene.mesh.live()


@pytest.mark.parametrize("port", [OUTBOUND, INBOUND])
def test_a_stranger_who_dials_a_door_is_reset(scene: Scene, port: int) -> None:
    assert scene.stranger.fails_to_dial("127.0.0.1", port) in RESET
    scene.mesh.wait_ended(1, outcome="no_destination")


def test_a_stranger_who_pretends_a_source_is_reset(scene: Scene) -> None:
    """What somebody else dialled is not given to who comes from the same port later."""
    assert set(scene.stranger.burst(20, "127.0.0.1", OUTBOUND)) <= set(RESET)
