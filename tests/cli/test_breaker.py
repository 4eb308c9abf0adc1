"""`meshtrio breaker`: breakers as a table, and forced from the command line."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshtrio.balance.hearsay import Stand
from meshtrio.cli.breaker import settled, table_of
from meshtrio.messages import Observed
from tests.cli.conftest import Run
from tests.support.catalog_desk import Desk, Served, served, shop

NOW = 1000.0


@pytest.fixture
def desk() -> Desk:
    made = shop()
    stands = {
        "10.0.0.1": Stand(NOW - 4, True, NOW + 26, 1),
        "10.0.0.2": Stand(NOW - 400, True, NOW - 100, 5),
        "10.0.0.3": Stand(NOW - 50, False, 0.0, 2),
        "left": Stand(NOW - 4, True, NOW + 100, 3),
    }
    made.board.hear(made.fleet.seats[0], Observed({}, {"shop/orders:http": stands}))
    made.breakers.force("printer", "open")
    return made


@pytest.fixture
def there(desk: Desk, tmp_path: Path) -> Iterator[Served]:
    with served(desk, tmp_path / "control.sock") as made:
        yield made


@pytest.mark.parametrize("width", [60, 0])
def test_the_table(desk: Desk, width: int, golden: Callable[[str, str], None]) -> None:
    lines = table_of({**desk.breakers.listed(), "omitted": 7 if width else 0}, width or None)
    golden(f"breakers_{width or 'wide'}.txt", "".join(f"{line.text.rstrip()}\n" for line in lines))


def test_no_breaker_is_no_failure() -> None:
    (line,) = table_of({"breakers": [], "omitted": 0}, 80)
    assert line.text == "no endpoint has a breaker"


def test_a_second_that_passes_is_no_news(desk: Desk) -> None:
    told = desk.breakers.listed()
    later = {"breakers": [{**row, "since_s": 9} for row in told["breakers"]]}
    assert settled(told) == settled(later)
    later["breakers"][0]["state"] = "other"
    assert settled(told) != settled(later)


def test_as_users_do_it(run: Run, there: Served) -> None:
    socket = ("--control", str(there.path))
    done = run("breaker", "open", "shop/orders", "10.0.0.10:8080", "--port", "http", *socket, "--json")
    assert done.returncode == 0, done.stderr
    states = {row["endpoint"]: row["state"] for row in json.loads(done.stdout)["breakers"]}
    assert states == {
        "10.0.0.1": "open",
        "10.0.0.10": "forced_open",
        "10.0.0.2": "half_open",
        "10.0.0.3": "closed",
        "left": "open",
    }
    done = run("breaker", "list", "orders", *socket, "--json")
    assert {row["endpoint"]: row["state"] for row in json.loads(done.stdout)} == states
    done = run("breaker", "auto", "orders", *socket)
    assert (done.returncode, done.stdout) == (0, b"no endpoint has a breaker\n")
    done = run("breaker", "close", "orders", *socket)
    assert b"(all)" in done.stdout
    assert b"forced_closed" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["list", "ordrs"], 1, "there is no service ordrs; did you mean shop/orders?"),
        (["open", "web"], 1, "web is in 2 namespaces: default, shop (want one, as in default/web)"),
        (["open", "orders", "10.9.9.9"], 1, "shop/orders has no endpoint 10.9.9.9 (it has: 10.0.0.10:8080, "),
        (["auto", "orders", "--port", "x"], 1, "shop/orders has no port x (it has: http (80))"),
        (["open"], 2, "Missing argument 'SERVICE'"),
    ],
)
def test_what_is_not_there(run: Run, there: Served, words: list[str], code: int, said: str) -> None:
    done = run("breaker", *words, "--control", str(there.path))
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode().startswith(f"meshtrio: {said}")
    assert done.stderr.count(b"\n") == 1
