"""Shell. A cgroup that is in a mesh for as long as a command needs it. Does not know the command.

Two ways, one face: this machine's agent takes the workload in (`lent`), or an agent of our own does,
inside this process (`own`). The cgroup is ours either way: locked, so that two commands of one name
cannot meet in it, and gone afterwards unless something still runs in it.
"""

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import trio

from meshtrio.agent import Agent
from meshtrio.cli.child import own_netns_inode, populated
from meshtrio.cli.complaint import Complaint
from meshtrio.cli.control_client import Control, NoAgent
from meshtrio.cli.screen import note
from meshtrio.cli.workload_rows import note_unmet
from meshtrio.config.schema import Config
from meshtrio.intercept import cgroup
from meshtrio.intercept.attachment import is_hooked
from meshtrio.intercept.cgroup import CgroupError
from meshtrio.intercept.workload import Spec
from meshtrio.upkeep import Setting

TELLING_S = 1.3
"""Workers tell what ended once a second."""
LETTING_GO_S = 3.0
"""How long an agent may take to let go of a cgroup in which nothing runs; connections may still be ending."""
PATIENCE_S = 2.0
"""How long connections may take to end after the command before somebody is told what we wait for."""


class Membership(msgspec.Struct):
    """A place in a mesh."""

    cgroup: Path
    agent: Agent | None = None
    """Who carries, if it is in this process."""
    connections: list[dict[str, Any]] = []
    """What was caught; filled in at the end, if it was asked for."""


@contextlib.contextmanager
def own_cgroup(name: str) -> Iterator[Path]:
    """Make and lock the cgroup of a workload. It is gone afterwards, unless something runs in it.

    Complaint if another command has it, or something still runs in it.
    """
    try:
        path = cgroup.create(name)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (CgroupError, OSError) as cause:
        raise Complaint(str(cause)) from cause
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Complaint(f"{name} runs already; choose another --name") from None
        if populated(path):
            running = ", ".join(map(str, cgroup.processes(path)[:5]))
            raise Complaint(f"processes of an earlier {name} still run ({running}); choose another --name")
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                cgroup.remove(path, patience_s=0.2)
    finally:
        os.close(lock)


@contextlib.asynccontextmanager
async def own(config: Config, spec: Spec, stop_waiting: trio.Event) -> AsyncIterator[Membership]:
    """Be in a mesh of our own. Afterwards its connections have ended and nothing is caught any more.

    `stop_waiting` cuts connections that have not ended. Raises KernelRefused or WorkloadError, in a group.
    """
    _refuse_within_another()
    with own_cgroup(spec.name) as path:
        # The workloads of the configuration are the agent's, not those of every command.
        agent = Agent(Setting(config=msgspec.structs.replace(config, workloads=()), private=True))
        member = Membership(path, agent)
        async with trio.open_nursery() as hurrying:
            async with trio.open_nursery() as living:
                await living.start(agent.run)
                try:
                    note_unmet(await agent.add_workload(msgspec.structs.replace(spec, cgroup=str(path))))
                    yield member
                finally:
                    agent.stop(0.0 if stop_waiting.is_set() else None)
                hurrying.start_soon(_hurry, agent, stop_waiting)
            hurrying.cancel_scope.cancel()
        member.connections = msgspec.to_builtins(agent.parts.sums.recent())


def _refuse_within_another() -> None:
    """Raise Complaint if this process is itself caught: connections to our doors would be, too, on their way.

    The agent of the machine is no such case, for a program that joins it leaves the other mesh.
    """
    with contextlib.suppress(CgroupError, OSError):
        mine = cgroup.own()
        for at in (mine, *mine.parents):
            if at.parent.name == cgroup.OURS and is_hooked(at):
                raise Complaint(f"this runs in a mesh already ({at}), which would catch ours; run it outside")


async def connections_live(agent: Agent) -> bool:
    """Say whether it carries something. Not what takes long where rules are slow to go."""
    return any(report.connections for _, report in await agent.parts.fleet.live())


async def _hurry(agent: Agent, stop_waiting: trio.Event) -> None:
    """Say what takes long, and cut it when asked to."""
    with trio.move_on_after(PATIENCE_S):
        await stop_waiting.wait()
    if not stop_waiting.is_set() and await connections_live(agent):
        note("waiting for connections to end (^C cuts them)")
        await stop_waiting.wait()
    agent.stop(0.0)


@contextlib.asynccontextmanager
async def lent(control: Control, spec: Spec, *, reporting: bool) -> AsyncIterator[Membership]:
    """Be in the mesh of this machine's agent. Complaint with its words if it refuses.

    Should it crash meanwhile, its workers go on, and its successor sees by our process id when to let go.
    """
    with own_cgroup(spec.name) as path:
        member = Membership(path)
        fields: dict[str, object] = {"cgroup": str(path), "pid": os.getpid(), "ports": list(spec.ports)}
        if (spec.namespace, spec.service_account) != ("default", "default"):
            fields |= {"namespace": spec.namespace, "service_account": spec.service_account}
        if spec.on_agent_loss:
            fields["on_agent_loss"] = spec.on_agent_loss
        if spec.acceleration != "auto":
            fields["acceleration"] = spec.acceleration
        await trio.to_thread.run_sync(_join, control, spec.name, fields)
        try:
            yield member
        finally:
            if reporting:
                await trio.sleep(TELLING_S)
            with trio.move_on_after(5, shield=True):
                # The agent would find out by itself, but later: let go of the name now.
                member.connections = await trio.to_thread.run_sync(_leave, control, spec.name, reporting)
            with trio.move_on_after(LETTING_GO_S):
                # The next one of this name must not find a cgroup that the agent is about to remove.
                while path.exists() and not populated(path):
                    await trio.sleep(0.02)


def _join(control: Control, name: str, fields: dict[str, object]) -> None:
    agent = control.get("/v1/status")["pid"]
    with contextlib.suppress(OSError):
        if Path(f"/proc/{agent}/ns/net").stat().st_ino != own_netns_inode():
            fields["netns"] = f"/proc/{os.getpid()}/ns/net"
    note_unmet(control.add_workload(name, fields))


def _leave(control: Control, name: str, reporting: bool) -> list[dict[str, Any]]:
    try:
        told = control.get("/v1/connections") if reporting else {}
        control.remove_workload(name)
    except NoAgent as gone:
        note(f"the agent went away meanwhile: {gone}")
        return []
    except Complaint:
        return []  # removed by somebody else
    return [one for kind in ("live", "ended") for one in told.get(kind, ()) if one["workload"] == name]


Way = Callable[[], contextlib.AbstractAsyncContextManager[Membership]]
