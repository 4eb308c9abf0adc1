"""Shell. Questions to Consul as awaitable functions, over httpx on trio.

A question that blocks so costs a task and a connection, never a thread. Does not know when to ask, nor what
the answers mean.
"""

import functools
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio

from meshtrio.config.discovery import Consul
from meshtrio.config.environ import read_text
from meshtrio.config.fault import Faults
from meshtrio.discover.consul_wire import Api, Failed, Response, Why, Wire

ANSWER_BYTES = 32 << 20
ALL_ANSWERS_BYTES = 64 << 20
"""How large one answer may be, and all that are being read together. What is larger counts as a failure, is
asked for again later, and what was known holds."""
CONNECT_S = 5.0
SLACK_S = 10.0
"""How much longer than its wait a question may take. Consul itself adds up to a sixteenth."""

_INDEX = re.compile(r"[0-9]{1,20}")
_TOKEN = re.compile(r"[!-~]{1,4096}")


class Answer(msgspec.Struct, frozen=True):
    """An explicit answer: status 200, an index, and a body that is JSON."""

    index: int
    body: Any


class Question(msgspec.Struct, frozen=True):
    """Since which index news are wanted, and how long to wait for them (0 and 0: how it is now)."""

    index: int = 0
    wait_s: float = 0.0


