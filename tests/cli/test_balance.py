"""`meshtrio balance explain`: its lines, its JSON, its errors, and a real agent with a real worker."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from meshtrio.catalog.service import Service
from meshtrio.cli.balance import lines_of, settled
from meshtrio.cli.control_client import Control
from meshtrio.config.schema import Config
from meshtrio.config.traffic import Rule, ServiceLimits, Traffic
from tests.cli.conftest import VIP, Run
from tests.support.catalog_desk import Desk, Served, Worker, endpoint, served, service, shop

RULE = Rule(service="shop/orders", algorithm="maglev", hash_key="header:x-user")
FOUR = tuple(endpoint(f"10.0.0.{number}", zone="ab"[number % 2]) for number in (1, 2, 3, 4))


@pytest.fixture
def desk() -> Desk:
    made = shop()
    limits = ServiceLimits(connections=1)
    made.config = Config(zone="a", traffic=Traffic(slow_start_s=0, limits=limits, rules=(RULE,)))
    made.say(
        "kubernetes",
        service("orders", *FOUR, namespace="shop", unheeded=("meshtrio.io/direct is x",)),
        complete=False,
    )
    first, _ = made.seat()
    port = first.ports.of(known(made), "http")
    hold = port.hold(known(made).endpoints, 0.0, None, ())
    assert hold is not None
    port.why_no_retry(0, 0.0)
    port.hedges = port.hedges_won = 1
    port.breakers.obey({"10.0.0.3": "open"}, 0.0)
    return made


def known(desk: Desk) -> Service:
    found = desk.hub.snapshot.service("shop/orders")
    assert found is not None
    return found


@pytest.fixture
def there(desk: Desk, tmp_path: Path) -> Iterator[Served]:
    with served(desk, tmp_path / "control.sock") as made:
        yield made


def explained(desk: Desk, key: str = "") -> Any:
    return trio.run(lambda: desk.balance.explain("shop", "orders", key=key))


@pytest.mark.parametrize("width", [50, 0])
def test_the_lines(desk: Desk, golden: Callable[[str, str], None], width: int) -> None:
    told = {**explained(desk, "alice" if width else ""), "silent_workers": 1}
    lines = lines_of(told, width or None)
    golden(f"balance_{width or 'wide'}.txt", "".join(f"{line.text.rstrip()}\n" for line in lines))


def test_whoever_can_go_directly_is_said(desk: Desk) -> None:
    for path, says in (
        ("direct", "the kernel picks for calls of"), ("both", "some calls of"), ("granted", "some calls of"),
    ):  # fmt: skip
        lines = [line.text for line in lines_of({**explained(desk), "path": path}, None)]
        assert f"(path {path})" in lines[1]
        assert says in lines[1]


def test_nobody_to_pick_and_nothing_but_defaults(desk: Desk) -> None:
    desk.config = Config()
    desk.say("kubernetes", service("orders", namespace="shop"))
    for seat in desk.fleet.seats:
        assert isinstance(seat, Worker)
        seat.site.settle(desk.config)
    lines = [line.text for line in lines_of(explained(desk), None)]
    assert "worker 1 picks nobody, for there is none that may be called" in lines
    assert lines[-1] == "all settings are defaults"


def test_a_latency_that_fades_is_no_news(desk: Desk) -> None:
    told = explained(desk)
    later = json.loads(json.dumps(told))
    later["workers"][0]["endpoints"][0]["latency_s"] = 7.0
    assert settled(told) == settled(later)
    later["workers"][0]["picked"] = "other"
    assert settled(told) != settled(later)


def test_as_users_do_it(run: Run, there: Served) -> None:
    socket = ("--control", str(there.path))
    done = run("balance", "explain", "orders", "--key", "alice", *socket, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["key"], told["silent_workers"]) == ("alice", 0)
    assert told["workers"][0]["picked_address"] == f"{told['workers'][0]['picked']}:8080"
    text = run("balance", "explain", "shop/orders", "--port", "80", *socket).stdout.decode()
    assert text.startswith("shop/orders:http is balanced by maglev over header:x-user; no key given")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["ordrs"], 1, "there is no service ordrs; did you mean shop/orders?"),
        (["web"], 1, "web is in 2 namespaces: default, shop (want one, as in default/web)"),
        (["orders", "--port", "grpc"], 1, "shop/orders has no port grpc (it has: http (80))"),
        (
            ["printer", "--key", "x"],
            1,
            "default/printer:http is balanced by round_robin, which knows no keys",
        ),
        (["orders", "--key", ""], 2, "--key is empty"),
        (["a/b/c"], 2, "'a/b/c' is no service (want a name, or namespace/name)"),
        (["/orders"], 2, "'/orders' is no service"),
        (["shop/"], 2, "'shop/' is no service"),
        ([], 2, "Missing argument 'SERVICE'"),
    ],
)
def test_what_cannot_be_explained(run: Run, there: Served, words: list[str], code: int, said: str) -> None:
    done = run("balance", "explain", *words, "--control", str(there.path))
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode().startswith(f"meshtrio: {said}")
    assert done.stderr.count(b"\n") == 1


def test_without_an_agent(run: Run, tmp_path: Path) -> None:
    done = run("balance", "explain", "orders", "--control", str(tmp_path / "none.sock"))
    assert (done.returncode, done.stdout) == (3, b"")


@pytest.mark.world
def test_a_real_worker_explains(run: Run, agent: Control, server: int) -> None:
    done = run("balance", "explain", "web", "--json")
    assert done.returncode == 0, done.stderr
    (worker,) = json.loads(done.stdout)["workers"]
    assert worker["picked_address"] == f"127.0.0.1:{server}"
    assert (worker["dialled"], worker["tier"]) == (False, "all")
    (row,) = json.loads(run("endpoints", "web", "--json").stdout)
    assert (row["breaker"], row["active"], row["ejected"]) == ("closed", 0, False)
    assert agent.get("/v1/status")["balance"]["retries"] == {"allowed": 0, "denied": 0}
    done = run("exec", "--name", "shop", "--", "curl", "-sS", f"http://{VIP}/a")
    assert done.stdout == b"hello from /a\n", done.stderr
    (worker,) = json.loads(run("balance", "explain", "web", "--json").stdout)["workers"]
    assert (worker["dialled"], worker["active"]) == (True, 0)
    (row,) = json.loads(run("endpoints", "web", "--json").stdout)
    assert row["latency_s"] > 0
