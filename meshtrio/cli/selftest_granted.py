"""Shell. Prove on the running kernel that a workload which has a grant goes to another one past both doors.

Two cgroups that are thrown away, an agent of our own with identities that are kept in memory, and a call from
one to the other. It begins relayed, and must pass within seconds.
"""

import functools
import itertools
import os
import tempfile
from pathlib import Path

import msgspec
import trio

from meshtrio.cli.complaint import complaint_of
from meshtrio.cli.membership import Membership, own, own_cgroup
from meshtrio.cli.selftest import ANSWER, DIALLING, LISTENING, NOWHERE, PATIENCE_S, Proof, at_once, inside
from meshtrio.config.identity import Identity, Mtls
from meshtrio.config.schema import Catalog, Config, Log
from meshtrio.config.traffic import Retries, Traffic
from meshtrio.intercept.kernel import KernelRefused
from meshtrio.intercept.workload import Spec, WorkloadError
from meshtrio.neighbours import LISTENED_S

ASKING = "r5"
WHAT = "a granted call goes past both doors"
_numbers = itertools.count()


async def prove_granted(config: Config) -> Proof:
    """Try it. What could not even begin is a Proof that says why."""
    with tempfile.TemporaryDirectory(prefix="meshtrio-check-") as folder:
        try:
            with trio.fail_after(6 * PATIENCE_S):
                return await _prove(config, Path(folder) / "catalog.yaml")
        except (Exception, BaseExceptionGroup) as failure:
            known = complaint_of(failure, (KernelRefused, WorkloadError, trio.TooSlowError, OSError))
            if known is None:
                raise
            return Proof(WHAT, worked=False, says=str(known) or "it took too long")


async def _prove(config: Config, catalog: Path) -> Proof:
    _describe(catalog)
    number = f"{os.getpid()}-{next(_numbers)}"
    wanted = _config(config, catalog)
    async with own(wanted, Spec(name=f"check-called-{number}"), at_once()) as called:
        assert called.agent is not None
        with own_cgroup(f"check-caller-{number}") as path:
            spec = Spec(name=path.name, cgroup=str(path), acceleration=ASKING)
            await called.agent.add_workload(spec)
            caller = Membership(path, called.agent)
            async with trio.open_nursery() as nursery:
                listening = functools.partial(trio.run_process, stdout=-1, check=False)
                process = await nursery.start(listening, inside(called, LISTENING))
                try:
                    port = int(await process.stdout.receive_some(16))
                    await trio.sleep(LISTENED_S)
                    _describe(catalog, port)
                    return await _called(caller)
                finally:
                    nursery.cancel_scope.cancel()


def _describe(catalog: Path, port: int = 0) -> None:
    """Let there be one service, or none."""
    called = f"{{name: called, vips: [{NOWHERE[0]}], ports: [{{port: 80}}], endpoints: ['127.0.0.1:{port}']}}"
    catalog.write_text(f"services: [{called if port else ''}]\n")


def _config(config: Config, catalog: Path) -> Config:
    return msgspec.structs.replace(
        config,
        rung="ebpf",
        rung_max="r5",
        workers=0,
        catalog=Catalog(file=str(catalog)),
        log=Log(level="error", format="text"),
        on_agent_loss="open",
        identity=Identity(directory=""),
        mtls=Mtls(mode="strict", same_node="kernel"),
        traffic=Traffic(direct="auto", retries=Retries(attempts=0)),
    )


async def _called(caller: Membership) -> Proof:
    """Call until a call passes."""
    agent = caller.agent
    assert agent is not None
    said = "nobody was called"
    with trio.move_on_after(PATIENCE_S):
        while True:
            done = await trio.run_process(
                inside(caller, DIALLING, NOWHERE[0], "80"),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            answer = done.stdout.decode().strip().rpartition(" ")[0]
            said = done.stderr.decode().strip().rpartition("\n")[2] or f"answered by {answer!r}"
            hooks = agent.status()["hooks"]
            assert isinstance(hooks, dict)
            if hooks.get("passed_granted"):
                worked = answer.encode() == ANSWER
                says = "a workload called another one, and nobody of ours was in between" if worked else said
                return Proof(WHAT, worked=worked, says=says)
            await trio.sleep(0.1)
    why = agent.parts.direct.way("default/called", "").why
    return Proof(
        WHAT, worked=False, says=f"calls were relayed for {PATIENCE_S:g} s ({why}); the last: {said}"
    )
