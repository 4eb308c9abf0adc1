"""Shell. Registries in a namespace of the test's, by plain calls, and how the network to them breaks.

Does not know the mesh, nor what the registries are told.
"""

import contextlib
import functools
import itertools
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import trio

from tests.support import consul
from tests.support.namespace import Namespace
from tests.support.pages import popen
from tests.support.world import App

T = TypeVar("T")
_numbers = itertools.count()


class Kubernetes:
    """A Kubernetes API server (kubernetes_program.py) on the namespace's loopback."""

    def __init__(self, program: App, port: int) -> None:
        self._program = program
        self.port = port

    def put(self, resource: str, *objects: dict[str, Any]) -> None:
        self._program.tell("put", resource=resource, objects=objects)

    def delete(self, resource: str, *names: str) -> None:
        self._program.tell("delete", resource=resource, names=names)

    def take_tokens(self, *tokens: str) -> None:
        """Take these and no others."""
        self._program.tell("take_tokens", tokens=tokens)

    def forget(self) -> None:
        """Forget the history: whoever watches gets 410."""
        self._program.tell("forget")

    def tear(self) -> None:
        """Cut every watch in the middle of a chunk."""
        self._program.tell("fall", how="tear")

    def stop(self) -> None:
        """End as a killed server does, until `start`."""
        self._program.tell("fall", how="stop")

    def start(self) -> None:
        self._program.tell("start")

    def pause(self) -> None:
        """Fall silent: connections stand, and nothing comes."""
        self._program.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._program.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def kubernetes(space: Namespace) -> Iterator[Kubernetes]:
    """Serve the Kubernetes API until the block ends."""
    with popen(space, [sys.executable, "-m", "tests.support.kubernetes_program"]) as process:
        assert process.stdout
        yield Kubernetes(App(process), json.loads(process.stdout.readline())["port"])


class ConsulAgent:
    """A Consul agent in a namespace, which keeps its data over a restart."""

    def __init__(self, space: Namespace, folder: Path, **how: Any) -> None:
        """Prepare; `how` is said to consul.Agent."""
        self._space = space
        self.agent = consul.Agent(folder, **how)

    @property
    def port(self) -> int:
        return int(self.agent.address.rpartition(":")[2])

    def _do(self, job: Callable[[], Awaitable[T]]) -> T:
        return self._space.run(functools.partial(trio.run, job))  # type: ignore[arg-type]

    def start(self) -> None:
        """Start it, and wait until it leads itself."""
        self._do(self.agent.start)

    def kill(self) -> None:
        """End it at once."""
        # Not in the namespace: trio would keep a thread of it for later.
        trio.run(self.agent.kill)

    def register(self, name: str, ip: str, port: int = 8080, **words: Any) -> None:
        """Register an instance under its address."""
        words |= {"id": ip, "Address": ip, "port": port}
        self._do(functools.partial(self.agent.register, name, **words))

    def mark(self, ip: str, how: str) -> None:
        """Set the check of an instance: pass, warn or fail."""
        self._do(functools.partial(self.agent.mark, ip, how))

    def deregister(self, ip: str) -> None:
        self._do(functools.partial(self.agent.deregister, ip))


@contextlib.contextmanager
def consul_agent(space: Namespace, folder: Path, *, token: str = "", **config: Any) -> Iterator[ConsulAgent]:
    """Run a Consul agent until the block ends."""
    made = ConsulAgent(space, folder, lasting=True, config=config)
    made.agent.token = token
    try:
        made.start()
        yield made
    finally:
        made.kill()


@contextlib.contextmanager
def cut_off(space: Namespace, ip: str, port: int) -> Iterator[Callable[[], None]]:
    """Let every packet to or from there be lost, until what is given is called or the block ends."""
    table = f"cut{next(_numbers)}"
    rules = f"add table inet {table}; add chain inet {table} in {{ type filter hook input priority -300; }}; "
    rules += f"add rule inet {table} in ip daddr {ip} tcp dport {port} drop; "
    rules += f"add rule inet {table} in ip saddr {ip} tcp sport {port} drop"
    space.command("nft", rules)
    with contextlib.ExitStack() as undo:
        undo.callback(space.command, "nft", f"delete table inet {table}")
        yield undo.close
