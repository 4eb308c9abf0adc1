"""Long answers, page by page, from a real control socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.cli import pages
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.control_client import Control
from meshtrio.cli.pages import fetched
from tests.support.catalog_desk import Desk, Served, endpoint, served, service


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Served]:
    desk = Desk()
    desk.say(
        "dns", *(service(f"s{at:02}", endpoint(f"10.0.0.{at}"), endpoint(f"10.0.1.{at}")) for at in range(25))
    )
    with served(desk, tmp_path / "control.sock") as made:
        yield made


@pytest.fixture
def agent(there: Served) -> Control:
    return Control(str(there.path))


@pytest.mark.parametrize("page", [1, 7, 25, 1000])
@pytest.mark.parametrize(("path", "count"), [("/v1/services", 25), ("/v1/endpoints", 50)])
def test_all_pages_are_read(
    agent: Control, monkeypatch: pytest.MonkeyPatch, page: int, path: str, count: int
) -> None:
    whole = fetched(agent, path, {})
    monkeypatch.setattr(pages, "PAGE", page)
    assert fetched(agent, path, {}) == whole
    assert (len(whole[path.rpartition("/")[2]]), whole["total"]) == (count, count)


@pytest.mark.parametrize("most", [1, 7, 8, 100])
def test_no_more_than_wanted(agent: Control, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(pages, "PAGE", 7)
    told = fetched(agent, "/v1/services", {}, most=most)
    assert [one["name"] for one in told["services"]] == [f"s{at:02}" for at in range(25)][:most]
    assert told["total"] == 25


def test_what_is_asked_is_passed_on(agent: Control) -> None:
    assert fetched(agent, "/v1/services", {"name": "s1?", "source": ""})["total"] == 10
    assert fetched(agent, "/v1/services", {"name": "a&limit=1 +%"})["total"] == 0
    with pytest.raises(Complaint, match="unknown field `colour`"):
        fetched(agent, "/v1/services", {"colour": "red"})
