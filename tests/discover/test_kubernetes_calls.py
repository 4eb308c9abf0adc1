"""Ring 2, real sockets. A page and a watch, as one thread reads them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.catalog.kubernetes_answer import AnswerError, Batch, GoneError, Put, Skipped
from meshtrio.catalog.kubernetes_objects import Kind
from meshtrio.catalog.kubernetes_topic import APIS, Topic
from meshtrio.config.discovery import Kubernetes
from meshtrio.discover import kubernetes_calls
from meshtrio.discover.kubernetes_access import Access
from meshtrio.discover.kubernetes_calls import Calls, TooLargeError, WatchWish
from meshtrio.discover.kubernetes_client import Line
from tests.support.kubernetes import ApiServer, Wrong
from tests.support.kubernetes_objects import service
from tests.support.kubernetes_side import QUICK

SERVICES = APIS[Kind.SERVICE][0]


@pytest.fixture
def calls(config: Path) -> Iterator[Calls]:
    line = Line(Access(Kubernetes(kubeconfig=str(config))))
    yield Calls(line, Topic(Kind.SERVICE), QUICK)
    line.close()


def watched(calls: Calls, version: str) -> list[Batch]:
    batches: list[Batch] = []
    calls.watch(SERVICES, WatchWish(version, 1), batches.append)
    return batches


def test_pages_follow_each_other(api: ApiServer, calls: Calls) -> None:
    api.store.put("services", *(service(f"s{at}") for at in range(5)))
    names, more = [], ""
    for _ in range(3):
        page, roomy = calls.page(SERVICES, 2, more)
        names += [change.object.name for change in page.changes if isinstance(change, Put)]
        more = page.more
        assert roomy
    assert names == ["s0", "s1", "s2", "s3", "s4"]
    assert not more
    assert page.version == str(api.store.version)


def test_a_page_has_a_bound(api: ApiServer, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    api.store.put("services", *(service(f"s{at}") for at in range(300)))
    monkeypatch.setattr(kubernetes_calls, "PAGE_BYTES", 10_000)
    with pytest.raises(TooLargeError, match="more than 10000 bytes"):
        calls.page(SERVICES, 500, "")
    page, roomy = calls.page(SERVICES, 10, "")
    assert len(page.changes) == 10
    assert not roomy


def test_a_watch_says_at_once_that_it_has_begun(api: ApiServer, calls: Calls) -> None:
    assert watched(calls, str(api.store.version)) == [Batch([])]


def test_a_watch_gives_what_came_since(api: ApiServer, calls: Calls) -> None:
    api.store.put("services", service("old"))
    version = str(api.store.version)
    api.store.put("services", service("a"))
    api.store.delete("services", "old")
    batches = watched(calls, version)
    assert batches[0] == Batch([])
    assert len([change for batch in batches for change in batch.changes]) == 2
    assert batches[-1].version == str(api.store.version)


@pytest.mark.parametrize("in_stream", [True, False])
def test_a_forgotten_version(api: ApiServer, calls: Calls, in_stream: bool) -> None:
    api.store.compact()
    if not in_stream:
        api.fail(Wrong(410, "too old"))
    with pytest.raises(GoneError, match="too old"):
        watched(calls, "1")


def test_garbage_ends_a_watch_after_what_came_before_it(api: ApiServer, calls: Calls) -> None:
    version = str(api.store.version)
    api.store.put("services", service("a"), service("b"))
    api.garble = lambda line: b"<html>\n" if b'"b"' in line else line
    batches: list[Batch] = []
    with pytest.raises(AnswerError, match="a line of 6 bytes"):
        calls.watch(SERVICES, WatchWish(version, 1), batches.append)
    assert [change for batch in batches for change in batch.changes]


def test_a_line_has_a_bound(api: ApiServer, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_calls, "LINE_BYTES", 2000)
    version = str(api.store.version)
    large = service("large")
    large["metadata"]["annotations"] = {"a": "x" * 5000}
    api.store.put("services", large, service("small"))
    changes = [change for batch in watched(calls, version) for change in batch.changes]
    assert [type(change) for change in changes] == [Skipped, Put]
