"""Shell. A process in a namespace and a cgroup that dials and listens as it is told. Does not know the mesh.

It is what an application is to us: separate, unmodified, and in a cgroup before it makes its first socket.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.namespace import Namespace


@contextlib.contextmanager
def program(namespace: Namespace, cgroup: Path | None = None) -> Iterator["Program"]:
    """Run the process until the block ends."""
    argv = [sys.executable, "-S", "-E", "-c", _PROGRAM, str(cgroup or "")]

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(argv, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    with namespace.run(start) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


class Program:
    """A process that dials, talks and listens as it is told; each answer is a dictionary."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid

    def tell(self, do: str, **how: Any) -> dict[str, Any]:
        """Let it do one thing, and return what came of it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": do, **how}) + "\n")
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def dial(self, host: str, port: int, **how: Any) -> dict[str, Any]:
        """Connect, read the greeting line, close: {"greeting", "local", "peer"} or {"error"}."""
        return self.tell("dial", host=host, port=port, **how)


_PROGRAM = r"""
import errno, json, os, socket, sys, threading
if sys.argv[1]:
    open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
kept = {}

def connected(host, port, mark=0, patience=3.0, v6=False, source=None):
    made = socket.socket(socket.AF_INET6 if ":" in host or v6 else socket.AF_INET)
    made.settimeout(patience)
    try:
        if mark:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        if source:
            made.bind((source, 0))
        made.connect(socket.getaddrinfo(host, port)[0][4] if "%" in host else (host, port))
    except OSError:
        made.close()
        raise
    return made

def dial(keep="", **how):
    made = connected(**how)
    line = made.makefile("r").readline()
    said = {"local": made.getsockname()[:2], "peer": made.getpeername()[:2]}
    said["greeting"] = json.loads(line or "null")
    if keep:
        kept[keep] = made
    else:
        made.close()
    return said

def say(keep, text, patience=3.0):
    kept[keep].settimeout(patience)
    kept[keep].sendall(text.encode())
    return {"heard": kept[keep].recv(100).decode()}

def burst(times, **how):
    greetings = {}
    for _ in range(times):
        try:
            name = dial(**how)["greeting"]["name"]
        except OSError as error:
            name = errno.errorcode.get(error.errno, str(error))
        greetings[name] = greetings.get(name, 0) + 1
    return greetings

def greet(listener, name):
    while True:
        made, peer = listener.accept()
        with made:
            made.sendall((json.dumps({"name": name, "peer": peer[:2]}) + "\n").encode())

def listen(host, port, name):
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    threading.Thread(target=greet, args=(listener, name), daemon=True).start()
    return {"listening": listener.getsockname()[:2]}

for line in sys.stdin:
    order = json.loads(line)
    try:
        said = globals()[order.pop("do")](**order)
    except OSError as error:
        said = {"error": errno.errorcode.get(error.errno, str(error))}
    print(json.dumps(said), flush=True)
"""
