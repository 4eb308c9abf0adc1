"""Shell. Who is measured: nothing in between, the mesh on either rung, and proxies behind a redirect.

Each stands in a network namespace of its own with a server of its own, for the whole run, and leaves nothing.
"""

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from meshtrio.benchmark import files, responder
from meshtrio.benchmark.cores import Cores
from meshtrio.benchmark.process import (
    ProcessFailed,
    Spot,
    last_words,
    line_of,
    running,
    undisturbed,
    wait_until,
)
from meshtrio.cli.control_client import Control, NoAgent
from meshtrio.cli.membership import own_cgroup
from meshtrio.intercept.netns import Netns, NetnsError

BINARIES = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/sbin:/bin"
START_S = 20.0
WORKER = "meshtrio.worker_process"


class Ground(NamedTuple):
    """What a peer stands on."""

    name: str
    folder: Path
    netns: Netns
    cgroup: Path
    """Of the caller."""
    cores: Cores

    def spot(self, core: int, log: str) -> Spot:
        """Say where one of its processes runs."""
        return Spot(self.netns, core, self.folder / f"{log}.log")


class Standing(NamedTuple):
    """A peer that can be called."""

    ground: Ground
    dial: tuple[str, int]
    proxies: tuple[int, ...] = ()
    """The roots of its process trees."""


Peer = Callable[[Ground], AbstractContextManager[Standing]]
"""Raises ProcessFailed when it cannot stand here."""


@contextlib.contextmanager
def standing(name: str, folder: Path, cores: Cores, peer: Peer | None = None) -> Iterator[Standing]:
    """Let a peer, or the one of PEERS, stand while the block lasts. ProcessFailed says why it cannot."""
    with contextlib.ExitStack() as undo:
        ground = undo.enter_context(_ground(name, folder, cores))
        spot = ground.spot(cores.server, "server")
        words = [sys.executable, "-I", "-S", responder.__file__, files.HOST, str(files.PORT)]
        server = undo.enter_context(running(words, spot, piped=True))
        line_of(server, START_S, spot.log)
        yield undo.enter_context((peer or PEERS[name])(ground))


@contextlib.contextmanager
def unmeshed(ground: Ground) -> Iterator[Standing]:
    """Dial the server itself. What all else is compared with."""
    yield Standing(ground, (files.HOST, files.PORT))


def agent_on(rung: str, *, direct: bool = False) -> Peer:
    """Return the peer that is an agent with one worker, on this rung; `direct`: all go past the worker."""

    @contextlib.contextmanager
    def stand(ground: Ground) -> Iterator[Standing]:
        folder = ground.folder
        # The folder's name is nobody else's.
        pins = f"/sys/fs/bpf/meshtrio-{folder.parent.name}-{ground.name}"
        group = str(ground.cgroup)
        text = files.configuration(str(folder), rung, pins=pins, cgroup=group, direct=direct)
        (folder / "catalog.yaml").write_text(files.catalog())
        (folder / "meshtrio.yaml").write_text(text)
        spot = ground.spot(ground.cores.proxy, "agent")
        words = [sys.executable, "-m", "meshtrio", "agent", "--config", str(folder / "meshtrio.yaml")]
        control = Control(str(folder / "control.sock"))
        with running(words, spot) as agent:
            wait_until(lambda: _is_ready(control), agent, START_S, spot.log)
            in_use = control.get("/v1/status")["rung"]["in_use"]
            if in_use != rung:
                raise ProcessFailed(f"the agent chose {in_use}: {last_words(spot.log)}")
            if direct:
                wait_until(lambda: _is_direct(control), agent, START_S, spot.log)
            yield Standing(ground, (files.VIRTUAL, files.PORT), (agent.pid,))

    return stand


@contextlib.contextmanager
def haproxy(ground: Ground) -> Iterator[Standing]:
    """Lead callers to HAProxy."""
    program, settings = _found("haproxy"), ground.folder / "haproxy.cfg"
    settings.write_text(files.haproxy())
    with _redirected(ground, [program, "-db", "-f", str(settings)], None) as stands:
        yield stands


def by_command(command: str) -> Peer:
    """Return the peer that is a proxy which this command runs, in the folder in which we are.

    It finds in the command where it shall listen, `{port}`, and whom it shall call, `{server}`.
    """
    placed = command.replace("{port}", str(files.DOOR)).replace("{server}", f"{files.HOST}:{files.PORT}")
    return lambda ground: _redirected(ground, shlex.split(placed), Path.cwd())


@contextlib.contextmanager
def _redirected(ground: Ground, command: Sequence[str], folder: Path | None) -> Iterator[Standing]:
    """Lead callers to a proxy by an nf_tables redirect, which is how most meshes catch connections."""
    nft, rules = _found("nft"), ground.folder / "rules.nft"
    rules.write_text(files.redirect())
    spot = ground.spot(ground.cores.proxy, "proxy")
    with running(command, spot, folder=folder) as process:
        with ground.netns.entered():
            done = subprocess.run([nft, "-f", str(rules)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProcessFailed(f"nft refused the redirect: {' '.join(done.stderr.split())}")
        wait_until(lambda: _is_open(ground.netns, files.DOOR), process, START_S, spot.log)
        yield Standing(ground, (files.VIRTUAL, files.PORT), (process.pid,))


def _found(program: str) -> str:
    path = shutil.which(program, path=BINARIES)
    if path is None:
        raise ProcessFailed(f"{program} is not installed")
    return path


BASE = "unmeshed"
PEERS: dict[str, Peer] = {
    BASE: unmeshed,
    "direct": agent_on("ebpf", direct=True),
    "ebpf": agent_on("ebpf"),
    "nft": agent_on("nft"),
    "haproxy": haproxy,
}


def role_of(name: str, words: list[str]) -> str:
    """Say what a process of a peer is, by its command: "agent", "worker" or "proxy"."""
    if name not in ("direct", "ebpf", "nft"):
        return "proxy"
    return "worker" if WORKER in words else "agent"


@contextlib.contextmanager
def _ground(name: str, folder: Path, cores: Cores) -> Iterator[Ground]:
    own = folder / name
    own.mkdir()
    with contextlib.ExitStack() as undo:
        with undisturbed():
            try:
                netns = undo.enter_context(contextlib.closing(Netns.fresh()))
            except NetnsError as cause:
                raise ProcessFailed(str(cause)) from cause
            cgroup = undo.enter_context(own_cgroup(f"benchmark-{os.getpid()}-{name}"))
            _bring_up(netns)
        yield Ground(name, own, netns, cgroup, cores)


def _bring_up(netns: Netns) -> None:
    """Bring `lo` up, with a route to everywhere: who dials a virtual address must get that far."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with netns.entered(), IPRoute() as kernel:
            lo = kernel.link_lookup(ifname="lo")[0]
            kernel.link("set", index=lo, state="up")
            kernel.route("add", dst="0.0.0.0/0", oif=lo, prefsrc="127.0.0.1")
    except (NetlinkError, OSError) as cause:
        raise ProcessFailed(f"its network namespace cannot be set up: {cause}") from cause


def _is_ready(control: Control) -> bool:
    with contextlib.suppress(NoAgent):
        return bool(control.get("/readyz")["ready"])
    return False


def _is_direct(control: Control) -> bool:
    paths = [port["path"] for one in control.get("/v1/services")["services"] for port in one["ports"]]
    return bool(paths) and set(paths) == {"direct"}


def _is_open(netns: Netns, port: int) -> bool:
    with netns.socket(socket.AF_INET) as probe:
        probe.settimeout(1)
        return probe.connect_ex((files.HOST, port)) == 0
