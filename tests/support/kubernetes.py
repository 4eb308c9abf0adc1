"""Shell. A small faithful Kubernetes API server on loopback, and all the ways in which a real one fails.

Real HTTP/1.1 (TLS if wanted), real paging, real chunked watches with bookmarks, one thread a connection. What
it knows stands in `store`; what it shall do wrong is said by its methods, and asked of each request anew.
"""

import contextlib
import itertools
import json
import re
import socket
import socketserver
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple, Self

from tests.support.kubernetes_store import ExpiredError, Key, Store

SLICES = "discovery.k8s.io"

_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[a-z0-9.]+)/(?P<version>v[a-z0-9]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?"
)
_LIST_KIND = {
    "services": "ServiceList",
    "endpointslices": "EndpointSliceList",
    "endpoints": "EndpointsList",
    "pods": "PodList",
    "namespaces": "NamespaceList",
}


class Request(NamedTuple):
    """One request, as the server understood it."""

    path: str
    resource: str
    namespace: str
    query: dict[str, str]
    token: str

    @property
    def watches(self) -> bool:
        return self.query.get("watch") in ("1", "true")

    @property
    def lists(self) -> bool:
        return bool(self.resource) and not self.watches


class Requests(list[Request]):
    """All requests so far."""

    def count_of(self, resource: str) -> int:
        return sum(request.resource == resource for request in self)

    def lists_of(self, resource: str) -> int:
        """Count those that began a list."""
        return sum(one.resource == resource and one.lists and "continue" not in one.query for one in self)

    def watches_of(self, resource: str) -> "list[Request]":
        return [one for one in self if one.resource == resource and one.watches]


class Wrong(NamedTuple):
    """What to answer instead of the truth."""

    status: int
    message: str = "a test wants it so"
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    """The body, if it shall be no Status."""


class ApiServer:
    """A server, serving while the block lasts. All may be called from any thread."""

    def __init__(self, *, slices: tuple[str, ...] = ("v1",), tls: ssl.SSLContext | None = None) -> None:
        self.store = Store()
        self.slices = slices
        """The versions of discovery.k8s.io that it serves."""
        self.tokens: set[str] | None = None
        """Which bearer tokens it takes; None: any, and none."""
        self.forbidden: Callable[[Request], bool] = lambda _: False
        self.echo = False
        """Whether it repeats the token that it was shown when it forbids something."""
        self.readyz = Wrong(200, raw=b"ok")
        self.bookmark_s = 60.0
        self.chop: int | None = None
        """Into how small chunks a watch is cut; None: a chunk an event, as the real one does."""
        self.garble: Callable[[bytes], bytes] = lambda line: line
        """Makes of each line of a watch what is sent."""
        self.requests = Requests()
        self.accounts: dict[str, Any] = {}
        """The `status` of the TokenReview of each token; others are not authenticated."""
        self.watching = 0
        """How many watches there are at the moment."""
        self._tls = tls
        self._wrongs: list[tuple[Callable[[Request], bool], Iterator[Wrong]]] = []
        self._listener: _Listener | None = None
        self._sockets: set[socket.socket] = set()
        self._torn = 0
        self._flowing = threading.Event()
        self._flowing.set()
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve, at the same port as before if it served before."""
        self._listener = _Listener(("127.0.0.1", self.port), self, self._tls)
        self.port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), name="api-server").start()

    def stop(self) -> None:
        """End as a killed server does: listener and connections are closed, and its threads have ended."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.shutdown()
        listener.socket.close()
        self.thaw()
        self.tear()
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        listener.server_close()

    def freeze(self) -> None:
        """Fall silent, as behind a broken network: connections stand, and nothing comes."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Speak again."""
        self._flowing.set()

    def tear(self) -> None:
        """Cut every watch in the middle of a chunk."""
        with self.store.changed:
            self._torn += 1
            self.store.changed.notify_all()

    def fail(self, wrong: Wrong, times: int = 1, *, when: Callable[[Request], bool] = lambda _: True) -> None:
        """Answer the next so many requests of a sort wrong."""
        self._wrongs.append((when, itertools.repeat(wrong, times)))

    def stop_failing(self) -> None:
        """Answer all requests right."""
        self._wrongs.clear()

    def wrong_for(self, request: Request) -> Wrong | None:
        if not request.resource:
            return None
        for when, wrongs in list(self._wrongs):
            if when(request) and (wrong := next(wrongs, None)):
                return wrong
        if self.tokens is not None and request.token not in self.tokens:
            return Wrong(401, "Unauthorized")
        if self.forbidden(request):
            who = request.token if self.echo else "test"
            return Wrong(403, f'{request.resource} is forbidden: User "{who}" cannot list them')
        return None

    def serves(self, group: str | None, version: str | None, resource: str) -> bool:
        if group is None:
            return resource in _LIST_KIND and resource != "endpointslices"
        return group == SLICES and version in self.slices and resource == "endpointslices"


