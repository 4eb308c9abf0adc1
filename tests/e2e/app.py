"""Shell. An application in the mesh that knows nothing of it: it listens, dials and holds as it is told.

Run as `python -S -E app.py CGROUP`: it enters the cgroup before it makes its first socket, reads one JSON
order a line and writes one JSON answer a line. Sockets block, and what goes on by itself is a thread.
"""

import contextlib
import errno
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any

import kinds  # type: ignore[import-not-found]

PATIENCE_S = 10.0
kept: dict[str, socket.socket] = {}
going: dict[str, Any] = {}


def named(failed: OSError) -> str:
    if isinstance(failed, TimeoutError) and failed.errno is None:
        return "silence"
    return errno.errorcode.get(failed.errno or 0, str(failed))


def connected(host: str, port: int, patience: float = PATIENCE_S) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.settimeout(patience)
    try:
        made.connect((host, port))
    except OSError:
        made.close()
        raise
    return made


# What it serves


def end_early(made: socket.socket, name: str, peer: Any) -> None:
    """End the own direction first, and then hear the other one out."""
    made.sendall(json.dumps({"name": name}).encode() + b"\n")
    made.shutdown(socket.SHUT_WR)
    count = 0
    while heard := made.recv(65536):
        count += len(heard)
    going[f"{name} heard"] = count


def notice(made: socket.socket, name: str, peer: Any) -> None:
    """Say what the caller's end looked like."""
    made.sendall(b"{}\n")
    try:
        while made.recv(65536):
            pass
        going[f"{name} saw"] = "EOF"
    except OSError as failed:
        going[f"{name} saw"] = named(failed)


def listen(host: str, port: int, name: str, kind: str = "greet") -> Any:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024)
    kept[f"listener {name}"] = listener
    serving = getattr(kinds, kind, None) or globals()[kind]
    threading.Thread(target=serve, args=(listener, name, serving), daemon=True).start()
    return {"listening": listener.getsockname()[:2]}


def deaf(host: str, port: int, name: str) -> Any:
    """Listen with a full backlog and never accept: what dials here hears nothing."""
    listener = socket.create_server((host, port), backlog=0)
    kept[f"listener {name}"] = listener
    for number in range(2):
        kept[f"{name} filler {number}"] = made = socket.socket()
        made.setblocking(False)
        made.connect_ex((host, port))
    return {}


def serve(listener: socket.socket, name: str, kind: Any) -> None:
    while True:
        try:
            made, peer = listener.accept()
        except OSError:
            return
        threading.Thread(target=served, args=(made, name, peer, kind), daemon=True).start()


def served(made: socket.socket, name: str, peer: Any, kind: Any) -> None:
    with made, contextlib.suppress(OSError):
        kind(made, name, peer)


def listen_no_more(name: str) -> Any:
    listener = kept.pop(f"listener {name}")
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    return {}


def echo(host: str, port: int, name: str) -> Any:
    """Answer each datagram: who am I, whom do I see."""
    kept[f"listener {name}"] = made = datagrams(host)
    made.bind((host, port))

    def run() -> None:
        while True:
            _, peer = made.recvfrom(65536)
            made.sendto(json.dumps({"name": name, "peer": peer[:2]}).encode(), peer)

    threading.Thread(target=run, daemon=True).start()
    return {}


# What it dials


def datagrams(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)


def ask(keep: str, host: str, port: int, connect: bool = False, patience: float = 3) -> Any:
    """Ask by UDP, from a socket that is made the first time."""
    made = kept.setdefault(keep, datagrams(host))
    made.settimeout(patience)
    if connect:
        made.connect((host, port))
    made.send(b"?") if connect else made.sendto(b"?", (host, port))
    heard, source = made.recvfrom(65536)
    peer = made.getpeername()[:2] if connect else None
    return {**json.loads(heard), "source": source[:2], "local": made.getsockname()[:2], "remote": peer}


def dial(host: str, port: int, keep: str = "", says: str = "", patience: float = PATIENCE_S) -> Any:
    """Dial a server that greets, or (`says`) answers."""
    began = time.monotonic()
    made = connected(host, port, patience)
    try:
        made.sendall(says.encode())
        said: dict[str, Any] = {"local": made.getsockname()[:2], "peer": made.getpeername()[:2]}
        said["greeting"] = kinds.line_of(made)
    except OSError:
        made.close()
        raise
    said["took_s"] = round(time.monotonic() - began, 3)
    if keep:
        kept[keep] = made
    else:
        made.close()
    return said


def burst(times: int, host: str, port: int, says: str = "", patience: float = PATIENCE_S) -> Any:
    """Count who answered, by name, or what went wrong."""
    counts: dict[str, int] = {}
    for _ in range(times):
        try:
            said = dial(host, port, says=says, patience=patience)
            name = (said["greeting"] or {"name": "EOF"})["name"]
        except OSError as failed:
            name = named(failed)
        counts[name] = counts.get(name, 0) + 1
    return counts


