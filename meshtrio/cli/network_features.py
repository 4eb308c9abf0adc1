"""Shell. What this machine has of the networking that the rungs need, found by trying. Does not decide.

What cannot be asked without changing something is done in a network namespace that is thrown away.
"""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import trio

from meshtrio.cli.features import Feature
from meshtrio.config.schema import Config
from meshtrio.intercept import netns, nft, routing
from meshtrio.intercept.nft_request import ErrandRefused
from meshtrio.intercept.routing_plan import RoutingPlan

IP_TRANSPARENT = 19
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


async def nf_tables() -> list[Feature]:
    """Try each thing that the nf_tables rung sends to the kernel, without effect."""
    try:
        found = await nft.probe()
    except ErrandRefused as cause:
        return [Feature("nf_tables", "missing", str(cause), "load nf_tables, install pyroute2, run as root")]
    made = []
    for one in found:
        name = one.name if one.name.startswith("nf_tables") else f"nf_tables: {one.name}"
        if one.missing:
            todo = "run as root" if one.missing == "EPERM" else "needs a kernel that has this module"
            made.append(Feature(name, "missing", one.missing, todo))
        else:
            made.append(Feature(name, "ok", "accepted"))
    return made


def network() -> Iterator[Feature]:
    """Look at what tells namespaces apart."""
    own = netns.Netns.current()
    if own.has_cookie:
        yield Feature("netns cookie", "ok", f"{own.id}")
    else:
        yield Feature("netns cookie", "note", "not before kernel 5.14; the inode number stands in")
    own.close()
    if Path("/proc/net/if_inet6").exists():
        yield Feature("IPv6", "ok", "there")
    else:
        yield Feature("IPv6", "note", "switched off; IPv4 alone is served")


async def callers_addresses() -> Feature:
    """Try what shows called programs their callers' addresses, in a namespace that is thrown away."""
    name, less = "callers' addresses", "called programs see a fixed address"
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        descriptor = await trio.to_thread.run_sync(_new_netns)
    except OSError as cause:
        return Feature(name, "note", f"{cause.strerror}: {less}", "run as root")
    try:
        laid = await routing.apply(RoutingPlan(transparent=True), descriptor)
    except ErrandRefused as refused:
        return Feature(name, "note", f"{refused}: {less}")
    finally:
        os.close(descriptor)
    return Feature(
        name, "ok", f"IP_TRANSPARENT, and {laid.rules} rules and {laid.routes} routes, are accepted"
    )


def _new_netns() -> int:
    """Make a network namespace that lives as long as the descriptor. The thread comes back from it."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(netns.CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        made = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
        if libc.setns(home, netns.CLONE_NEWNET):
            os.abort()
    finally:
        os.close(home)
    return made


def ports(config: Config, *, agent_runs: bool) -> Iterator[Feature]:
    """Look whether an agent could listen."""
    wanted = [("outbound", "127.0.0.1"), ("inbound", "127.0.0.1"), ("admin", config.admin.bind)]
    if config.dns.capture:
        wanted.append(("dns", "127.0.0.1"))
    for name, host in wanted:
        port = getattr(config.ports, name)
        try:
            _bind(host, port, socket.SOCK_STREAM)
            if name == "dns":
                _bind(host, port, socket.SOCK_DGRAM)
            yield Feature(f"port {name}", "ok", f"{port} is free")
        except OSError as cause:
            says = f"{port}: {cause.strerror}"
            if agent_runs:
                yield Feature(f"port {name}", "ok", f"{port} is the agent's")
            else:
                todo = f"ss -ltunp 'sport = {port}' says whose it is; or set ports.{name}"
                yield Feature(f"port {name}", "missing", says, todo)


def _bind(host: str, port: int, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
