"""Five minutes without any source of services: nobody who calls notices, and then the truth is known."""

import functools
import time

import pytest

from tests.support.consul import missing
from tests.support.discovery_scene import CONSUL_IP, CONSUL_TOKEN, ORDERS, SETTLED_S, scene
from tests.support.pages import fetching
from tests.support.registries import cut_off

pytestmark = [pytest.mark.world, pytest.mark.soak]

AWAY_S = 300


def test_five_minutes_without_any_source(tmp_path_factory: pytest.TempPathFactory) -> None:
    if missing():
        pytest.skip(missing())
    with scene(tmp_path_factory.mktemp("soak")) as made:
        (made.folder / "consul-token").write_text(CONSUL_TOKEN)
        made.truth("carts", "10.1.4.1", "10.1.4.2")
        made.truth("orders", "10.1.1.1", "10.1.1.2")
        carts, shelf = (str(made.service(name)["vips"][0]) for name in ("carts", "shelf"))
        with (
            fetching(made.shop, ORDERS),
            fetching(made.shop, carts),
            fetching(made.shop, shelf),
            cut_off(made.space, "127.0.0.1", made.api.port) as heal_kubernetes,
            cut_off(made.space, CONSUL_IP, made.consul.port) as heal_consul,
            cut_off(made.space, "127.0.0.1", 53) as heal_names,
        ):
            away = time.monotonic()
            for source in ("kubernetes", "consul", "dns"):
                made.wait(functools.partial(made.is_lost, source), 30)
            assert {made.level(name) for name in ("orders", "carts", "shelf")} == {"last_known"}
            time.sleep(away + AWAY_S - time.monotonic())
            made.slices("orders", "10.1.1.2", "10.1.1.3")
            made.consul.mark("10.1.4.1", "fail")
            made.names.know("shelf.example.com", "10.1.8.2")
            for heal in (heal_names, heal_consul, heal_kubernetes):
                heal()
            healed = time.monotonic()
            for name, ips in (
                ("orders", ["10.1.1.2", "10.1.1.3"]),
                ("carts", ["10.1.4.2"]),
                ("shelf", ["10.1.8.2"]),
            ):
                made.truth(name, *ips, within_s=max(0.1, healed + SETTLED_S - time.monotonic()))
            made.wait(lambda: {made.level(name) for name in ("orders", "carts")} == {"live"})
            made.wait(lambda: made.level("shelf") == "dns")
        assert "a bug of ours" not in made.mesh.log()
