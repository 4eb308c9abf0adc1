"""Ring 1. What an API server answers, whole, cut anywhere, and broken in every way."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.catalog.kubernetes_answer import (
    AnswerError,
    Batch,
    Deleted,
    GoneError,
    Lines,
    Put,
    Skipped,
    TooLong,
    complaint,
    read_lines,
    read_page,
)
from meshtrio.catalog.kubernetes_objects import Kind
from tests.support.kubernetes_objects import namespace, service


def one(name: str, version: int) -> dict[str, Any]:
    made = service(name)
    made["metadata"] |= {"resourceVersion": str(version), "uid": f"uid-{name}"}
    return made


def page(items: Any, **meta: str) -> bytes:
    return json.dumps({"kind": "ServiceList", "metadata": meta, "items": items}).encode()


def line(kind: str, thing: Any) -> bytes:
    return json.dumps({"type": kind, "object": thing}).encode()


def test_a_page_says_objects_version_and_that_there_is_more() -> None:
    read = read_page(Kind.SERVICE, page([one("a", 3), one("b", 5)], resourceVersion="9", **{"continue": "x"}))
    assert [change.object.name for change in read.changes if isinstance(change, Put)] == ["a", "b"]
    assert (read.version, read.more) == ("9", "x")


@pytest.mark.parametrize("items", [[], None])
def test_an_empty_page_is_a_page(items: Any) -> None:
    assert read_page(Kind.SERVICE, page(items, resourceVersion="9")) == ([], "9", "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b'{"items":[]}',
        b'{"metadata":{}}',
        b'{"metadata":{},"items":3}',
        b"\xff",
    ],
)
def test_what_is_no_list_is_not_taken_for_an_empty_one(body: bytes) -> None:
    with pytest.raises(AnswerError, match=f"{len(body)} bytes"):
        read_page(Kind.SERVICE, body)


def test_poison_in_a_page_is_named_and_the_rest_is_taken() -> None:
    poison = {
        "metadata": {"name": "bad", "namespace": "default", "resourceVersion": "4"},
        "spec": {"ports": 7},
    }
    read = read_page(Kind.SERVICE, page([one("a", 3), poison, one("b", 5)], resourceVersion="9"))
    (skipped,) = [change for change in read.changes if isinstance(change, Skipped)]
    assert skipped.key == "default/bad"
    assert "default/bad" in skipped.why
    assert len(read.changes) == 3


def test_events_become_changes_in_their_order() -> None:
    batch = read_lines(
        Kind.SERVICE,
        [line("ADDED", one("a", 3)), line("MODIFIED", one("a", 5)), line("DELETED", one("a", 8))],
    )
    first, second, third = batch.changes
    assert isinstance(first, Put)
    assert isinstance(second, Put)
    assert (first.object.version, second.object.version) == ("3", "5")
    assert third == Deleted("default", "a", "uid-a", "8")
    assert (batch.version, batch.trouble) == ("8", None)


def test_a_bookmark_only_says_how_far_we_are() -> None:
    mark = {"kind": "Service", "metadata": {"resourceVersion": "77", "creationTimestamp": None}}
    assert read_lines(Kind.SERVICE, [line("BOOKMARK", mark)]) == Batch([], "77", None)


def test_a_deletion_needs_only_the_name() -> None:
    poison = {"metadata": {"name": "bad", "namespace": "shop", "resourceVersion": "4"}, "spec": "nonsense"}
    batch = read_lines(Kind.SERVICE, [line("DELETED", poison)])
    assert batch == Batch([Deleted("shop", "bad", "", "4")], "4", None)
    nameless = read_lines(Kind.SERVICE, [line("DELETED", {"metadata": {}})])
    assert [type(change) for change in nameless.changes] == [Skipped]


def test_a_deleted_namespace_is_in_none() -> None:
    gone = namespace("shop") | {"kind": "Namespace"}
    batch = read_lines(Kind.NAMESPACE, [line("DELETED", gone)])
    assert batch.changes == [Deleted("", "shop", "", "")]


def test_poison_in_a_watch_is_skipped_and_its_version_counts() -> None:
    poison = {"metadata": {"name": "bad", "namespace": "x", "resourceVersion": "4"}, "spec": {"ports": 7}}
    batch = read_lines(Kind.SERVICE, [line("ADDED", poison)])
    assert [type(change) for change in batch.changes] == [Skipped]
    assert (batch.version, batch.trouble) == ("4", None)
    assert [type(c) for c in read_lines(Kind.SERVICE, [line("ADDED", 3)]).changes] == [Skipped]
    assert [type(c) for c in read_lines(Kind.SERVICE, [line("NEW", one("a", 1))]).changes] == [Skipped]


def test_what_came_before_the_trouble_is_taken_and_nothing_after() -> None:
    for broken in (b'{"type":"ADDED","obj', b"[]", b"\xff", b'{"type":3,"object":{}}'):
        batch = read_lines(Kind.SERVICE, [line("ADDED", one("a", 3)), broken, line("ADDED", one("b", 4))])
        assert len(batch.changes) == 1
        assert batch.version == "3"
        assert isinstance(batch.trouble, AnswerError)


def status(code: int, message: str, reason: str = "Expired") -> dict[str, Any]:
    return {"kind": "Status", "code": code, "message": message, "reason": reason}


def test_errors_in_the_stream() -> None:
    gone = read_lines(Kind.SERVICE, [line("ERROR", status(410, "too old resource version: 1 (9)"))])
    assert isinstance(gone.trouble, GoneError)
    assert "too old resource version" in str(gone.trouble)
    other = read_lines(Kind.SERVICE, [line("ERROR", status(500, "etcd is away", "InternalError"))])
    assert isinstance(other.trouble, AnswerError)
    assert "InternalError: etcd is away" in str(other.trouble)
    odd = read_lines(Kind.SERVICE, [line("ERROR", {"what": 1})])
    assert isinstance(odd.trouble, AnswerError)


def test_a_version_of_the_future_is_a_forgotten_one() -> None:
    words = "Timeout: Too large resource version: 99, current: 3"
    assert complaint(json.dumps(status(504, words, "Timeout")).encode())[0] == 410


@pytest.mark.parametrize(
    "body", [b"", b"Bad Gateway", b'{"kind":"Pod"}', b"\xff", b'{"kind":"Status","code":"x"}']
)
def test_what_is_no_complaint_says_nothing(body: bytes) -> None:
    assert complaint(body) == (0, "")


def test_a_complaint_is_short_and_one_line() -> None:
    code, words = complaint(json.dumps(status(403, "a\nb" + "x" * 1000, "Forbidden")).encode())
    assert code == 403
    assert words.startswith("Forbidden: a b")
    assert len(words) == 200


@given(
    st.lists(st.binary(max_size=12).map(lambda raw: raw.replace(b"\n", b"-")), max_size=12),
    st.lists(st.integers(0, 80), max_size=12),
)
def test_lines_are_the_same_wherever_they_are_cut(texts: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(text + b"\n" for text in texts)
    want = [TooLong(len(text), 8) if len(text) > 8 else text for text in texts if text]
    assert Lines(8).feed(whole) == want
    lines = Lines(8)
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    got = [found for low, high in itertools.pairwise(edges) for found in lines.feed(whole[low:high])]
    assert got == want
    assert [found for at in range(len(whole)) for found in Lines(8).feed(whole[at:at])] == []


def test_a_line_that_is_too_long_is_not_kept() -> None:
    lines = Lines(1000)
    for _ in range(1000):
        assert lines.feed(b"x" * 500) == []
        assert sum(map(len, lines._parts)) <= 1000
    assert lines.feed(b"\nab\n") == [TooLong(500_000, 1000), b"ab"]


def test_a_line_that_is_too_long_is_counted() -> None:
    batch = read_lines(Kind.SERVICE, [TooLong(9_000_000, 8_000_000), line("ADDED", one("a", 3))])
    skipped = batch.changes[0]
    assert isinstance(skipped, Skipped)
    assert "9000000" in skipped.why
    assert batch.version == "3"
