"""Sources of the catalog under a real agent with real traffic: what changes, what is lost, what comes back.

A program in the mesh fetches pages all the time, each on a new connection, and not one may fail. The tests
share one agent and stand in their order; each leaves everything as it found it.
"""

import functools
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import kubernetes_objects as objects
from tests.support.consul import missing
from tests.support.discovery_scene import (
    CHECKED,
    CONSUL_IP,
    CONSUL_TOKEN,
    KUBERNETES_TOKEN,
    LADDER,
    ORDERS,
    SETTLED_S,
    WRONG_TOKEN,
    Scene,
    scene,
)
from tests.support.pages import Load, answer, fetching
from tests.support.registries import cut_off

pytestmark = [pytest.mark.world, pytest.mark.slow]

PUSHED_S = 0.2
"""How long a change may take from the agent's answers to its workers. It is some milliseconds."""


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Everything, but Consul refuses our token."""
    if missing():
        pytest.skip(missing())
    with scene(tmp_path_factory.mktemp("discovery")) as one:
        yield one


@pytest.fixture(scope="module")
def made(refused: Scene) -> Scene:
    """Everything, and all is well."""
    (refused.folder / "consul-token").write_text(CONSUL_TOKEN + "\n")
    refused.truth("carts", "10.1.4.1", "10.1.4.2")
    refused.truth("orders", "10.1.1.1", "10.1.1.2")
    return refused


def vip(made: Scene, name: str) -> str:
    """Say which virtual IP a service has."""
    return str(made.service(name)["vips"][0])


def answers(made: Scene, host: str, who: str) -> bool:
    return answer(made.shop, host) == who


def hold_each(made: Scene, name: str, host: str, count: int) -> dict[str, str]:
    """Keep a connection to each of so many endpoints, and say by which names."""
    held: dict[str, str] = {}
    for number in range(count):
        who = made.shop.tell("hold", name=f"{name} {number}", host=host)["who"]
        held[who] = f"{name} {number}"
    assert len(held) == count
    return held


def lives_on(made: Scene, held: str) -> None:
    """See that a connection which was established before is still in use, and end it."""
    before = made.shop.tell("held", name=held)["pages"]
    time.sleep(0.2)
    after = made.shop.tell("held", name=held, end=True)
    assert after["broke"] == ""
    assert after["pages"] > before


def gets_nothing(load: Load, ip: str, since: float) -> None:
    """See that nobody new comes here after a moment, though others are served."""
    until = time.monotonic() + 5
    while (who := load.who(since + PUSHED_S)).total() < 8:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert ip not in who


def test_a_token_that_is_refused_may_be_mended(refused: Scene) -> None:
    assert refused.mesh.status()["ready"]
    assert refused.wait(lambda: refused.source("consul")["state"] in ("refused", "lost"))
    refused.truth("orders", "10.1.1.1", "10.1.1.2")
    levels = {"ladder": "live", "shelf": "dns", "shed": "static", "carts": "None"}
    refused.wait(lambda: {name: refused.level(name) for name in levels} == levels)
    for name, ip in (("shelf", "10.1.8.1"), ("shed", "10.1.3.1")):
        assert answer(refused.shop, vip(refused, name)) == ip
    (refused.folder / "consul-token").write_text(CONSUL_TOKEN + "\n")
    refused.truth("carts", "10.1.4.1", "10.1.4.2")
    refused.wait(lambda: refused.source("consul")["state"] == "live")
    assert {refused.level(name) for name in ("ladder", "carts")} == {"live"}


def test_an_instance_is_critical_in_consul_and_gets_well(made: Scene) -> None:
    carts = vip(made, "carts")
    assert carts.startswith("240.240.")
    with fetching(made.shop, carts) as load:
        held = hold_each(made, "carts", carts, 2)
        made.consul.mark("10.1.4.1", "fail")
        gets_nothing(load, "10.1.4.1", made.truth("carts", "10.1.4.2", within_s=1))
        lives_on(made, held["10.1.4.1"])
        made.consul.mark("10.1.4.1", "pass")
        well = made.truth("carts", "10.1.4.1", "10.1.4.2", within_s=1)
        made.wait(lambda: load.who(well)["10.1.4.1"])
        made.consul.deregister("10.1.4.2")
        gets_nothing(load, "10.1.4.2", made.truth("carts", "10.1.4.1", within_s=1))
        lives_on(made, held["10.1.4.2"])
        made.consul.register("carts", "10.1.4.2", port=80)
        made.truth("carts", "10.1.4.1", "10.1.4.2")
        assert vip(made, "carts") == carts


def test_endpoints_come_and_go_in_kubernetes(made: Scene) -> None:
    with fetching(made.shop, ORDERS) as load:
        held = hold_each(made, "orders", ORDERS, 2)
        made.slices("orders", "10.1.1.1", "10.1.1.2", "10.1.1.3")
        came = made.truth("orders", "10.1.1.1", "10.1.1.2", "10.1.1.3", within_s=1)
        made.wait(lambda: load.who(came)["10.1.1.3"])
        made.slices("orders", "10.1.1.2", "10.1.1.3")
        went = made.truth("orders", "10.1.1.2", "10.1.1.3", within_s=1)
        gets_nothing(load, "10.1.1.1", went)
        print(f"  the last one came {load.last_at('10.1.1.1') - went:.3f} s after the change was known")
        for one in held.values():
            lives_on(made, one)
        made.slices("orders", "10.1.1.1", "10.1.1.2")
        made.truth("orders", "10.1.1.1", "10.1.1.2")


def test_a_service_goes_from_kubernetes_and_comes_back(made: Scene) -> None:
    """What it leaves behind is an address like any other: passed through."""
    held = hold_each(made, "leaving", ORDERS, 2)
    made.api.delete("services", "orders")
    made.wait(lambda: not made.service("orders"))
    time.sleep(PUSHED_S)
    assert answer(made.shop, ORDERS) == ORDERS
    for one in held.values():
        lives_on(made, one)
    made.api.put("services", objects.service("orders", ORDERS))
    made.truth("orders", "10.1.1.1", "10.1.1.2")
    made.wait(lambda: answer(made.shop, ORDERS) in ("10.1.1.1", "10.1.1.2"))


def test_an_endpoint_that_answers_500_is_left_alone_until_it_answers_200(made: Scene) -> None:
    with fetching(made.shop, CHECKED) as load:
        made.wait(lambda: set(load.who()) == {"10.1.2.1", "10.1.2.2"})
        made.town.tell("fall_ill", ip="10.1.2.1", status=500)
        gets_nothing(load, "10.1.2.1", made.truth("checked", "10.1.2.2"))
        made.town.tell("fall_ill", ip="10.1.2.1", status=200)
        well = made.truth("checked", "10.1.2.1", "10.1.2.2")
        made.wait(lambda: load.who(well)["10.1.2.1"])


def test_five_hundred_endpoints_change_in_one_go(made: Scene) -> None:
    """Each in a slice of its own: so many events at once."""

    def many(net: int) -> list[str]:
        return [f"10.1.{net}.{number % 250}" for number in range(1, 251)] + [
            f"10.1.{net + 1}.{number % 250}" for number in range(1, 251)
        ]

    def put(ips: list[str]) -> None:
        slices = [objects.slice_of("burst", [ip], suffix=str(number)) for number, ip in enumerate(ips)]
        made.api.put("endpointslices", *slices)

    old, new = many(100), many(200)
    burst = "10.96.0.40"
    made.api.put("services", objects.service("burst", burst))
    put(old)
    made.truth("burst", *old)
    with fetching(made.shop, ORDERS) as orders, fetching(made.shop, burst, every=0.01) as load:
        time.sleep(0.5)
        began = time.monotonic()
        put(new)
        changed = made.truth("burst", *new)
        time.sleep(1)
        slowest = max(one.took_s for one in orders.look() if one.began > began)
        print(f"  orders took {slowest:.3f} s at most; {len(load.look())} fetches")
        after = {one.who for one in load.look() if one.began > changed + PUSHED_S}
        assert after
        assert not after & set(old)
        assert set(old) & {one.who for one in load.seen if one.began < began}
    made.api.delete("endpointslices", *(f"burst-{number}" for number in range(len(new))))
    made.api.delete("services", "burst")


def test_versions_that_are_forgotten_again_and_again_hide_nothing(made: Scene) -> None:
    with fetching(made.shop, ORDERS) as load:
        for number in range(15):
            made.slices("orders", "10.1.1.1", "10.1.1.2", f"10.1.1.{number + 10}")
            made.api.forget()
            made.api.tear()
            time.sleep(0.1)
        made.slices("orders", "10.1.1.1", "10.1.1.3")
        gets_nothing(load, "10.1.1.2", made.truth("orders", "10.1.1.1", "10.1.1.3"))
        made.slices("orders", "10.1.1.1", "10.1.1.2")
        made.truth("orders", "10.1.1.1", "10.1.1.2")


def test_what_is_lost_is_believed_until_it_is_dead_and_the_next_one_is_asked(made: Scene) -> None:
    """The ladder: live, last known, another registry, the file. And up again, at once."""
    carts = vip(made, "carts")
    with (
        fetching(made.shop, ORDERS),
        fetching(made.shop, carts),
        cut_off(made.space, "127.0.0.1", made.api.port) as heal,
    ):
        made.consul.kill()
        for source, service in (("consul", "carts"), ("kubernetes", "orders")):
            made.wait(functools.partial(made.is_lost, source), 20)
            assert made.source(source)["lost"]
            assert time.time() - made.source(source)["stale_since"] > 3
            assert made.level(service) == "last_known"
        assert "lost" in made.command("discovery")
        told = made.mesh.status()["discovery"]
        assert told["levels"]["last_known"] >= 4
        assert {one["source"] for one in told["sources"] if one["lost"]} == {"kubernetes", "consul"}
        assert answer(made.shop, LADDER) == "10.1.5.1"
        for ip, then, level in (("10.1.5.1", "10.1.5.2", "last_known"), ("10.1.5.2", "10.1.5.3", "static")):
            made.town.tell("serve_no_more", host=ip, port=8081)
            made.wait(functools.partial(answers, made, LADDER, then))
            assert made.level("ladder") == level
        # Meanwhile, where nobody hears it: this comes, and that goes.
        made.slices("orders", "10.1.1.2", "10.1.1.3")
        for ip in ("10.1.5.1", "10.1.5.2"):
            made.town.tell("serve", host=ip, port=8081)
        made.consul.start()
        made.consul.mark("10.1.4.1", "fail")
        heal()
        healed = time.monotonic()
        made.truth("orders", "10.1.1.2", "10.1.1.3")
        made.truth("carts", "10.1.4.2", within_s=healed + SETTLED_S - time.monotonic())
        made.wait(lambda: answer(made.shop, LADDER) == "10.1.5.1")
        made.wait(lambda: {made.level(one) for one in ("orders", "carts", "ladder")} == {"live"})
        made.slices("orders", "10.1.1.1", "10.1.1.2")
        made.consul.mark("10.1.4.1", "pass")
        made.truth("carts", "10.1.4.1", "10.1.4.2")


def test_what_changed_while_nobody_answered_is_known_soon_after(made: Scene) -> None:
    carts = vip(made, "carts")
    with fetching(made.shop, ORDERS) as orders, fetching(made.shop, carts) as load:
        with cut_off(made.space, CONSUL_IP, made.consul.port):
            made.api.stop()
            time.sleep(3)
            made.slices("orders", "10.1.1.1")
            made.consul.deregister("10.1.4.1")
            time.sleep(0.5)
            assert orders.who()["10.1.1.2"]
            assert load.who()["10.1.4.1"]
            made.api.start()
        healed = time.monotonic()
        gets_nothing(orders, "10.1.1.2", made.truth("orders", "10.1.1.1"))
        gets_nothing(
            load,
            "10.1.4.1",
            made.truth("carts", "10.1.4.2", within_s=healed + 2 * SETTLED_S - time.monotonic()),
        )
        made.api.pause()
        time.sleep(1)
        made.api.resume()
        made.slices("orders", "10.1.1.1", "10.1.1.2")
        made.consul.register("carts", "10.1.4.1", port=80)
        made.truth("orders", "10.1.1.1", "10.1.1.2")
        made.truth("carts", "10.1.4.1", "10.1.4.2")


def test_consul_is_turned_off_and_on_while_we_run(made: Scene) -> None:
    carts, settings = vip(made, "carts"), made.mesh.settings["discovery"]
    with fetching(made.shop, ORDERS):
        made.mesh.write_config(discovery=settings | {"consul": {}})
        made.wait(lambda: not made.service("carts"))
        assert "consul" not in {one["source"] for one in made.discovery()["sources"]}
        time.sleep(PUSHED_S)
        assert answer(made.shop, carts, patience=0.5) == "silence"
        made.mesh.write_config(discovery=settings)
        made.truth("carts", "10.1.4.1", "10.1.4.2")
        assert vip(made, "carts") == carts
        made.wait(lambda: answer(made.shop, carts) in ("10.1.4.1", "10.1.4.2"))


def test_our_workload_is_in_consul_while_that_is_wanted(made: Scene) -> None:
    settings, carts = made.mesh.settings["discovery"], made.service("carts")["vips"]
    [workload] = made.mesh.status()["workloads"]
    name = workload["name"]

    def told() -> list[tuple[str, bool, str, str]]:
        answer = made.mesh.ask("GET", f"/v1/endpoints?service={name}")
        found = answer.body["endpoints"] if answer.status == 200 else []
        return [
            (one["address"].rpartition(":")[2], one["meshed"], one["identity"], one["source"])
            for one in found
        ]

    made.shop.tell("serve", host="0.0.0.0", port=8090)
    made.mesh.write_config(discovery=settings | {"consul": settings["consul"] | {"register": True}})
    identity = "spiffe://cluster.local/ns/default/sa/default"
    made.wait(lambda: told() == [("8090", True, identity, "consul")], 10)
    made.shop.tell("serve_no_more", host="0.0.0.0", port=8090)
    made.wait(lambda: told() == [], 10)
    made.shop.tell("serve", host="0.0.0.0", port=8090)
    made.wait(lambda: told(), 10)
    made.mesh.write_config(discovery=settings)
    made.wait(lambda: not made.service(name), 10)
    made.shop.tell("serve_no_more", host="0.0.0.0", port=8090)
    made.truth("carts", "10.1.4.1", "10.1.4.2")
    assert made.service("carts")["vips"] == carts


def curl(made: Scene, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask at the control socket as anybody would."""
    words = ["curl", "-sS", "--unix-socket", str(made.mesh.control), "-X", method, f"http://meshtrio{path}"]
    done = subprocess.run([*words, "-d", json.dumps(body or {})], capture_output=True, check=True, timeout=10)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_endpoints_register_themselves_and_expire(made: Scene) -> None:
    path = "/v1/services/till/endpoints"
    said = curl(made, "PUT", f"{path}/one", {"address": "10.1.7.1:8080", "port": 80, "ttl_s": 0})
    assert (said["service"], said["id"], said["durable"]) == ("till", "one", True)
    curl(made, "PUT", f"{path}/two", {"address": "10.1.7.2:8080", "port": 80, "ttl_s": 1})
    made.truth("till", "10.1.7.1", "10.1.7.2", within_s=1)
    till = vip(made, "till")
    with fetching(made.shop, till) as load:
        for _ in range(4):
            time.sleep(0.5)
            assert curl(made, "POST", f"{path}/two/heartbeat")["id"] == "two"
        made.wait(lambda: set(load.who()) == {"10.1.7.1", "10.1.7.2"})
        gets_nothing(load, "10.1.7.2", made.truth("till", "10.1.7.1", within_s=2.5))
    # Beside what a registry says, registered endpoints are added.
    curl(made, "PUT", "/v1/services/orders/endpoints/extra", {"address": "10.1.7.3:8080", "port": 80})
    made.truth("orders", "10.1.1.1", "10.1.1.2", "10.1.7.3")
    curl(made, "DELETE", "/v1/services/orders/endpoints/extra")
    made.truth("orders", "10.1.1.1", "10.1.1.2")