class _Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 64
    daemon_threads = False

    def __init__(self, address: tuple[str, int], server: ApiServer, tls: ssl.SSLContext | None) -> None:
        self.api = server
        self._tls = tls
        super().__init__(address, _Connection)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection. In its own thread, so that a slow handshake hinders no other."""
        with contextlib.suppress(OSError):
            request.settimeout(60)
            if self._tls is not None:
                request = self._tls.wrap_socket(request, server_side=True)
            self.api._sockets.add(request)
            try:
                super().finish_request(request, client_address)
            finally:
                self.api._sockets.discard(request)
                request.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are what the tests are about."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        token = (self.headers["Authorization"] or "").partition(" ")[2].strip()
        match = _PATH.fullmatch(url.path)
        found = match.groupdict() if match else {}
        request = Request(url.path, found.get("resource") or "", found.get("namespace") or "", query, token)
        api = self.server.api
        api.requests.append(request)
        self._flow()
        wrong = api.wrong_for(request)
        if wrong is not None:
            self._answer_wrong(wrong)
        elif url.path == "/readyz":
            self._answer_wrong(api.readyz)
        elif not match or not api.serves(found["group"], found["version"], request.resource):
            self._answer(404, b"404 page not found\n", "text/plain")
        elif found["name"]:
            self._one(request, (request.namespace, found["name"]))
        elif request.watches:
            self._watch(request)
        else:
            self._list(request)

    def do_POST(self) -> None:
        """Review a token, as authentication.k8s.io/v1 does it."""
        url = urllib.parse.urlsplit(self.path)
        token = (self.headers["Authorization"] or "").partition(" ")[2].strip()
        api = self.server.api
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = Request(url.path, "tokenreviews", "", {}, token)
        api.requests.append(request)
        self._flow()
        wrong = api.wrong_for(request)
        if wrong is not None:
            self._answer_wrong(wrong)
        elif url.path != "/apis/authentication.k8s.io/v1/tokenreviews":
            self._answer(404, b"404 page not found\n", "text/plain")
        else:
            status = dict(api.accounts.get(asked["spec"]["token"], {"error": "invalid bearer token"}))
            of_token = status.pop("audiences", [])
            if status.get("authenticated"):
                status["audiences"] = [one for one in asked["spec"]["audiences"] if one in of_token]
                if not status["audiences"]:
                    status = {"error": "token audiences do not fit"}
            self._answer(201, json.dumps(asked | {"status": status}).encode())

    def _one(self, request: Request, key: Key) -> None:
        with self.server.api.store.changed:
            raws = self.server.api.store.page(request.resource, request.namespace, None, 0).raws
        for raw in raws:
            if json.loads(raw)["metadata"]["name"] == key[1]:
                self._answer(200, raw)
                return
        self._answer(404, _status(404, f'{request.resource} "{key[1]}" not found'))

    def _flow(self) -> None:
        """Wait while the server is frozen."""
        while not self.server.api._flowing.wait(0.05):
            if self.server.api._listener is None:
                raise ConnectionAbortedError

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer_wrong(self, wrong: Wrong) -> None:
        body = _status(wrong.status, wrong.message) if wrong.raw is None else wrong.raw
        self.send_response(wrong.status)
        for header in wrong.headers:
            self.send_header(*header)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _list(self, request: Request) -> None:
        store = self.server.api.store
        after: Key | None = None
        only = request.query.get("fieldSelector", "").partition("metadata.name=")[2]
        node = request.query.get("fieldSelector", "").partition("spec.nodeName=")[2]
        version = 0
        with store.changed:
            if "continue" in request.query:
                version, namespace, name = json.loads(request.query["continue"])
                after = (namespace, name)
                if version < store.compacted:
                    self._answer(410, _status(410, "The provided continue parameter is too old"))
                    return
            listed = store.page(
                request.resource, request.namespace, after, int(request.query.get("limit", "0"))
            )
        raws = listed.raws
        if only:
            raws = [raw for raw in raws if json.loads(raw)["metadata"]["name"] == only]
        if node:
            raws = [raw for raw in raws if json.loads(raw)["spec"].get("nodeName") == node]
        meta: dict[str, object] = {"resourceVersion": str(version or listed.version)}
        if listed.last:
            meta |= {
                "continue": json.dumps([version or listed.version, *listed.last]),
                "remainingItemCount": listed.left,
            }
        head = {"kind": _LIST_KIND[request.resource], "apiVersion": "v1", "metadata": meta}
        self._answer(200, json.dumps(head).encode()[:-1] + b',"items":[' + b",".join(raws) + b"]}\n")

    def _watch(self, request: Request) -> None:
        api, store = self.server.api, self.server.api.store
        ends = time.monotonic() + float(request.query.get("timeoutSeconds", "1800"))
        version = int(request.query.get("resourceVersion") or store.version)
        only = request.query.get("fieldSelector", "").partition("metadata.name=")[2]
        torn, bookmarked = api._torn, time.monotonic()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        api.watching += 1
        try:
            while api._torn == torn and (now := time.monotonic()) < ends:
                lines = []
                with store.changed:
                    try:
                        changes = store.since(request.resource, request.namespace, version)
                    except ExpiredError:
                        gone = _status(410, "too old resource version")
                        self._send(b'{"type":"ERROR","object":%s}\n' % gone)
                        break
                    if not changes and now - bookmarked < api.bookmark_s:
                        store.changed.wait(min(ends - now, api.bookmark_s - (now - bookmarked)))
                        continue
                    reached = store.version
                for change in changes:
                    version = change.version
                    if not only or change.key[1] == only:
                        lines.append(b'{"type":"%s","object":%s}\n' % (change.type.encode(), change.raw))
                if not changes and request.query.get("allowWatchBookmarks") == "true":
                    bookmarked, version = now, reached
                    meta = b'{"kind":"X","apiVersion":"v1","metadata":{"resourceVersion":"%d"}}' % version
                    lines.append(b'{"type":"BOOKMARK","object":%s}\n' % meta)
                for line in lines:
                    self._send(api.garble(line))
            if api._torn != torn:
                self.wfile.write(b'40\r\n{"type":"MODIFIED","object":{"kind"')
                self.close_connection = True
                return
            self.wfile.write(b"0\r\n\r\n")
        finally:
            api.watching -= 1

    def _send(self, line: bytes) -> None:
        self._flow()
        size = self.server.api.chop or len(line)
        for at in range(0, len(line), size):
            part = line[at : at + size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))


def _status(code: int, message: str) -> bytes:
    reason = {401: "Unauthorized", 403: "Forbidden", 410: "Expired", 429: "TooManyRequests"}
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return json.dumps(
        status | {"message": message, "reason": reason.get(code, "InternalError"), "code": code}
    ).encode()
