"""Shell. The control process: its nursery tree, and nothing else. It never relays a byte.

    admin                      admin port and control socket; outlives all, so that a drain can be watched
    |- identity                one task a workload, which renews its certificate; whom to believe
       |- discovery            one task a source of the catalog, the configuration file, the resolver
          |- workers           one task a seat: start, talk, start again
             |- watching       ends workloads whose process has ended; lets the others follow
                (workloads)    their doors and hooks: caught last, let go first

Start order is outside in, stop order inside out: hooks go first, then connections drain while
discovery, metrics and health still answer. Killed instead, it leaves pinned hooks and orphaned
workers that go on, and a successor adopts what is pinned.
"""

import contextlib
import itertools
import os
import time
from pathlib import Path

import msgspec
import trio

from meshtrio import control
from meshtrio.admin.server import Sockets, open_sockets
from meshtrio.answering import answer
from meshtrio.balance_answers import BalanceAnswers
from meshtrio.breaker_answers import BreakerAnswers
from meshtrio.catalog_answers import CatalogAnswers
from meshtrio.config.schema import Config
from meshtrio.config.secrecy import shown
from meshtrio.identity.asked import refusal
from meshtrio.identity_answers import IdentityAnswers
from meshtrio.intercept import bpffs
from meshtrio.intercept.cgroup_news import CgroupNews
from meshtrio.intercept.workload import Spec, Workload, WorkloadError
from meshtrio.notify import notify
from meshtrio.observe import log
from meshtrio.places import list_path
from meshtrio.upkeep import Setting, Upkeep

FOLLOW_S, THOROUGH = 0.5, 4
"""How often rules follow listening ports (rung R0), and ended processes are looked for; and every how manieth
time lost cgroups, each of which takes a call. The kernel's word has them looked for at once."""


