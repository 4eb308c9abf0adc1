"""Shell. Applications and places for whole-mesh tests: processes in cgroups and namespaces that do as told.

Knows how to start tests/e2e/app.py where it belongs. Does not know the agent (mesh.py does).
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.leaks import cgroup_mount
from tests.support.namespace import Namespace, wire
from tests.support.namespace_door import cgroup

ROOT = Path(__file__).resolve().parents[2]
VIP, VIP6 = "10.96.0.10", "fd00:96::10"
NOWHERE = "10.99.99.99"
"""Routed to `lo`, where nobody has it: what dials it hears nothing, neither yes nor no."""
LEFT, RIGHT, LEFT6, RIGHT6 = "10.7.0.1", "10.7.0.2", "fd07::1", "fd07::2"

_numbers = itertools.count()


class App:
    """One process that dials and listens as it is told; each answer is a dictionary."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.pid = process.pid
        self.ports: set[int] = set()
        """Where it was told to listen."""

    def tell(self, do: str, *, may_fail: bool = False, **how: Any) -> dict[str, Any]:
        """Let it do one thing, and return what came of it. AssertionError if it failed and may not."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"do": do, **how}) + "\n")
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert may_fail or "error" not in answer, f"{do} {how}: {answer}"
        return answer

    def dial(self, host: str, port: int, **how: Any) -> dict[str, Any]:
        """Dial a server that greets: {"local", "peer", "greeting", "took_s"}."""
        return self.tell("dial", host=host, port=port, **how)

    def fails_to_dial(self, host: str, port: int, **how: Any) -> str:
        """Dial, and say how that failed, by the errno's name; "silence" if nothing came."""
        answer = self.tell("dial", may_fail=True, host=host, port=port, **how)
        assert "error" in answer or answer["greeting"] is None, f"{host} {port} answered: {answer}"
        return str(answer.get("error", "EOF"))

    def listen(self, host: str, port: int, name: str, kind: str = "greet") -> None:
        """Serve there until the process ends."""
        self.tell("listen", host=host, port=port, name=name, kind=kind)
        self.ports.add(port)

    def burst(self, times: int, host: str, port: int, **how: Any) -> dict[str, int]:
        """Dial many times, and count who answered or what went wrong."""
        return self.tell("burst", times=times, host=host, port=port, **how)


@contextlib.contextmanager
def app(space: Namespace, group: Path | str = "") -> Iterator[App]:
    """Run an application in this namespace and cgroup ("": none of its own) until the block ends."""
    argv = [sys.executable, "-S", "-E", str(ROOT / "tests/e2e/app.py"), str(group)]

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(argv, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    with space.run(start) as process:
        try:
            assert process.stdout
            assert process.stdout.readline(), "the application did not start"
            yield App(process)
        finally:
            process.kill()


@contextlib.contextmanager
def island() -> Iterator[Namespace]:
    """Make a namespace where every address can be dialled; those that nobody has stay silent."""
    with Namespace() as space:
        space.route_everything()
        yield space


@contextlib.contextmanager
def two_pods() -> Iterator[tuple[Namespace, Namespace]]:
    """Make two namespaces with a wire between them: LEFT and RIGHT, LEFT6 and RIGHT6."""
    with island() as left, island() as right:
        wire(left, right)
        for space, ip, ip6 in ((left, LEFT, LEFT6), (right, RIGHT, RIGHT6)):
            space.add_address(f"{ip}/24", "wire")
            space.add_address(f"{ip6}/64", "wire")
        yield left, right


@contextlib.contextmanager
def pod_cgroup() -> Iterator[Path]:
    """Make a cgroup as a container runtime would, outside the agent's folder."""
    with cgroup() as group:
        yield group


def unique(word: str) -> str:
    """Make a workload name that no other test run on this machine uses."""
    return f"{word}-{os.getpid()}-{next(_numbers)}"


def our_cgroup(name: str) -> Path:
    """Say where the agent makes the cgroup of a workload."""
    mount = cgroup_mount()
    assert mount is not None
    return mount / "meshtrio" / name
