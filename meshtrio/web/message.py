"""Core. An HTTP request and its answer, as those see them who answer. Does not know how they travel."""

from collections.abc import AsyncGenerator, Callable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import msgspec


class Disconnected(Exception):
    """The caller went away, or spoke no more HTTP, before its request was whole."""


class HTTPException(Exception):
    """An answer that is an error: its status, one sentence, and headers besides."""

    def __init__(self, status: int, sentence: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Without a sentence it is the status's own phrase."""
        self.status = status
        self.sentence = sentence or HTTPStatus(status).phrase
        self.headers = dict(headers or {})
        super().__init__(self.sentence)


class Caller(msgspec.Struct, frozen=True):
    """Who asks, as far as the connection tells."""

    host: str = ""
    """Its IP address; empty over a Unix socket."""
    certificate: bytes | None = None
    """What it has shown in the TLS handshake (DER)."""


async def _nothing() -> AsyncGenerator[bytes, None]:
    for piece in list[bytes]():
        yield piece


class Request(msgspec.Struct, frozen=True):
    """One request. Its body comes as it is read, once."""

    method: str
    target: str
    """As it was written: percent-encoded, with the query."""
    headers: Mapping[str, str] = {}
    """By names in lower case, read as Latin-1; of several of one name the last."""
    caller: Caller = Caller()
    stream: Callable[[], AsyncGenerator[bytes, None]] = _nothing
    """Gives the body in pieces. Raises Disconnected if it ends early."""
    path_params: Mapping[str, str] = {}

    @property
    def path(self) -> str:
        """Give the path, percent-decoded."""
        return unquote(self.target.partition("?")[0])

    @property
    def query_params(self) -> dict[str, str]:
        """Give the query's parameters; of several of one name the last."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


class Response(msgspec.Struct, frozen=True):
    """One answer, whole."""

    body: bytes
    status: int = 200
    media_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = {}
    """Besides those of its body."""


def encode(value: object) -> bytes:
    """Write a value as JSON, with outcomes by their words and paths as text."""
    return msgspec.json.encode(value, enc_hook=str)


def answer_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a value as JSON."""
    return Response(encode(value) + b"\n", status, "application/json", headers or {})


def answer_error(error: HTTPException) -> Response:
    """Answer with an error: JSON with one sentence, which stands in the `x-meshtrio-error` header too."""
    # What a client may have put into the sentence must not be able to end the header.
    shown = "".join(sign if " " <= sign <= "~" else "?" for sign in error.sentence.replace("\n", " "))
    headers = {**error.headers, "x-meshtrio-error": shown[:500].strip()}
    return answer_json({"error": error.sentence}, error.status, headers)
