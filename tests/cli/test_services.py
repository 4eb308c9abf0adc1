"""`meshtrio services`: its table, its filters, its JSON, and many services."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshtrio.catalog.question import ServicesWanted
from meshtrio.cli.services import MOST_WRONG, OFF, table_of
from tests.cli.conftest import Run
from tests.support.catalog_desk import NOW, Desk, Served, endpoint, served, service, shop


@pytest.fixture
def desk() -> Desk:
    return shop()


@pytest.fixture
def there(desk: Desk, tmp_path: Path) -> Iterator[Served]:
    with served(desk, tmp_path / "control.sock") as made:
        yield made


def text_of(told: Any, width: int | None) -> str:
    return "".join(f"{line.text}\n" for line in table_of(told, NOW, width))


@pytest.mark.parametrize("width", [50, 80, None])
def test_the_table(desk: Desk, golden: Callable[[str, str], None], width: int | None) -> None:
    text = text_of(desk.catalog.services(ServicesWanted()), width)
    golden(f"services_{width or 'wide'}.txt", text)
    assert width is None or max(map(len, text.splitlines())) <= width


def test_colours_say_what_is_wrong(desk: Desk) -> None:
    desk.say("file", service("dead", endpoint("192.0.2.9", draining=True)))
    told = desk.catalog.services(ServicesWanted())
    colours = {
        line.text.split()[1]: line.colour for line in table_of(told, NOW, None) if "shop" not in line.text
    }
    assert colours == {"NAME": "", "web": "yellow", "dead": "red"}


def test_as_users_see_it(run: Run, there: Served) -> None:
    done = run("services", "--control", str(there.path))
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 6
    done = run("services", "--control", str(there.path), "--json", "-n", "shop", "--name", "ord*")
    (one,) = json.loads(done.stdout)
    assert one == {
        "namespace": "shop",
        "name": "orders",
        "source": "kubernetes",
        "level": "live",
        "vips": ["10.96.0.10"],
        "ports": [{"name": "http", "port": 80, "protocol": "http", "path": "relay", "why": ""}],
        "ready": 1,
        "endpoints": 4,
        "stale_since": 0.0,
        "headless": False,
        "external": "",
        "unheeded": [],
    }


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (["--source", "consul"], ["web"]),
        (["--level", "last_known"], ["web"]),
        (["--level", "static"], ["printer"]),
        (["--name", "*e*"], ["printer", "web", "legacy", "orders", "web"]),
        (["--namespace", "none"], []),
        (["--name", "[a-l]*"], ["legacy"]),
    ],
)
def test_what_is_chosen(run: Run, there: Served, asked: list[str], names: list[str]) -> None:
    done = run("services", "--control", str(there.path), "--json", *asked)
    assert [one["name"] for one in json.loads(done.stdout)] == names
    if not names:
        assert run("services", "--control", str(there.path), *asked).stdout == b"no services\n"


def test_ten_thousand_services_are_fetched_whole_and_soon(run: Run, tmp_path: Path) -> None:
    desk = Desk()
    many = [f"10.{at >> 8}.{at & 255}.1" for at in range(10_000)]
    desk.say("kubernetes", *(service(f"svc-{at}", endpoint(host)) for at, host in enumerate(many)))
    with served(desk, tmp_path / "control.sock") as there:
        began = time.monotonic()
        done = run("services", "--control", str(there.path), "--json")
        took_s = time.monotonic() - began
    names = [one["name"] for one in json.loads(done.stdout)]
    assert names == sorted(f"svc-{at}" for at in range(10_000))
    assert took_s < 10  # 0.8 s on a quiet machine


def test_wrong_usage(run: Run, there: Served) -> None:
    done = run("services", "--control", str(there.path), "--level", "good")
    assert done.returncode == 2
    assert b"last_known" in done.stderr
    assert run("services", "--control", str(there.path.with_name("none.sock"))).returncode == 3


def told_of(*ports: dict[str, Any]) -> Any:
    words = {"namespace": "a", "name": "b", "source": "file", "level": "live", "ready": 1, "endpoints": 1}
    more = {"vips": [], "external": "", "headless": False, "stale_since": 0.0, "unheeded": []}
    named = [{"name": "http", "port": 80, "protocol": "", **port} for port in ports]
    return {"services": [{**words, **more, "ports": named}], "total": 1}


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        ([{"path": "direct", "why": ""}], "direct -"),
        ([{"path": "direct", "why": ""}, {"path": "relay", "why": OFF}], "both -"),
        ([{"path": "direct", "why": ""}, {"path": "relay", "why": "full"}], "both full"),
        ([{"path": "relay", "why": "full"}], "relay full"),
        ([{"path": "direct", "why": "udp"}], "direct udp"),
        ([{"path": "pass", "why": "udp; full"}], "pass udp; full"),
        ([{"path": "relay", "why": OFF}, {"path": "refuse", "why": "udp; none"}], "both udp; none"),
    ],
)
def test_the_path_is_shown_where_it_might_be_direct(ports: list[dict[str, Any]], words: str) -> None:
    head, row = text_of(told_of(*ports), None).splitlines()
    assert head.split()[-2:] == ["PATH", "WHY"]
    assert " ".join(row.split()).endswith(words)
    assert "PATH" not in text_of(told_of({"path": "relay", "why": OFF}, {"path": "pass", "why": OFF}), None)


def test_wishes_that_are_wrong_are_said_below(desk: Desk) -> None:
    wrong = tuple(f"meshtrio.io/x{number} is wrong" for number in range(MOST_WRONG + 2))
    desk.say("file", service("bad", unheeded=wrong))
    told = desk.catalog.services(ServicesWanted(name="bad"))
    lines = table_of(told, NOW, None)
    assert lines[2].text == "not heeded of default/bad: meshtrio.io/x0 is wrong"
    assert lines[-1].text == "and 2 more wishes"
    assert len(lines) == 2 + MOST_WRONG + 1