class Client:
    """One Consul agent, as its settings say. Every question raises Failed if there is no explicit answer."""

    def __init__(
        self, settings: Consul, http: httpx.AsyncClient, beat: httpx.AsyncClient, tls: ssl.SSLContext | None
    ) -> None:
        """Use `opened`, which also closes."""
        self._settings = settings
        self._tls = tls
        self._beat = functools.partial(beat.stream, extensions={"trace": self._beat_traced})
        self.losses = 0
        """How often `leader`, which has a connection of its own, found that Consul had let go of it."""
        self._stands = self._opened = False
        self._reading_bytes = 0
        self._stamps: tuple[object, ...] = ()
        self._unusable = "its files have not been read"
        self.api = Api(Wire(functools.partial(self._exchanged, http.stream), settings), settings)
        self._beating = Api(Wire(self._beaten, settings), settings)

    async def leader(self) -> str:
        """Ask for the address of the leader of Consul's servers. Needs no token."""
        leader = await self._beating.status.leader()
        if not isinstance(leader, str) or not leader:
            raise Failed(Why.SERVER, "Consul has no leader")
        return leader[:100]

    async def services(self, question: Question, datacenter: str | None = None) -> Answer:
        """Ask which services there are."""
        return await self._asked(self.api.catalog.services, question, dc=datacenter)

    async def instances(self, name: str, question: Question, datacenter: str | None = None) -> Answer:
        """Ask for the instances of a service, with their checks."""
        return await self._asked(self.api.health.service, question, service=name, dc=datacenter)

    async def checks(self, question: Question) -> Answer:
        """Ask for all checks."""
        return await self._asked(self.api.health.state, question, name="any")

    async def _asked(self, ask: Callable[..., Awaitable[Any]], question: Question, **words: Any) -> Answer:
        if question.index:
            words |= {"index": question.index, "wait": f"{max(1, round(question.wait_s * 1000))}ms"}
        wait_s = question.wait_s if question.index else 0.0
        try:
            with trio.fail_after(wait_s * 17 / 16 + SLACK_S):
                index, body = await ask(**words)
        except trio.TooSlowError:
            raise Failed(Why.NETWORK, "no answer in time") from None
        if not isinstance(index, str) or not _INDEX.fullmatch(index) or not int(index):
            raise Failed(Why.GARBLED, "the answer has no index")
        return Answer(int(index), body)

    async def _beaten(self, *request: Any) -> Response:
        stood, self._stands, self._opened = self._stands, False, False
        response = await self._exchanged(self._beat, *request)
        self._stands = response.headers.get("Connection", "").lower() != "close"
        self.losses += stood and self._opened
        return response

    async def _beat_traced(self, event: str, _: Any) -> None:
        self._opened |= event == "connection.connect_tcp.complete"

    async def _exchanged(  # noqa: PLR0917
        self, stream: Callable[..., Any], method: str, uri: str, headers: Any, data: str
    ) -> Response:
        if self._unusable:
            raise Failed(Why.REFUSED, self._unusable)
        chunks, size = [], 0
        # Cancelled, and not left: httpx's generators would stay behind half-way, for the garbage collector.
        with trio.CancelScope() as too_large:
            try:
                async with stream(method, uri, headers=headers, content=data) as response:
                    async for chunk in response.aiter_raw():
                        size += len(chunk)
                        self._reading_bytes += len(chunk)
                        if size > ANSWER_BYTES or self._reading_bytes > ALL_ANSWERS_BYTES:
                            too_large.cancel()
                        else:
                            chunks.append(chunk)
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as cause:
                raise Failed(Why.NETWORK, self._plain(str(cause) or type(cause).__name__)) from None
            finally:
                self._reading_bytes -= size
        if too_large.cancel_called:
            raise Failed(Why.TOO_LARGE, f"the answer is larger than {ANSWER_BYTES >> 20} MB")
        body = b"".join(chunks)
        if response.status_code != 200:
            words = self._plain(body[:200].decode(errors="replace"))
            raise Failed(_why(response.status_code), f"{response.status_code} {words}")
        if response.headers.get("X-Consul-KnownLeader") == "false":
            # Consul's servers have lost each other, or one has just started and knows nothing yet.
            raise Failed(Why.SERVER, "Consul answers, but knows no leader")
        return Response(200, response.headers, body, body)

    def _plain(self, text: str) -> str:
        """Make someone else's words fit to be shown: one line, and without our token in it."""
        if self.api.token:
            text = text.replace(self.api.token, "***")
        return "".join(one if one.isprintable() else " " for one in text).strip()

    def files_changed(self) -> bool:
        """Say whether the token or the certificates are others than those in use."""
        return self._stamps != self._stamped()

    async def renew(self) -> bool:
        """Read token and certificates again, and say whether they are others than before.

        If they cannot be used, each question says why.
        """
        before = self._stamps, self._unusable, self.api.token
        self._stamps = self._stamped()
        token, self._unusable = await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
        self.api.token = token
        return before != (self._stamps, self._unusable, token)

    def _stamped(self) -> tuple[object, ...]:
        settings = self._settings
        stamps: list[object] = []
        for path in (settings.token_file, settings.ca_file, settings.cert_file, settings.key_file):
            try:
                status = Path(path).stat() if path else None
            except OSError:
                status = None
            stamps.append(status and (status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(stamps)

    def _read(self) -> tuple[str | None, str]:
        settings = self._settings
        token: str | None = None
        try:
            if settings.token_file:
                token = read_text(settings.token_file, 1 << 16).strip()
                if not _TOKEN.fullmatch(token):
                    # httpx would tell the whole of it in its error.
                    return None, f"{settings.token_file} has no token in it"
            if self._tls and settings.ca_file:
                self._tls.load_verify_locations(settings.ca_file)
            if self._tls and settings.cert_file:
                self._tls.load_cert_chain(settings.cert_file, settings.key_file or None, lambda: "")
        except Faults as unreadable:
            return None, str(unreadable.faults[0])
        except (OSError, ValueError) as cause:
            return None, f"the certificates cannot be used: {cause}"
        return token, ""


@asynccontextmanager
async def opened(settings: Consul) -> AsyncIterator[Client]:
    """Open a client, and close its connections in the end. Nothing is asked yet."""
    tls = None
    if settings.address.startswith("https:"):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not settings.ca_file:
            tls.load_default_certs()
    connections = settings.queries + 8
    async with _connections(connections, tls) as http, _connections(1, tls) as beat:
        client = Client(settings, http, beat, tls)
        await client.renew()
        yield client


def _connections(most: int, tls: ssl.SSLContext | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=tls or False,
        trust_env=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "meshtrio"},
        timeout=httpx.Timeout(None, connect=CONNECT_S),
        limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
    )


def _why(status: int) -> Why:
    if status in (401, 403):
        return Why.REFUSED
    return Why.MISSING if status == 404 else Why.SERVER