def run(argv: list[str]) -> Any:
    """Run a program to its end, as part of this application."""
    return {"stdout": subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False).stdout}


def open_(keep: str, host: str, port: int, patience: float = PATIENCE_S) -> Any:
    kept[keep] = made = connected(host, port, patience)
    return {"local": made.getsockname()[:2], "peer": made.getpeername()[:2]}


def say(keep: str, text: str, hear: bool = True) -> Any:
    kept[keep].sendall(text.encode())
    return hear_(keep) if hear else {}


def hear_(keep: str) -> Any:
    return {"heard": kept[keep].recv(65536).decode()}


def gulp(keep: str, size: int) -> Any:
    return {"heard": kinds.gulped(keep, kept[keep], size)}


def say_end(keep: str) -> Any:
    kept[keep].shutdown(socket.SHUT_WR)
    return {}


def close(keep: str) -> Any:
    kept.pop(keep).close()
    return {}


def close_by_reset(keep: str) -> Any:
    made = kept.pop(keep)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    made.close()
    return {}


def many(keep: str, times: int, host: str, port: int, resets: bool = False) -> Any:
    """Open as many connections as fit, and say nothing on them. `resets`: go on after one that is reset."""
    opened = reset = 0
    for number in range(times):
        try:
            kept[f"{keep} {number}"] = connected(host, port)
        except ConnectionResetError as early:
            if not resets:
                return {"opened": opened, "stopped": named(early)}
            reset += 1
        except OSError as failed:
            return {"opened": opened, "stopped": named(failed)}
        else:
            opened += 1
    return {"opened": opened, "reset": reset} if resets else {"opened": opened}


def alive(keep: str) -> Any:
    """Count which of these connections have not been ended by the other side."""
    alive = 0
    for name, made in kept.items():
        if name.startswith(f"{keep} "):
            made.setblocking(False)
            try:
                alive += bool(made.recv(1))
            except BlockingIOError:
                alive += 1
            except OSError:
                pass
            made.settimeout(PATIENCE_S)
    return {"alive": alive}


def drop(keep: str) -> Any:
    for name in [name for name in kept if name.startswith(f"{keep} ")]:
        kept.pop(name).close()
    return {}


# What goes on by itself: new connections, and one that stays


def steady(name: str, host: str, port: int, every: float = 0.05, patience: float = PATIENCE_S) -> Any:
    """Make a connection every so often, each in a thread of its own, until `steadied`."""
    stop = threading.Event()
    found: list[tuple[float, str, float]] = []
    going[name] = stop, found

    def once() -> None:
        began = time.monotonic()
        try:
            who = (dial(host, port, patience=patience)["greeting"] or {"name": "EOF"})["name"]
        except OSError as failed:
            who = named(failed)
        found.append((began, who, time.monotonic() - began))

    def run() -> None:
        while not stop.wait(every):
            threading.Thread(target=once, daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    return {}


def steadied(name: str, end: bool = False) -> Any:
    """Say what the connections saw that have ended since this was asked last: when, what, how long."""
    stop, found = going[name]
    if end:
        stop.set()
    seen = found[:]
    del found[: len(seen)]
    return {"seen": seen, "now": time.monotonic()}


def hold(name: str, host: str, port: int, every: float = 0.02) -> Any:
    """Keep one connection on which bytes flow, until `held`."""
    made = connected(host, port)
    greeting = kinds.line_of(made)
    state: dict[str, Any] = {"greeting": greeting, "rounds": 0, "longest_s": 0.0, "broke": ""}
    stop = threading.Event()
    going[name] = stop, state

    def run() -> None:
        with made:
            while not stop.wait(every):
                began = time.monotonic()
                try:
                    made.sendall(b"%08d" % state["rounds"])
                    heard = b""
                    while len(heard) < 8:
                        more = made.recv(8 - len(heard))
                        if not more:
                            state["broke"] = "EOF"
                            return
                        heard += more
                except OSError as failed:
                    state["broke"] = named(failed)
                    return
                if int(heard) != state["rounds"]:
                    state["broke"] = "wrong bytes"
                    return
                state["rounds"] += 1
                state["longest_s"] = max(state["longest_s"], time.monotonic() - began)

    threading.Thread(target=run, daemon=True).start()
    return {"greeting": greeting}


def held(name: str, end: bool = False) -> Any:
    """Say how it is going; the longest round trip is counted anew from here."""
    stop, state = going[name]
    if end:
        stop.set()
    said = dict(state)
    state["longest_s"] = 0.0
    return said


def noted(name: str) -> Any:
    """Say what a server has noted, waiting for it a little."""
    until = time.monotonic() + 5
    while name not in going and time.monotonic() < until:
        time.sleep(0.01)
    return {"noted": going.get(name)}


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
