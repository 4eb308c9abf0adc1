"""Who answers what."""

import pytest

from meshtrio.web.message import HTTPException, Request, Response
from meshtrio.web.router import Route, Router


async def read(request: Request) -> Response:
    return Response(f"read {dict(request.path_params)}".encode())


async def write(request: Request) -> Response:
    return Response(f"write {dict(request.path_params)}".encode(), 201)


async def fail(request: Request) -> Response:
    raise ZeroDivisionError("secret")


async def refuse(request: Request) -> Response:
    raise HTTPException(429, "too many", {"Retry-After": "3"})


ROUTER = Router(
    [
        Route("/a", read, ["GET"]),
        Route("/a/{name}", read, ["GET"]),
        Route("/a/{name}", write, ["PUT", "DELETE"]),
        Route("/a/{space}/b.c/{name}", read, ["GET"]),
        Route("/fail", fail, ["POST"]),
        Route("/refuse", refuse, ["GET"]),
    ]
)


@pytest.mark.parametrize(
    ("method", "target", "said"),
    [
        ("GET", "/a", b"read {}"),
        ("HEAD", "/a?b=c", b"read {}"),
        ("GET", "/a/x", b"read {'name': 'x'}"),
        ("PUT", "/a/x%20y", b"write {'name': 'x y'}"),
        ("DELETE", "/a/..", b"write {'name': '..'}"),
        ("GET", "/a/x/b.c/y", b"read {'space': 'x', 'name': 'y'}"),
        ("GET", "/a/x%2Fb.c%2Fy", b"read {'space': 'x', 'name': 'y'}"),
        ("PUT", "/a/x%0a", b"write {'name': 'x\\n'}"),
    ],
)
async def test_path_and_method_find_who_answers(method: str, target: str, said: bytes) -> None:
    assert (await ROUTER(Request(method, target))).body == said


@pytest.mark.parametrize("target", ["/", "/b", "/a/", "/a/x/bXc/y", "/a/x/y", "//a", "*", ""])
async def test_a_path_that_nobody_knows(target: str) -> None:
    answer = await ROUTER(Request("GET", target))
    assert (answer.status, answer.body) == (404, b'{"error":"Not Found"}\n')


@pytest.mark.parametrize(
    ("target", "allowed"),
    [("/a", "GET, HEAD"), ("/a/x", "GET, HEAD, PUT, DELETE"), ("/fail", "POST")],
)
async def test_a_wrong_method_hears_of_all_right_ones(target: str, allowed: str) -> None:
    answer = await ROUTER(Request("BREW", target))
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)


async def test_a_refusal_is_told_with_its_headers() -> None:
    answer = await ROUTER(Request("GET", "/refuse"))
    assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
    assert answer.body == b'{"error":"too many"}\n'


async def test_a_bug_is_logged_and_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    answer = await ROUTER(Request("POST", "/fail"))
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "secret" in caplog.text
