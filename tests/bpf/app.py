"""Shell. A process of a workload: in its namespace and cgroup, it runs the lines that a test gives it.

It is unmodified as far as the hooks can tell. Its names persist from one order to the next.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.namespace import Namespace

BIND = """
def bound(host, port=8080, kind=socket.SOCK_STREAM, proto=0):
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind, proto)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if ":" in host: made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only6))
    made.bind((host, port))
    return made
only6 = True
"""
"""Lines that teach the process to bind as servers do."""


class Failed(Exception):
    """The process's call failed; the text is the errno's name."""


class App:
    """The process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Talk to it over its standard input and output."""
        self._process = process
        self.pid = process.pid

    def do(self, lines: str, **names: Any) -> Any:
        """Run lines there and return their `said`. Failed has the errno of a call that failed."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"lines": lines, "names": names}) + "\n")
        answer = json.loads(self._process.stdout.readline())
        assert "bug" not in answer, answer["bug"]
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer["said"]

    def kill(self) -> None:
        """End it at once, as the kernel would when memory is short."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def app_in(space: Namespace, group: Path) -> Iterator[App]:
    """Run a process in a namespace and a cgroup until the block ends."""
    argv = [sys.executable, "-S", "-E", "-c", _PROGRAM, str(group)]

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(argv, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    with space.run(start) as process:
        try:
            yield App(process)
        finally:
            process.kill()


_PROGRAM = r"""
import os, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
import ctypes, errno, json, socket, struct, threading, time, traceback
libc = ctypes.CDLL(None, use_errno=True)

def tcp(host, **options):
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.settimeout(5)
    for option in options.get("options", ()):
        made.setsockopt(*(x if isinstance(x, int) else x.encode() for x in option))
    return made

def dial(host, port, source=None, **options):
    made = tcp(host, **options)
    try:
        if source:
            made.bind((source, 0))
        made.connect((host, port))
    except BaseException:
        made.close()
        raise
    return made

def ends(made):
    return {"local": made.getsockname()[:2], "peer": made.getpeername()[:2]}

names = dict(globals())
for line in sys.stdin:
    order = json.loads(line)
    names.update(order["names"], said=None)
    try:
        exec(order["lines"], names)
        answer = {"said": names["said"]}
    except OSError as error:
        answer = {"failed": errno.errorcode.get(error.errno, repr(error))}
    except BaseException:
        answer = {"bug": traceback.format_exc()}
    print(json.dumps(answer), flush=True)
"""
