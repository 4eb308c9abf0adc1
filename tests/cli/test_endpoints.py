"""`meshtrio endpoints`: its tables, its words for health, its errors, and completion."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from meshtrio.balance.hearsay import Stand
from meshtrio.catalog.question import EndpointsWanted
from meshtrio.cli.endpoints import MOST_MET, settled, table_of
from meshtrio.messages import Observed
from tests.cli.conftest import Run
from tests.support.catalog_desk import NOW, Desk, Served, endpoint, served, service, shop

OPEN = Stand(996.0, True, 1026.0, 1)


@pytest.fixture
def desk() -> Desk:
    made = shop()
    made.say("dns", service("web", endpoint("198.51.100.1"), namespace="other"))
    first, second = made.seat()
    found = made.hub.snapshot.service("shop/orders")
    assert found is not None
    now = time.monotonic()
    for site in (first, second):
        port = site.ports.of(found, "http")
        hold = port.hold(found.endpoints, now, None, ())
        assert hold is not None
        port.breakers.obey({"10.0.0.10": "open"}, now)
    made.board.hear(made.fleet.seats[0], Observed({}, {"shop/orders:http": {"10.0.0.2": OPEN}}))
    made.board.force(["shop/orders:http"], ["10.0.0.10"], "open")
    return made


def told_of(desk: Desk, service: str = "") -> Any:
    return trio.run(desk.balance.beside, desk.catalog.endpoints(EndpointsWanted(service=service)))


@pytest.fixture
def there(desk: Desk, tmp_path: Path) -> Iterator[Served]:
    with served(desk, tmp_path / "control.sock") as made:
        yield made


@pytest.mark.parametrize("width", [80, 140, None])
def test_the_table(desk: Desk, golden: Callable[[str, str], None], width: int | None) -> None:
    told = told_of(desk)
    lines = table_of(told, NOW, width, wide=width is None)
    golden(f"endpoints_{width or 'wide'}.txt", "".join(f"{line.text}\n" for line in lines))
    assert width is None or max(len(line.text) for line in lines) <= width


def test_colours_say_what_is_wrong(desk: Desk) -> None:
    told = told_of(desk)
    lines = {line.text.split()[2]: line.colour for line in table_of(told, NOW, 80, wide=False)[:8]}
    assert lines["10.0.0.1:8080"] == ""
    assert lines["10.0.0.2:8080"] == "red"
    assert lines["10.0.0.3:8080"] == "yellow"  # draining
    assert lines["[fd00::7]:8080"] == "yellow"  # stale


def test_what_probes_met_is_said_of_some(desk: Desk) -> None:
    told = told_of(desk, "orders")
    bad = [one for one in told["endpoints"] if one["probe"] and one["probe"]["health"] == "unhealthy"]
    lines = table_of({**told, "endpoints": bad * 40, "total": 80}, NOW, None, wide=False)
    assert len(lines) == 1 + 80 + MOST_MET


def test_a_probe_that_says_the_same_again_is_no_change(desk: Desk) -> None:
    told = told_of(desk, "orders")
    later = json.loads(json.dumps(told))
    for one in later["endpoints"]:
        one["latency_s"] = 3.0
        if one["probe"]:
            one["probe"]["last"], one["probe"]["latency_s"] = NOW, 1.0
    assert settled(told) == settled(later)
    later["endpoints"][0]["probe"]["text"] = "other"
    assert settled(told) != settled(later)


def test_silent_workers_are_said(desk: Desk) -> None:
    told = told_of(desk, "orders")
    assert "answer" not in table_of(told, NOW, None, wide=False)[-1].text
    for count, words in ((1, "1 worker did not answer"), (2, "2 workers did not answer")):
        last = table_of({**told, "silent_workers": count}, NOW, None, wide=False)[-1]
        assert last.text.startswith(words)


def test_as_users_see_it(run: Run, there: Served) -> None:
    done = run("endpoints", "orders", "--control", str(there.path), "--json")
    assert done.returncode == 0
    first, second, third, fourth = json.loads(done.stdout)
    assert first == {
        "namespace": "shop",
        "service": "orders",
        "port": "http",
        "address": "10.0.0.1:8080",
        "id": "10.0.0.1",
        "health": "healthy",
        "why": "kubernetes+probe",
        "said": "healthy",
        "probe": {
            "health": "healthy",
            "since": NOW - 30,
            "last": NOW - 1,
            "text": "200 OK",
            "latency_s": 0.004,
        },
        "ready": True,
        "draining": False,
        "weight": 10,
        "zone": "eu-1a",
        "node": "node-1",
        "version": "v1",
        "source": "kubernetes",
        "since": NOW - 3600,
        "stale": False,
        "meshed": True,
        "identity": "",
        "labels": {},
        "breaker": "closed",
        "retry_in_s": None,
        "active": 2,
        "latency_s": 0.0,
        "ejected": False,
        "flows": None,
    }
    assert [one["address"] for one in (second, third, fourth)] == [
        "10.0.0.2:8080",
        "10.0.0.3:8080",
        "10.0.0.10:8080",
    ]
    assert (fourth["health"], fourth["said"], fourth["why"]) == ("unhealthy", "healthy", "probe")
    assert (third["probe"], third["draining"], third["ready"]) == (None, True, False)
    assert fourth["labels"] == {"a": "b"}
    text = run("endpoints", "shop/orders", "--control", str(there.path)).stdout.decode()
    assert text.splitlines()[-1] == "10.0.0.10:8080: connection refused"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["ordrs"], 1, "there is no service ordrs; did you mean shop/orders?"),
        (["shop/printer"], 1, "there is no service shop/printer; did you mean default/printer?"),
        (["nothing-like-it"], 1, "there is no service nothing-like-it"),
        (["web"], 1, "web is in 3 namespaces: default, other, shop (want one, as in default/web)"),
        (["shop/orders", "-n", "default"], 2, "--namespace is default, and shop/orders is in another"),
    ],
)
def test_what_is_no_service(run: Run, there: Served, words: list[str], code: int, said: str) -> None:
    done = run("endpoints", *words, "--control", str(there.path))
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode().startswith(f"meshtrio: {said}")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("words", [["web", "-n", "shop"], ["shop/legacy"], ["-n", "none"]])
def test_no_endpoints_is_no_failure(run: Run, there: Served, words: list[str]) -> None:
    done = run("endpoints", *words, "--control", str(there.path))
    assert (done.returncode, done.stdout) == (0, b"no endpoints\n")
    assert run("endpoints", *words, "--control", str(there.path), "--json").stdout == b"[]\n"


def test_a_namespace_alone(run: Run, there: Served) -> None:
    done = run("endpoints", "-n", "default", "--control", str(there.path), "--json")
    assert [one["service"] for one in json.loads(done.stdout)] == ["printer", "web"]


@pytest.mark.parametrize(
    ("begun", "names"),
    [
        ("or", ["orders"]),
        ("w", ["default/web", "other/web", "shop/web"]),
        ("shop/w", ["shop/web"]),
        ("x", []),
    ],
)
def test_shells_complete_the_name(
    there: Served, settings: dict[str, str], begun: str, names: list[str]
) -> None:
    # What a shell's completion script does: see `_MESHTRIO_COMPLETE=bash_source meshtrio`.
    asked = {
        "_MESHTRIO_COMPLETE": "bash_complete",
        "COMP_WORDS": f"meshtrio endpoints {begun}",
        "COMP_CWORD": "2",
        "MESHTRIO_PATHS__CONTROL": str(there.path),
    }
    code = "import sys; from meshtrio.cli.main import main; main(prog_name='meshtrio')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings, **asked},
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""
    assert done.stdout.decode().split() == [f"plain,{name}" for name in names]
