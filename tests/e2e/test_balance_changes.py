"""Endpoints and settings change under load: no connection fails that the change itself did not cause."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.mesh import Mesh
from tests.support.shops import RESET, Shop, open_shop, standing
from tests.support.world import VIP, App

pytestmark = pytest.mark.world

PROPAGATED_S = 0.4
"""After this every worker knows what was told to the agent; on a shared machine, not as a goal."""


@pytest.fixture(scope="module")
def mesh() -> Iterator[tuple[Mesh, App]]:
    with standing() as made:
        yield made


@pytest.fixture
def shop(mesh: tuple[Mesh, App]) -> Iterator[Shop]:
    with open_shop(*mesh) as made:
        yield made


class Load:
    """New connections all the while, 100 a second."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.all: list[tuple[float, str, float]] = []
        shop.client.tell("steady", name="load", host=VIP, port=shop.port, every=0.01)

    def saw(self, since: float = 0.0, *, end: bool = False) -> Counter[str]:
        """Count what those saw that began since then."""
        self.all += self.shop.client.tell("steadied", name="load", end=end)["seen"]
        if end:
            time.sleep(0.3)
            self.all += self.shop.client.tell("steadied", name="load")["seen"]
        return Counter(who for began, who, _ in self.all if began >= since)


@contextlib.contextmanager
def load(shop: Shop) -> Iterator[Load]:
    made = Load(shop)
    try:
        yield made
    finally:
        made.saw(end=True)


def test_endpoints_appear_vanish_flap_and_all_die(shop: Shop) -> None:
    gone: list[tuple[float, float]] = []
    emptied = 0.0
    with load(shop) as steady:
        for names in ("ab", "bc", "c", "abc", "a", "", "b", "", "abc"):
            began = time.monotonic()
            shop.catalog(*names)
            time.sleep(PROPAGATED_S)
            known = time.monotonic()
            time.sleep(0.2)
            saw = steady.saw(since=known)
            gone += [(emptied, known)] if emptied else []
            emptied = began if not names else 0.0
            if names:
                assert set(saw) <= set(names), f"{saw} while there are {names}"
                assert saw
            else:
                assert set(saw) <= RESET
        for names in 3 * ("ab", "bc"):
            shop.catalog(*names)
    steady.saw()
    outside = [who for began, who, _ in steady.all if not any(one <= began <= other for one, other in gone)]
    assert set(outside) == {"a", "b", "c"}
    assert {who for _, who, _ in steady.all} - {"a", "b", "c"} <= RESET
    ended = {one["outcome"] for one in shop.mesh.ended() if one["destination"] == f"{VIP}:{shop.port}"}
    assert ended <= {"carried", "no_endpoint"}
    # And all by themselves: counts are at rest, so each has its turn.
    shop.catalog("a", "b", "c")
    time.sleep(PROPAGATED_S)
    assert min(shop.burst(60).values()) > 15


def test_algorithm_key_and_limits_change_under_load(mesh: tuple[Mesh, App]) -> None:
    with open_shop(*mesh, limits={"per_endpoint": 500}) as shop, load(shop) as steady:
        sticky: dict[str, Any] = {"algorithm": "consistent_hash", "hash_key": "source_ip"}
        for words in (
            {"algorithm": "random"},
            {"algorithm": "least_connections", "limits": {"per_endpoint": 400}},
            sticky,
            {**sticky, "algorithm": "maglev", "bounded_load": 0},
            {**sticky, "bounded_load": 1.25},
            {"algorithm": "weighted", "limits": {"connections": 1000, "pending": 900}},
            {"algorithm": "peak_ewma"},
            {"algorithm": "round_robin"},
            sticky,
        ):
            shop.catalog("a", "b", "c", **words)
            time.sleep(0.25)
        time.sleep(PROPAGATED_S)
        # The last one holds: one caller, one key, one endpoint, in both workers.
        assert len(shop.burst(20)) == 1
        assert set(steady.saw(end=True)) == {"a", "b", "c"}
        assert sum(steady.saw().values()) > 100
        shop.catalog("a", "b", "c", limits={"connections": 1})
        time.sleep(PROPAGATED_S)
        # One a worker. The kernel chooses who accepts: until both workers have theirs takes some dials.
        kept = [
            shop.client.tell("dial", may_fail=True, host=VIP, port=shop.port, keep=f"kept {number}")
            for number in range(40)
        ]
        assert 1 <= sum(1 for answer in kept if answer.get("greeting")) <= 2
        shop.client.tell("drop", keep="kept")
        shop.mesh.wait_ended(1, destination=f"{VIP}:{shop.port}", outcome="limit")
        shop.mesh.wait_ended(1, destination=f"{VIP}:{shop.port}", outcome="limit")


def test_the_same_cookie_leads_real_http_to_the_same_server(mesh: tuple[Mesh, App]) -> None:
    sticky: dict[str, Any] = {"algorithm": "maglev", "hash_key": "cookie:session"}
    with open_shop(*mesh, kind="page", **sticky) as shop:

        def fetched(cookie: str) -> str:
            url = f"http://{VIP}:{shop.port}/"
            argv = ["curl", "-s", "--max-time", "5", "-H", f"Cookie: theme=dark; session={cookie}", url]
            return str(shop.client.tell("run", argv=argv)["stdout"])

        servers = {cookie: {fetched(cookie) for _ in range(4)} for cookie in "pqrstuvw"}
        assert {len(found) for found in servers.values()} == {1}
        assert len(set.union(*servers.values())) > 1
        # One leaves: only those who were there go elsewhere.
        shop.catalog("a", "b", **sticky)
        time.sleep(PROPAGATED_S)
        for cookie, found in servers.items():
            assert found == {"c"} or {fetched(cookie)} == found
        assert {fetched(cookie) for cookie in servers} <= {"a", "b"}


def test_a_wrong_configuration_is_explained_and_what_runs_goes_on() -> None:
    with standing(traffic={"algorithm": "random"}) as made, open_shop(*made) as shop:
        mesh = shop.mesh
        with load(shop) as steady:
            mesh.write_config(traffic={"algorithm": "fastest", "hash_key": "luck"})
            fault = mesh.wait(lambda: mesh.status()["config"]["fault"])
            assert "traffic.algorithm" in fault
            assert "fastest" in fault
            assert "traffic.hash_key" in fault
            assert mesh.status()["ready"]
            mesh.write_config(traffic={"rules": [{"service": shop.name, "algorithm": "consistent_hash"}]})
            mesh.wait(lambda: not mesh.status()["config"]["fault"])
            time.sleep(PROPAGATED_S)
            assert len(shop.burst(20)) == 1, "a rule is stronger than what the service wishes"
        assert set(steady.saw()) <= {"a", "b", "c"}
