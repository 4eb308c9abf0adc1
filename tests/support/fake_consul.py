"""Shell. As much of Consul's HTTP API as we ask for, to misbehave as a real one cannot be made to.

async with fake() as consul:
    consul.become(web=[instance("1")])
    consul.fault = lambda path: b"HTTP/1.1 500 x\r\n\r\n" if "health" in path else None
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio


def instance(id_: str = "1", *, status: str = "passing", **service: Any) -> Any:
    return {
        "Node": {"Node": "n", "Datacenter": "dc1", "Address": "10.0.0.1"},
        "Service": {"ID": id_, "Port": 80, **service},
        "Checks": [{"Status": status}],
    }


def reply(body: Any, *, index: object = 1, status: int = 200, **headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(raw)}"]
    lines += [] if index is None else [f"X-Consul-Index: {index}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + raw


class FakeConsul:
    """What it knows, by datacenter ("": its own), and how it is wrong."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.known: dict[str, dict[str, Any]] = {"": {}}
        self.index = 10
        self.leader = "127.0.0.1:8300"
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.tokens: list[str] = []
        self.fault: Callable[[str], bytes | None] = lambda path: None
        """What is answered instead, by path (and "?dc=..."); b"" means that the connection is closed."""
        self.late_s = 0.0
        self.most_blocked = 0
        self._blocked = 0
        self._indexes: dict[str, int] = {}
        self._changed = trio.Event()

    def become(self, datacenter: str = "", **services: Any) -> None:
        """Know these services, and let those who block hear of it."""
        self.index += 1
        before = self.known.get(datacenter, {})
        if not datacenter:
            changed = {name for name in before.keys() | services if before.get(name) != services.get(name)}
            self._indexes.update(dict.fromkeys(changed, self.index))
        self.known[datacenter] = services
        self.wake()

    def wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def times(self, path: str) -> int:
        return sum(one == path for one, _ in self.asked)

    async def serve(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        try:
            async with stream:
                kept = b""
                while True:
                    while b"\r\n\r\n" not in kept:
                        some = await stream.receive_some(65536)
                        if not some:
                            return
                        kept += some
                    head, _, kept = kept.partition(b"\r\n\r\n")
                    answer = await self._answer(head.decode())
                    await stream.send_all(answer)
                    if b"Content-Length: " not in answer or b"Close: 1" in answer:
                        return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _answer(self, head: str) -> bytes:
        lines = head.split("\r\n")
        url = urlsplit(lines[0].split()[1])
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        self.tokens += [line.split(": ")[1] for line in lines if line.lower().startswith("x-consul-token")]
        self.asked.append((url.path, query))
        await trio.sleep(self.late_s)
        name = url.path.rpartition("/")[2] if "/health/service/" in url.path else ""
        about = url.path + (f"?dc={query['dc']}" if "dc" in query else "")
        asked = int(query.get("index", 0))
        ends = trio.current_time() + float(query.get("wait", "0ms").removesuffix("ms")) / 1000
        self._blocked += bool(asked)
        self.most_blocked = max(self.most_blocked, self._blocked)
        with trio.move_on_at(ends):
            while 0 < asked >= self._index_of(name) and self.fault(about) is None:
                await self._changed.wait()
        self._blocked -= bool(asked)
        services = self.known.get(query.get("dc", ""), {})
        fault = self.fault(about)
        if fault is not None:
            return fault
        if url.path == "/v1/status/leader":
            return reply(self.leader)
        if url.path == "/v1/catalog/services":
            return reply({name: [] for name in ["consul", *services]}, index=self.index)
        if url.path == "/v1/health/state/any":
            return reply([], index=self.index)
        return reply(services.get(name, []), index=self._index_of(name))

    def _index_of(self, name: str) -> int:
        """Each service has an index of its own, so that news of others do not end the wait for its."""
        return self._indexes.get(name, 10) if name else self.index


@asynccontextmanager
async def fake(tls: Any = None) -> AsyncIterator[FakeConsul]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        consul = FakeConsul(listeners[0].socket.getsockname()[1])
        if tls is None:
            nursery.start_soon(trio.serve_listeners, consul.serve, listeners)
        else:
            consul.address = consul.address.replace("http:", "https:")
            secure = [trio.SSLListener(one, tls, https_compatible=True) for one in listeners]
            nursery.start_soon(trio.serve_listeners, consul.serve, secure)
        yield consul
        nursery.cancel_scope.cancel()
