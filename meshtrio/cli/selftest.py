"""Shell. Prove a rung on the running kernel: real connections, in a cgroup that is thrown away.

A version number proves nothing, for fixes and faults are back-ported. So a process of ours dials an
address that is nowhere, in IPv4 and in IPv6, and must be answered by our server; another one listens, and
who calls it from outside must be caught on the way. Leaves nothing, and catches nobody else.
"""

import functools
import itertools
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trio

from meshtrio.cli import launch
from meshtrio.cli.complaint import complaint_of
from meshtrio.cli.membership import Membership, own
from meshtrio.config.identity import Identity, Mtls
from meshtrio.config.schema import Catalog, Config, Log
from meshtrio.intercept.kernel import KernelRefused
from meshtrio.intercept.workload import Spec, WorkloadError

NOWHERE = ("198.51.100.7", "2001:db8::7")
"""Addresses for documentation: nobody has them."""
ANSWER = b"meshtrio was here"
PATIENCE_S = 5.0
RULES_S = 2.0
"""nf_tables rules follow a new listening port within half a second; a busy machine gets longer."""

DIALLING = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as line:
    print(line.recv(99).decode(), line.getpeername()[0])
"""
LISTENING = """
import socket
with socket.create_server(("127.0.0.1", 0)) as door:
    print(door.getsockname()[1], flush=True)
    while True:
        line = door.accept()[0]
        line.sendall(b"meshtrio was here")
        line.close()
"""

_numbers = itertools.count()


class Proof(NamedTuple):
    """One thing that was tried."""

    what: str
    worked: bool
    says: str


async def prove(config: Config, rung: str) -> list[Proof]:
    """Try a rung, outbound and inbound. What could not even begin is one Proof that says why."""
    proofs: list[Proof] = []
    with tempfile.TemporaryDirectory(prefix="meshtrio-check-") as folder:
        try:
            async with _servers() as ports:
                wanted = _config(config, rung, _catalog(Path(folder), ports))
                spec = Spec(name=f"check-{os.getpid()}-{next(_numbers)}")
                with trio.fail_after(6 * PATIENCE_S):
                    async with own(wanted, spec, at_once()) as member:
                        for host in NOWHERE if has_ipv6() else NOWHERE[:1]:
                            proofs.append(await _outbound(member, host))
                        proofs.append(await _inbound(member))
        except (Exception, BaseExceptionGroup) as failure:
            known = complaint_of(failure, (KernelRefused, WorkloadError, trio.TooSlowError, OSError))
            if known is None:
                raise
            proofs.append(
                Proof("a workload can be caught", worked=False, says=str(known) or "it took too long")
            )
    return proofs


def at_once() -> trio.Event:
    """Return the event by which connections that are still there are cut."""
    event = trio.Event()
    event.set()
    return event


def _config(config: Config, rung: str, catalog: Path) -> Config:
    return msgspec.structs.replace(
        config,
        rung=rung,
        workers=0,
        catalog=Catalog(file=str(catalog)),
        log=Log(level="error", format="text"),
        on_agent_loss="open",
        # It tries the kernel: nobody is anybody there, and no root is made on this machine's disk.
        identity=Identity(source="off"),
        mtls=Mtls(),
    )


def _catalog(folder: Path, ports: list[int]) -> Path:
    """Describe two services, one in each family, so that each must be reached in its own."""
    four, six = ports
    path = folder / "catalog.yaml"
    path.write_text(
        "services:\n"
        f"- {{name: four, vips: [{NOWHERE[0]}], ports: [{{port: 80}}], endpoints: ['127.0.0.1:{four}']}}\n"
        f"- {{name: six, vips: ['{NOWHERE[1]}'], ports: [{{port: 80}}], endpoints: ['[::1]:{six}']}}\n"
    )
    return path


def has_ipv6() -> bool:
    """Say whether IPv6 is switched on here."""
    return socket.has_ipv6 and Path("/proc/net/if_inet6").exists()


@asynccontextmanager
async def _servers() -> AsyncIterator[list[int]]:
    """Answer on a loopback port of each family. Without IPv6 the port is 1, where nobody answers."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ports = [listeners[0].socket.getsockname()[1]]
    if has_ipv6():
        listeners += await trio.open_tcp_listeners(0, host="::1")
        ports.append(listeners[1].socket.getsockname()[1])
    else:
        ports.append(1)
    async with trio.open_nursery() as serving:
        serving.start_soon(trio.serve_listeners, _answer, listeners)
        yield ports
        serving.cancel_scope.cancel()


async def _answer(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.send_all(ANSWER)


async def _outbound(member: Membership, host: str) -> Proof:
    family = "IPv6" if ":" in host else "IPv4"
    what = f"outbound {family} is caught"
    with trio.move_on_after(PATIENCE_S):
        done = await trio.run_process(
            inside(member, DIALLING, host, "80"), capture_stdout=True, capture_stderr=True, check=False
        )
        answer, _, seen = done.stdout.decode().strip().rpartition(" ")
        if answer.encode() != ANSWER:
            error = done.stderr.decode().strip().rpartition("\n")[2] or f"exit status {done.returncode}"
            return Proof(what, worked=False, says=f"dialling {host}: {error}")
        says = f"who dialled {host} was answered by our server, and saw {seen} as its peer"
        return Proof(what, worked=seen == host, says=says)
    return Proof(what, worked=False, says=f"dialling {host} took more than {PATIENCE_S:g} s")


async def _inbound(member: Membership) -> Proof:
    what = "inbound is caught"
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            functools.partial(trio.run_process, inside(member, LISTENING), stdout=-1, check=False)
        )
        try:
            with trio.move_on_after(PATIENCE_S):
                port = int(await process.stdout.receive_some(16))
                return await _called(member, port, what)
            return Proof(what, worked=False, says=f"it took more than {PATIENCE_S:g} s")
        finally:
            nursery.cancel_scope.cancel()


async def _called(member: Membership, port: int, what: str) -> Proof:
    """Call the process from outside, again until it is caught or the rules had their time."""
    agent = member.agent
    assert agent is not None
    until = trio.current_time() + RULES_S
    while True:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            answer = b"".join([chunk async for chunk in stream])
        if answer != ANSWER:
            return Proof(what, worked=False, says=f"a call to port {port} was answered by {answer!r}")
        if await _saw(agent.connections, port):
            return Proof(what, worked=True, says="a call from outside came to the process through us")
        if trio.current_time() > until:
            return Proof(what, worked=False, says="a call from outside went past us")
        await trio.sleep(0.1)


async def _saw(connections: Callable[[], Any], port: int) -> bool:
    """Say whether an inbound connection was recorded; workers tell what ended once a second."""
    told = await connections()
    listed = [*told["live"], *told["ended"]]
    return any(one.direction == "inbound" and one.destination.endswith(f":{port}") for one in listed)


def inside(member: Membership, program: str, *arguments: str) -> list[str]:
    """Return the command that runs a Python program in the cgroup of a member."""
    python = launch.argv(str(member.cgroup), "", -1, [])[0]
    return launch.argv(str(member.cgroup), "", -1, [python, "-I", "-S", "-c", program, *arguments])
