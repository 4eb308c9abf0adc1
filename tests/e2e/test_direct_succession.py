"""Direct services when the agent is gone, and when another one comes."""

import signal
import time

import pytest

from tests.e2e.direct import WEB, direct_scene, services, way
from tests.support.world import VIP

pytestmark = [pytest.mark.world, pytest.mark.rung("r1d")]


def test_without_us_it_goes_on_and_a_successor_takes_over() -> None:
    """Agent and worker killed: a direct service keeps its last endpoints, and its callers notice nothing."""
    with direct_scene() as (mesh, shop, _):
        shop.app.tell("hold", name="held", host=VIP, port=80)
        workers = mesh.workers()
        mesh.kill_agent()
        mesh.signal(signal.SIGKILL, *workers)
        time.sleep(3.5)  # longer than the hooks believe a heartbeat
        assert shop.app.burst(30, VIP, 80) == {"a": 10, "b": 10, "c": 10}
        shop.app.tell("steady", name="load", host=VIP, port=80, every=0.01)
        mesh.start()
        seen = shop.app.tell("steadied", name="load", end=True)["seen"]
        assert {who for _, who, _ in seen} == {"a", "b", "c"}, "nobody failed while the successor took over"
        assert mesh.status()["rung"]["adopted"]
        assert len([one for one in mesh.live() if one["path"] == "direct"]) == 1, "it found the old one again"
        assert shop.app.tell("held", name="held", end=True)["broke"] == ""
        mesh.wait(lambda: mesh.status()["direct"]["active"] == 0)
        assert way(mesh, "web") == {"path": "direct", "why": ""}
        mesh.wait_ended(30, path="direct")  # those included that ended while nobody was there


def test_a_successor_lets_go_what_is_direct_no_more() -> None:
    with direct_scene() as (mesh, shop, _):
        mesh.kill_agent()
        mesh.write_config(traffic={"direct": "off"})
        mesh.write_services(*services(*WEB[:1]))
        mesh.start()
        # The orphaned worker accepts for a moment more, and knows no address that nobody dialled through it.
        mesh.wait(lambda: shop.app.burst(4, VIP, 80) == {"a": 4}, 15)
        assert way(mesh, "web")["path"] == "relay"
        assert mesh.status()["direct"]["services"] == 0
        mesh.wait_ended(4, path="relay", service="default/web")
