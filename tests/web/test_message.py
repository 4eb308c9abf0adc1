"""Requests and answers as values."""

from http.client import parse_headers
from io import BytesIO
from pathlib import Path

import pytest

from meshtrio.outcome import Outcome
from meshtrio.web.message import HTTPException, Request, answer_error, encode


def test_what_json_does_not_know_is_written_as_text() -> None:
    assert encode({"outcome": Outcome.LIMIT, "path": Path("/x"), "error": ValueError("v")}) == (
        b'{"outcome":"limit","path":"/x","error":"v"}'
    )


@pytest.mark.parametrize(
    ("target", "path", "params"),
    [
        ("/", "/", {}),
        ("/a%20b?c", "/a b", {"c": ""}),
        ("/a?b=c&b=d&e=%26+%3d", "/a", {"b": "d", "e": "& ="}),
        ("/a?b=c?d", "/a", {"b": "c?d"}),
        ("/%ff", "/\ufffd", {}),
        ("*", "*", {}),
    ],
)
def test_a_target_is_a_path_and_a_query(target: str, path: str, params: dict[str, str]) -> None:
    request = Request("GET", target)
    assert (request.path, request.query_params) == (path, params)


async def test_a_request_has_no_body_unless_one_is_given() -> None:
    assert [some async for some in Request("GET", "/").stream()] == []


def test_an_error_without_a_sentence_says_its_phrase() -> None:
    assert HTTPException(404).sentence == "Not Found"


def test_an_error_keeps_its_headers_and_no_sentence_can_end_one() -> None:
    error = HTTPException(401, "no\r\nX-Y: z, für uns\0", {"WWW-Authenticate": "Bearer"})
    answer = answer_error(error)
    assert (answer.status, answer.media_type) == (401, "application/json")
    wire = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items()) + "\r\n"
    read = parse_headers(BytesIO(wire.encode("ascii")))
    assert dict(read) == {"WWW-Authenticate": "Bearer", "x-meshtrio-error": "no? X-Y: z, f?r uns?"}


def test_the_header_of_an_error_is_bounded() -> None:
    answer = answer_error(HTTPException(400, "x" * 10_000))
    assert len(answer.headers["x-meshtrio-error"]) == 500
    assert len(answer.body) > 10_000
