"""`meshtrio discovery`: its tables and its JSON."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from meshtrio.cli.discovery import tables_of
from tests.cli.conftest import Run
from tests.support.catalog_desk import NOW, Desk, served, shop


@pytest.fixture
def desk() -> Desk:
    return shop()


@pytest.mark.parametrize("width", [60, None])
def test_the_tables(desk: Desk, golden: Callable[[str, str], None], width: int | None) -> None:
    lines = tables_of(desk.catalog.discovery(), NOW, width)
    golden(f"discovery_{width or 'wide'}.txt", "".join(f"{line.text}\n" for line in lines))


def test_colours_say_what_is_wrong(desk: Desk) -> None:
    colours = {
        line.text.split()[0]: line.colour
        for line in tables_of(desk.catalog.discovery(), NOW, None)
        if line.text
    }
    assert (colours["kubernetes"], colours["consul"], colours["file"]) == ("", "red", "")
    assert (colours["consul/watch"], colours["kubernetes/pods"]) == ("red", "yellow")


def test_an_error_that_is_over_is_not_shown(desk: Desk) -> None:
    stream = desk.hub.sink("consul").stream("watch")
    assert any("refused" in line.text for line in tables_of(desk.catalog.discovery(), NOW, None))
    stream.lives("7", NOW)
    assert not any("refused" in line.text for line in tables_of(desk.catalog.discovery(), NOW, None))


def test_no_sources() -> None:
    assert [line.text for line in tables_of(Desk().catalog.discovery(), NOW, 80)] == [
        "no sources are configured"
    ]


def test_as_users_see_it(run: Run, desk: Desk, tmp_path: Path) -> None:
    with served(desk, tmp_path / "control.sock") as there:
        done = run("discovery", "--control", str(there.path), "--json")
        assert run("discovery", "--control", str(there.path)).stdout.startswith(b"SOURCE ")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["levels"] == {"live": 3, "last_known": 1, "dns": 0, "static": 1}
    kubernetes, consul, _ = told["sources"]
    assert kubernetes == {
        "source": "kubernetes",
        "lost": False,
        "state": "live",
        "stale_since": 0.0,
        "streams": 1,
        "live": 1,
        "services": 3,
        "endpoints": 4,
    }
    assert (consul["lost"], consul["stale_since"], consul["live"]) == (True, NOW - 245, 0)
    assert told["streams"][0] == {
        "source": "consul",
        "name": "watch",
        "since": NOW - 245,
        "state": "retrying",
        "position": "",
        "last_event": 0.0,
        "events": 0,
        "errors": 1,
        "last_error": "the connection was refused",
        "skipped": 0,
        "last_skipped": "",
        "essential": True,
    }
