"""Shell. Registries in a namespace of the test's, by plain calls, and how the network to them breaks.

Does not know the mesh, nor what the registries are told.
"""

import contextlib
import itertools
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.namespace import Namespace
from tests.support.pages import popen
from tests.support.world import App

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


class Consul:
    """A Consul agent (consul_program.py) which keeps its data over a restart."""

    def __init__(self, program: App, port: int) -> None:
        self._program = program
        self.port = port

    def kill(self) -> None:
        """End it at once, until `start`."""
        self._program.tell("kill")

    def start(self) -> None:
        """Start it, and wait until it leads itself."""
        self._program.tell("start")

    def register(self, name: str, ip: str, port: int) -> None:
        """Register an instance under its address, with a check that passes."""
        self._program.tell("register", name=name, ip=ip, port=port)

    def mark(self, ip: str, how: str) -> None:
        """Set the check of an instance: pass, warn or fail."""
        self._program.tell("mark", id_=ip, how=how)

    def deregister(self, ip: str) -> None:
        self._program.tell("deregister", id_=ip)


@contextlib.contextmanager
def consul(space: Namespace, folder: Path, *, token: str = "", **config: Any) -> Iterator[Consul]:
    """Run a Consul agent on the namespace's loopback until the block ends."""
    words = json.dumps({"token": token, "config": config})
    argv = [sys.executable, "-m", "tests.support.consul_program", str(folder), words]
    with popen(space, argv) as process:
        assert process.stdin
        assert process.stdout
        address = json.loads(process.stdout.readline())["address"]
        try:
            yield Consul(App(process), int(address.rpartition(":")[2]))
        finally:
            process.stdin.close()
            process.wait(15)


@contextlib.contextmanager
def cut_off(space: Namespace, ip: str, port: int) -> Iterator[Callable[[], None]]:
    """Let every packet to or from there be lost, until what is given is called or the block ends."""
    table = f"cut{next(_numbers)}"
    rules = f"add table inet {table}; add chain inet {table} in {{ type filter hook input priority -300; }}; "
    rules += f"add rule inet {table} in ip daddr {ip} th dport {port} drop; "
    rules += f"add rule inet {table} in ip saddr {ip} th sport {port} drop"
    space.command("nft", rules)
    with contextlib.ExitStack() as undo:
        undo.callback(space.command, "nft", f"delete table inet {table}")
        yield undo.close


class Nameserver:
    """A DNS server (dns_program.py)."""

    def __init__(self, program: App) -> None:
        self._program = program

    def asked(self) -> list[tuple[str, str, str, int]]:
        """Say what was asked since this was asked last: name, type, transport, and how much is taken."""
        return [(*one,) for one in self._program.tell("", know={})["asked"]]

    def know(self, name: str, ip: str) -> None:
        """Answer with this address from now on."""
        self._program.tell("", know={name: ip})

    def pause(self) -> None:
        """Fall silent."""
        self._program.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._program.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def nameserver(space: Namespace, host: str, **addresses: str) -> Iterator[Nameserver]:
    """Answer with these addresses of these names until the block ends."""
    argv = [sys.executable, "-m", "tests.support.dns_program", host, json.dumps(addresses)]
    with popen(space, argv) as process:
        assert process.stdout
        assert process.stdout.readline(), "the name server did not start"
        yield Nameserver(App(process))
