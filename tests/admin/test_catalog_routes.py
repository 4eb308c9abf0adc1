"""World. The questions about the catalog, asked by a real client over a real socket, of both applications."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from meshtrio.admin.app import admin_app, control_app
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.control_client import Control
from tests.support.catalog_desk import Served, served, shop


@pytest.fixture(params=[admin_app, control_app], ids=["admin", "control"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    with served(shop(), tmp_path / "control.sock", request.param) as made:
        yield made


@pytest.fixture
def ask(there: Served) -> Callable[[str], Any]:
    return Control(str(there.path)).get


def test_what_is_answered(ask: Callable[[str], Any]) -> None:
    assert ask("/v1/services")["total"] == 5
    assert ask("/v1/services?namespace=shop&limit=1")["after"] == "shop/legacy"
    assert ask("/v1/services/shop/orders")["serving"]["total"] == 4
    assert ask("/v1/endpoints?service=orders&limit=2")["total"] == 4
    assert ask("/v1/endpoints?service=web&namespace=default")["endpoints"][0]["stale"] is True
    assert [one["source"] for one in ask("/v1/discovery")["sources"]] == ["kubernetes", "consul", "file"]


def test_a_cursor_leads_on(ask: Callable[[str], Any]) -> None:
    first = ask("/v1/endpoints?limit=4")
    second = ask(f"/v1/endpoints?limit=4&after={quote(first['after'])}")
    addresses = [one["address"] for page in (first, second) for one in page["endpoints"]]
    assert len(set(addresses)) == 6
    assert second["after"] == ""


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/services?limit=0", "/v1/services: Expected `int` >= 1 - at `$.limit`"),
        ("/v1/services?limit=1001", "Expected `int` <= 1000"),
        ("/v1/services?limit=many", "`$.limit`"),
        ("/v1/services?nmae=x", "unknown field `nmae`"),
        (f"/v1/services?name={'x' * 513}", "`$.name`"),
        ("/v1/endpoints?after=x", "`after` is no cursor"),
        ("/v1/endpoints?service=none", "there is no service none"),
        ("/v1/endpoints?service=web", "web is in 2 namespaces"),
        ("/v1/services/shop/none", "there is no service shop/none"),
        ("/v1/services/shop", "Not Found"),
    ],
)
def test_what_is_refused(ask: Callable[[str], Any], path: str, words: str) -> None:
    with pytest.raises(Complaint) as refused:
        ask(path)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/endpoints?service=none", 404), ("/v1/endpoints?service=web", 409), ("/v1/endpoints?limit=x", 400)],
)
def test_refusals_have_their_status(there: Served, path: str, status: int) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(there.path))
        line.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        assert line.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "path", ["/v1/services", "/v1/services/shop/orders", "/v1/endpoints", "/v1/discovery"]
)
def test_they_only_read(there: Served, path: str) -> None:
    with pytest.raises(Complaint, match="Method Not Allowed"):
        Control(str(there.path)).ask("POST", path)