class Agent:
    """One agent. `run` is its life."""

    def __init__(self, setting: Setting) -> None:
        """Prepare; nothing is touched yet."""
        self._setting = setting
        self._upkeep = Upkeep(setting, os.cpu_count() or 1)
        self.parts = parts = self._upkeep.parts
        self.catalog = CatalogAnswers(parts.sources.hub, parts.sources.probes.results, *parts.direct.ways)
        self.identity = IdentityAnswers(self.parts.identities, self.parts.fleet.live)
        self.breakers = BreakerAnswers(self.parts.breakers, lambda: self.parts.publisher.snapshot)
        self.balance = BalanceAnswers(
            parts.fleet, parts.breakers, lambda: (parts.publisher.snapshot, parts.config), parts.direct.way
        )
        self._stop = trio.Event()
        self._drain_s: float | None = None
        self._ending = trio.CancelScope()
        self._leaving: trio.Nursery | None = None
        self._adopted = trio.Event()

    def stop(self, drain_s: float | None = None) -> None:
        """Begin to end; connections get this long (None: as configured). Again, to shorten it."""
        self._drain_s = drain_s
        self._stop.set()
        if self.parts.fleet.draining and drain_s is not None:
            self._drain()

    def _drain(self) -> None:
        drain_s = self.parts.config.timeouts.drain_s if self._drain_s is None else self._drain_s
        log.info("draining", drain_s=drain_s)
        self.parts.fleet.drain(drain_s)
        self._ending.deadline = trio.current_time() + drain_s + 5

    async def run(self, task_status: trio.TaskStatus["Agent"] = trio.TASK_STATUS_IGNORED) -> None:
        """Live until stopped. Raises what agent_process.py turns into a sentence if it cannot begin."""
        parts = self.parts
        parts.began = time.monotonic()
        config = parts.config
        sockets: Sockets | None = None
        with contextlib.ExitStack() as undo:
            undo.callback(parts.fleet.close)
            if not self._setting.private:
                sockets = open_sockets(Path(config.paths.control), config.admin.bind, config.ports.admin)
                undo.callback(sockets.close)
                undo.enter_context(bpffs.held(Path(config.paths.pins), make=config.rung != "nft"))
                parts.registry.list_path = list_path(Path(config.paths.control))
            await self._upkeep.open_kernel()
            if parts.kernel is not None:
                undo.callback(parts.kernel.close)
            async with trio.open_nursery() as admin:
                if sockets is not None:
                    await answer(admin, self, parts, sockets)
                async with trio.open_nursery() as identity:
                    await identity.start(self._upkeep.keep_identities)
                    async with trio.open_nursery() as discovery:
                        await discovery.start(parts.sources.run)
                        discovery.start_soon(parts.naming.run)
                        discovery.start_soon(self._upkeep.follow_config)
                        discovery.start_soon(self._upkeep.sweep)
                        async with trio.open_nursery() as workers:
                            for seat in parts.fleet.seats:
                                await workers.start(parts.fleet.keep, seat)
                            await self._catch(workers, task_status)
                            left = await parts.registry.catch_nobody()
                            self._ending = workers.cancel_scope
                            self._drain()
                        for workload in left:
                            await parts.registry.remove(workload)
                        discovery.cancel_scope.cancel()
                    identity.cancel_scope.cancel()
                admin.cancel_scope.cancel()
            self._unpin()

    async def _catch(self, workers: trio.Nursery, task_status: trio.TaskStatus["Agent"]) -> None:
        """Catch what is adopted and configured, be ready, and watch until it is time to end."""
        parts = self.parts
        async with trio.open_nursery() as watching:
            self._leaving = watching
            for lost in await parts.registry.adopt():
                log.warning("a workload of the last agent could not be adopted", why=lost)
            self._adopted.set()
            parts.direct.begin()
            await self._add_configured()
            parts.catching = True
            watching.start_soon(self._watch)
            notify("READY=1")
            in_use = control.rung(parts)["in_use"]
            log.info("ready", rung=in_use, why=parts.why_no_ebpf, workloads=len(parts.registry))
            task_status.started(self)
            await self._stop.wait()
            notify("STOPPING=1")
            parts.draining = True
            watching.cancel_scope.cancel()

    async def _add_configured(self) -> None:
        """Catch what is configured and was not adopted: all of it, or none and WorkloadError."""
        parts = self.parts
        added: list[str] = []
        try:
            for wanted in parts.config.workloads:
                if parts.registry.get(wanted.name) is None:
                    await self._add(Spec(**msgspec.structs.asdict(wanted)))
                    added.append(wanted.name)
        except WorkloadError:
            for name in added:
                await parts.registry.remove(await parts.registry.catch_no_more(name))
            if not len(parts.registry):
                self._unpin()  # what was adopted stays: the orphans of the last agent serve it
            raise

    def _unpin(self) -> None:
        """Leave nothing pinned: this was an orderly end."""
        if self.parts.kernel is not None and self.parts.kernel.pins is not None:
            self.parts.kernel.unpin()
        if self.parts.registry.list_path is not None:
            self.parts.registry.list_path.unlink(missing_ok=True)

    # Workloads

    async def _watch(self) -> None:
        with CgroupNews() as news:
            for turn in itertools.count():
                with trio.move_on_after(FOLLOW_S) as calm:
                    await news.made([workload.cgroup for workload in self.parts.registry if workload.cgroup])
                await self._follow(thoroughly=turn % THOROUGH == 0 or not calm.cancelled_caught)

    async def _follow(self, *, thoroughly: bool) -> None:
        for workload in self.parts.registry:
            if workload.has_ended:
                log.info("the process of a workload has ended", workload=workload.spec.name)
                with contextlib.suppress(WorkloadError):
                    await self.remove_workload(workload.spec.name)
        try:
            await self.parts.registry.refresh(thoroughly=thoroughly)
        except Exception as failed:  # noqa: BLE001  one workload's netns vanishing must not end the agent
            log.rarely("a workload could not be followed", why=str(failed))

    async def add_workload(self, spec: Spec) -> dict[str, object]:
        """Catch a workload from now on, and describe it. WorkloadError says why not.

        An agent of everybody's gives only identities that its configuration has or allows.
        """
        names = {"namespace": spec.namespace, "service_account": spec.service_account}
        if not self._setting.private and (why_not := refusal(self.parts.config.identity, **names)):
            raise WorkloadError(f"workload {spec.name}: {why_not}")
        return await self._add(spec)

    async def _add(self, spec: Spec) -> dict[str, object]:
        await self._adopted.wait()
        if self.parts.draining:
            raise WorkloadError("the agent is draining")
        on_loss = spec.on_agent_loss or self.parts.config.on_agent_loss
        if on_loss not in ("open", "closed"):
            raise WorkloadError(f"workload {spec.name}: on_agent_loss is {on_loss!r} (want open or closed)")
        added = await self.parts.registry.add(msgspec.structs.replace(spec, on_agent_loss=on_loss))
        log.info("workload added", workload=spec.name, rung=added.rung, why=added.why)
        return control.workload(self.parts, added)

    async def remove_workload(self, name: str) -> dict[str, object]:
        """Catch a workload no more; its connections end by themselves or at the drain deadline."""
        workload = await self.parts.registry.catch_no_more(name)
        assert self._leaving is not None
        self._leaving.start_soon(self._see_off, workload)
        log.info("workload removed", workload=name)
        return control.workload(self.parts, workload)

    async def _see_off(self, workload: Workload) -> None:
        """Take the remains of a workload away when its last connection has ended."""
        try:
            with trio.move_on_after(self.parts.config.timeouts.drain_s):
                while any(
                    connection.workload == workload.spec.name
                    for _, report in await self.parts.fleet.live()
                    for connection in report.connections
                ):
                    await trio.sleep(0.2)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(5):
                # Also when the agent ends meanwhile: rules and cgroups must not stay behind.
                if not await self.parts.registry.remove(workload):
                    log.warning("the cgroup of a workload is still in use", workload=workload.spec.name)

    # What the admin port and the control socket ask

    def readiness(self) -> list[str]:
        """See Answers."""
        return control.readiness(self.parts)

    async def metrics(self) -> bytes:
        """See Answers."""
        return await control.metrics(self.parts)

    def status(self) -> dict[str, object]:
        """See Answers."""
        return control.status(self.parts)

    def configuration(self) -> Config:
        """See Answers."""
        return shown(self.parts.config)

    async def connections(self) -> dict[str, object]:
        """See Answers."""
        return await control.connections(self.parts)