def test_no_secret_was_told_to_anybody(made: Scene) -> None:
    told = [made.mesh.log(), *made.told]
    for path in ("/v1/status", "/v1/discovery", "/v1/config", "/v1/services", "/v1/endpoints", "/metrics"):
        told.append(json.dumps(made.mesh.ask("GET", path).body))
    told += [made.command(*words) for words in (("status",), ("status", "--json"), ("discovery",))]
    told.append(made.command("discovery", "--json"))
    assert sum(map(len, told)) > 50_000
    assert "consul-token" in "".join(told)
    no_secrets("".join(told))


def no_secrets(told: str) -> None:
    assert [one for one in (KUBERNETES_TOKEN, CONSUL_TOKEN, WRONG_TOKEN) if one in told] == []


def services(made: Scene) -> list[dict[str, Any]]:
    """Return what `meshtrio services --json` shows."""
    return list(json.loads(made.command("services", "--json")))


def test_a_successor_of_a_killed_agent_knows_all_that_it_knew(made: Scene) -> None:
    """Registrations and virtual IPs above all, for those nobody else knows."""
    before = services(made)
    assert {one["level"] for one in before} == {"live", "dns", "static"}
    names = {"carts", "checked", "consul", "ladder", "orders", "shed", "shelf", "till"}
    assert {one["name"] for one in before} == names
    till, (orphan,) = vip(made, "till"), made.mesh.workers()
    with fetching(made.shop, ORDERS), fetching(made.shop, till) as load:
        made.mesh.kill_agent()
        made.mesh.start()
        made.wait(lambda: services(made) == before)
        back = time.monotonic()
        made.wait(lambda: load.who(back)["10.1.7.1"] > 3)
        # It looks for a successor every second, and would wait for ever for one that has ended before.
        made.wait(lambda: not Path(f"/proc/{orphan}").exists())
    made.shop.process.kill()
    made.shop.process.wait()
    assert made.mesh.stop() == 0
    made.mesh.assert_nothing_left()
    no_secrets(made.mesh.log())
    assert "a bug of ours" not in made.mesh.log()
