"""Shell. A program that serves pages and fetches them, and knows nothing of the mesh. It does as it is told.

Run as `python -S -E pages.py CGROUP`: it enters the cgroup before it makes its first socket, reads one JSON
order a line and writes one JSON answer a line. A page says at which address it was fetched. Names are looked
up anew for each fetch, by the C library, as any program does.
"""

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import time
from typing import Any

PATIENCE_S = 10.0
listeners: dict[tuple[str, int], socket.socket] = {}
health: dict[str, int] = {}
visited: list[tuple[float, str]] = []
going: dict[str, Any] = {}


def named(failed: OSError) -> str:
    if isinstance(failed, socket.gaierror):
        return f"no address: {failed.strerror}"
    if isinstance(failed, TimeoutError) and failed.errno is None:
        return "silence"
    return errno.errorcode.get(failed.errno or 0, str(failed))


# What it serves


def serve(host: str, port: int) -> Any:
    """Serve pages there; 0.0.0.0 serves on every address that nobody else listens on."""
    listener = socket.create_server((host, port), backlog=1024)
    listeners[host, port] = listener
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    return {}


def serve_no_more(host: str, port: int) -> Any:
    listener = listeners.pop((host, port))
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    return {}


def fall_ill(ip: str, status: int) -> Any:
    """Let /health at this address answer with this status; pages are served on."""
    health[ip] = status
    return {}


def visits() -> Any:
    """Say when and where connections came whose first request was for a page, since this was asked last."""
    seen = visited[:]
    del visited[: len(seen)]
    return {"visits": seen}


def accept(listener: socket.socket) -> None:
    while True:
        try:
            made, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=converse, args=(made, time.monotonic()), daemon=True).start()


def converse(made: socket.socket, began: float) -> None:
    ip, first = made.getsockname()[0], True
    with made, contextlib.suppress(OSError):
        while True:
            head = until(made, b"\r\n\r\n").decode()
            if not head:
                return
            path = head.split()[1]
            status = health.get(ip, 200) if path == "/health" else 200
            if first and path != "/health":
                visited.append((began, ip))
            first = False
            body = ip.encode()
            made.sendall(b"HTTP/1.1 %d so\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
            if "Connection: close" in head:
                return


def until(made: socket.socket, end: bytes) -> bytes:
    heard = b""
    while end not in heard:
        more = made.recv(4096)
        if not more:
            return b""
        heard += more
    return heard


# What it fetches


def connected(host: str, port: int, patience: float = PATIENCE_S) -> socket.socket:
    made = socket.create_connection((host, port), patience)
    made.settimeout(patience)
    return made


def page(made: socket.socket, host: str, more: str) -> str:
    made.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: {more}\r\n\r\n".encode())
    head, _, body = until(made, b"\r\n\r\n").partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        return "EOF"
    length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += made.recv(4096)
    return body.decode()


def fetch(host: str, port: int = 80, patience: float = PATIENCE_S) -> Any:
    """Fetch one page, and say who gave it; or what went wrong."""
    began = time.monotonic()
    try:
        with connected(host, port, patience) as made:
            who = page(made, host, "close")
    except OSError as failed:
        who = named(failed)
    return {"who": who, "took_s": time.monotonic() - began}


def look_up(name: str) -> Any:
    """Say which addresses a name has."""
    try:
        found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    except OSError as failed:
        return {"error": named(failed)}
    return {"addresses": sorted({one[4][0] for one in found})}


# What goes on by itself


def keep_fetching(name: str, host: str, port: int = 80, every: float = 0.04) -> Any:
    """Fetch a page every so often, each in a thread of its own, until `fetched` with `end`."""
    stop = threading.Event()
    found: list[tuple[float, str, float]] = []

    def once() -> None:
        began = time.monotonic()
        said = fetch(host, port)
        found.append((began, said["who"], said["took_s"]))

    def run() -> None:
        under_way: list[threading.Thread] = []
        while not stop.wait(every):
            under_way = [one for one in under_way if one.is_alive()]
            under_way.append(threading.Thread(target=once, daemon=True))
            under_way[-1].start()
        for one in under_way:
            one.join()

    clock = threading.Thread(target=run, daemon=True)
    going[name] = stop, found, clock
    clock.start()
    return {}


def fetched(name: str, end: bool = False) -> Any:
    """Say what was fetched since this was asked last: when it began, from whom, how long it took.

    `end`: begin no more, and wait for those under way.
    """
    stop, found, clock = going[name]
    if end:
        stop.set()
        clock.join()
    seen = found[:]
    del found[: len(seen)]
    return {"seen": seen}


def hold(name: str, host: str, port: int = 80, every: float = 0.05) -> Any:
    """Keep one connection, and fetch a page on it every so often."""
    made = connected(host, port)
    state: dict[str, Any] = {"who": page(made, host, "keep-alive"), "pages": 1, "broke": ""}
    stop = threading.Event()
    going[name] = stop, state

    def run() -> None:
        with made:
            while not stop.wait(every):
                try:
                    said = page(made, host, "keep-alive")
                except OSError as failed:
                    said = named(failed)
                if said != state["who"]:
                    state["broke"] = said
                    return
                state["pages"] += 1

    threading.Thread(target=run, daemon=True).start()
    return {"who": state["who"]}


def held(name: str, end: bool = False) -> Any:
    """Say how it goes."""
    stop, state = going[name]
    if end:
        stop.set()
    return dict(state)


def main() -> None:
    if sys.argv[1]:
        with open(f"{sys.argv[1]}/cgroup.procs", "w") as procs:
            procs.write(str(os.getpid()))
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            said = globals()[order.pop("do")](**order)
        except OSError as failed:
            said = {"error": named(failed)}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
