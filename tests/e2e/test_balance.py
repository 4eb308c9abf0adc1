"""One endpoint of three fails in every way, and two workers hear of it from each other."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.support.mesh import Mesh
from tests.support.shops import BREAKER, CONSECUTIVE, HALF_OPEN, RESET, WORKERS, Shop, open_shop, standing
from tests.support.world import ROOT, VIP, App, app

pytestmark = pytest.mark.world


@pytest.fixture(scope="module")
def mesh() -> Iterator[tuple[Mesh, App]]:
    with standing() as made:
        yield made


@pytest.fixture
def shop(mesh: tuple[Mesh, App]) -> Iterator[Shop]:
    with open_shop(*mesh) as made:
        yield made


def drops(shop: Shop, name: str) -> Callable[[], object]:
    """Let the kernel lose everything that is sent to a server; call what this returns to end that."""
    nft = shop.mesh.space.command
    nft("nft", "add", "table", "inet", "hole")
    nft("nft", "add", "chain", "inet", "hole", "in", "{ type filter hook input priority 0; }")
    port = shop.at[name].partition(":")[2]
    nft("nft", "add", "rule", "inet", "hole", "in", "tcp", "dport", port, "counter", "drop")
    return lambda: nft("nft", "delete", "table", "inet", "hole")


# One of three cannot be connected to: nobody notices


@pytest.mark.parametrize("how", ["killed", "black hole"])
def test_one_of_three_cannot_be_reached_and_no_caller_notices(mesh: tuple[Mesh, App], how: str) -> None:
    with open_shop(*mesh, breaker={**BREAKER, "open_s": 0.8}) as shop:
        if how == "killed":
            shop.apps["c"].process.kill()
            shop.apps["c"].process.wait()
        else:
            heal = drops(shop, "c")
        saw = shop.burst(40)
        assert set(saw) == {"a", "b"}
        assert "c" in shop.breakers()
        with contextlib.ExitStack() as stack:
            if how == "killed":
                shop.apps["c"] = stack.enter_context(app(shop.mesh.space))
                shop.serve("c")
            else:
                heal()
            # Back: first a few that prove it, then its share, and never a herd.
            saw = Counter()
            while shop.breakers().get("c") != "closed":
                saw += shop.burst(4)
                assert saw.total() < 2000, shop.breakers()
            assert saw["c"] <= 2 * WORKERS * HALF_OPEN + saw.total() / 3
            time.sleep(0.2)
            saw = shop.burst(60)
            assert set(saw) == {"a", "b", "c"}
            assert 15 <= saw["c"] <= 25


def test_who_is_silent_is_overtaken_by_a_hedge(mesh: tuple[Mesh, App]) -> None:
    retries = {"hedge_after_s": 0.03, "budget_per_s": 1000}
    with open_shop(*mesh, breaker={"enabled": False}, retries=retries) as shop:
        heal = drops(shop, "c")
        assert set(shop.burst(30)) == {"a", "b"}
        heal()

        def told() -> tuple[int, int]:
            lines = str(shop.mesh.ask("GET", "/metrics").body).splitlines()
            ours = dict(line.split(" ") for line in lines if f"/{shop.name}:" in line)
            names = ("meshtrio_hedges_total", "meshtrio_hedges_won_total")
            begun, won = (
                sum(float(ours[one]) for one in ours if one.startswith(f"{name}{{")) for name in names
            )
            return int(begun), int(won)

        def explained() -> tuple[int, int]:
            workers = shop.mesh.ask("GET", f"/v1/balance/default/{shop.name}").body["workers"]
            retries = [one["retries"] for one in workers]
            return sum(one["hedges"] for one in retries), sum(one["hedges_won"] for one in retries)

        # A third of the calls begins at c, in each worker's turns.
        shop.mesh.wait(lambda: told()[1] >= 8)
        shop.mesh.wait(lambda: told() == explained())


# One of three accepts and then fails: that is bounded, and the end says why


def test_one_of_three_resets_what_it_accepts(mesh: tuple[Mesh, App]) -> None:
    with open_shop(*mesh) as shop:
        shop.turns("c", "slam")
        saw = shop.burst(60)
        failed = saw.total() - saw["a"] - saw["b"]
        assert set(saw) - {"a", "b"} <= RESET
        assert 1 <= failed <= CONSECUTIVE * WORKERS
        assert shop.breakers() == {"c": "open"}
        here = {"destination": f"{VIP}:{shop.port}", "endpoint": shop.at["c"]}
        assert len(shop.mesh.wait_ended(failed, **here, outcome="upstream_reset_early")) == failed
        # Open in both workers: 40 connections reach both, and none fails.
        time.sleep(0.2)
        assert set(shop.burst(40)) == {"a", "b"}


def test_one_of_three_is_stopped(mesh: tuple[Mesh, App]) -> None:
    slow = {**BREAKER, "slow_s": 0.1, "minimum": 2}
    with open_shop(*mesh, kind="reply", breaker=slow) as shop:
        shop.mesh.signal(signal.SIGSTOP, shop.apps["c"].pid)
        saw = shop.burst(40, says="?", patience=0.3)
        assert set(saw) == {"a", "b", "silence"}
        assert saw["silence"] <= 2 * WORKERS
        assert shop.breakers() == {"c": "open"}
        shop.mesh.signal(signal.SIGCONT, shop.apps["c"].pid)
        # The clients had left: c hears that when it answers them.
        left = shop.mesh.wait_ended(saw["silence"], destination=f"{VIP}:{shop.port}", outcome="client_reset")
        assert {one["endpoint"] for one in left} == {shop.at["c"]}


# What one worker sees, the others hear


def test_what_is_open_is_known_to_a_worker_that_is_started_anew_and_to_orphans() -> None:
    with standing() as made, open_shop(*made, breaker={**BREAKER, "ejected_percent": 100}) as shop:
        mesh = shop.mesh
        shop.turns("c", "slam")
        shop.burst(60)
        shop.settles(c="open")
        before = mesh.workers()
        mesh.signal(signal.SIGKILL, before[0])
        mesh.wait(lambda: len(mesh.workers()) == WORKERS and before[0] not in mesh.workers())
        mesh.wait(mesh.is_ready)
        # The other one is stopped, so all that follows is the new one's.
        mesh.signal(signal.SIGSTOP, before[1])
        assert set(shop.burst(20)) == {"a", "b"}
        mesh.signal(signal.SIGCONT, before[1])

        # Orphans keep what they know, and go on deciding, each for itself.
        mesh.kill_agent()
        assert set(shop.burst(20)) == {"a", "b"}
        shop.turns("b", "slam")
        saw = shop.burst(60)
        assert set(saw) - {"a"} <= RESET
        assert 1 <= saw.total() - saw["a"] <= CONSECUTIVE * WORKERS


# Nobody is left: no storm


def test_a_service_that_fails_wholly_is_not_stormed(mesh: tuple[Mesh, App]) -> None:
    retries = {"attempts": 3, "budget_percent": 20, "budget_per_s": 1, "base_s": 0.001, "max_s": 0.005}
    with open_shop(*mesh, breaker={"enabled": False}, retries=retries) as shop:
        nft = shop.mesh.space.command
        nft("nft", "add", "table", "inet", "storm")
        nft("nft", "add", "chain", "inet", "storm", "in", "{ type filter hook input priority 0; }")
        ports = ",".join(address.partition(":")[2] for address in shop.at.values())
        counted = f"tcp dport {{ {ports} }} tcp flags syn counter reject with tcp reset"
        nft("nft", "add", "rule", "inet", "storm", "in", counted)
        offered = 400
        saw = shop.burst(offered)
        assert set(saw) <= RESET
        listed = json.loads(nft("nft", "-j", "list", "table", "inet", "storm"))["nftables"]
        [rule] = [one["rule"]["expr"] for one in listed if "rule" in one]
        [tries] = [one["counter"]["packets"] for one in rule if "counter" in one]
        nft("nft", "delete", "table", "inet", "storm")
        assert offered < tries <= 1.2 * offered + WORKERS
        assert set(shop.burst(6)) == {"a", "b", "c"}


# The operator


def test_the_operator_forces_and_traffic_follows(shop: Shop) -> None:
    def breaker(*words: str) -> None:
        command = [sys.executable, "-m", "meshtrio", "breaker", *words, "--control", str(shop.mesh.control)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        time.sleep(0.1)

    breaker("open", shop.name, shop.at["c"])
    assert set(shop.burst(20)) == {"a", "b"}
    shop.client.tell("hold", name="held", host=VIP, port=shop.port)
    breaker("open", shop.name)
    assert set(shop.burst(4)) <= RESET
    held = shop.client.tell("held", name="held", end=True)
    assert held["broke"] == "", "what is there goes on"
    shop.mesh.wait_ended(4, destination=f"{VIP}:{shop.port}", outcome="breaker_open")
    breaker("auto", shop.name)
    assert set(shop.burst(20)) == {"a", "b", "c"}
    breaker("close", shop.name, shop.at["c"])
    shop.turns("c", "slam")
    saw = shop.burst(60)
    assert saw.total() - saw["a"] - saw["b"] > CONSECUTIVE * WORKERS
    breaker("auto", shop.name, shop.at["c"])
    saw = shop.burst(60)
    assert 1 <= saw.total() - saw["a"] - saw["b"] <= CONSECUTIVE * WORKERS
