"""Shell. All workloads of this node: which are caught, how, and where that is written down.

A workload is a cgroup, a network namespace, or both. The registry decides the rung, shares what
workloads of one namespace share, and keeps a list on disk, so that a successor of a crashed agent
finds them. It tells the workers of doors through a callback, and starts no task.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import trio

from meshtrio.intercept import cgroup, nft
from meshtrio.intercept.attachment import remove_others
from meshtrio.intercept.catcher import UNDO_S, Catcher
from meshtrio.intercept.cgroup import CgroupError
from meshtrio.intercept.doors import DoorError
from meshtrio.intercept.kernel import KernelRefused, pinned_folders
from meshtrio.intercept.netns import Netns, NetnsError
from meshtrio.intercept.nft_request import ErrandRefused
from meshtrio.intercept.site import NetnsSite
from meshtrio.intercept.tables import Ports
from meshtrio.intercept.workload import Kept, Spec, Workload, WorkloadError, read_list, write_list
from meshtrio.messages import CloseDoor, KnowWorkload, WorkloadName

NAME_S = 5.0
"""How long a workload waits for the remains of the last one of its name."""


class Registry:
    """The workloads of this node."""

    def __init__(self, catcher: Catcher) -> None:
        """Begin with none."""
        self.catcher = catcher
        self._sites: dict[int, NetnsSite] = {}
        self._workloads: dict[str, Workload] = {}
        self._number = 0
        self._changing = trio.Lock()
        self._leaving: dict[str, trio.Event] = {}
        """Workloads that are caught no more, and whose remains are not gone yet."""
        self.list_path: Path | None = None
        self.entering: Callable[[int, Spec], Awaitable[None]] = _unheard
        """Called before a workload is caught, which waits for it."""
        self.leaving: Callable[[int], None] = lambda number: None
        """Called when a workload is about to be caught no more, while its hooks are there still."""
        self.left: Callable[[int], None] = lambda number: None
        """Called when a workload is caught no more and has gone, also if it could not be caught at all."""

    def __iter__(self) -> Iterator[Workload]:
        return iter(list(self._workloads.values()))

    def __len__(self) -> int:
        return len(self._workloads)

    def get(self, name: str) -> Workload | None:
        """Return the workload of this name."""
        return self._workloads.get(name)

    async def add(self, spec: Spec, *, number: int = 0) -> Workload:
        """Catch a workload from now on. WorkloadError says why not; nothing is left behind then."""
        spec.check()
        await self._name_free(spec.name)
        async with self._changing:
            if spec.name in self._workloads:
                raise WorkloadError(
                    f"workload {spec.name} is here already; choose another name or remove it first"
                )
            site = self._site(spec)
            made = False
            try:
                path, made = self._cgroup(spec)
                self._number = max(self._number, number)
                if not number:
                    self._number = number = self._number + 1
                await self.entering(number, spec)
                workload = await self.catcher.catch(spec, number, path, site)
                workload.made_cgroup = made
            except BaseException as failed:
                self.left(number)
                if made:
                    cgroup.remove(cgroup.mount_point() / cgroup.OURS / spec.name)
                with trio.move_on_after(UNDO_S, shield=True):
                    await self._release(site)
                if isinstance(
                    failed, KernelRefused | ErrandRefused | DoorError | CgroupError | NetnsError | OSError
                ):
                    raise WorkloadError(f"workload {spec.name}: {failed}") from failed
                raise
            site.users += 1
            self._workloads[spec.name] = workload
            write_list(self.list_path, list(self))
            return workload

    async def catch_no_more(self, name: str) -> Workload:
        """Catch no new connection of a workload; those that are there go on. WorkloadError: it is unknown."""
        async with self._changing:
            if (workload := self._workloads.pop(name, None)) is None:
                raise WorkloadError(f"workload {name} is not known")
            self.leaving(workload.id)
            await workload.capture.catch_no_more()
            if workload.site.users == 1:
                workload.site.catch_no_more()
            self._leaving[name] = trio.Event()
            write_list(self.list_path, list(self))
            return workload

    async def catch_nobody(self) -> list[Workload]:
        """Catch no new connection of anybody, and return who was caught. The list on disk is written once."""
        path, self.list_path = self.list_path, None
        try:
            return [await self.catch_no_more(one.spec.name) for one in self]
        finally:
            self.list_path = path
            write_list(path, list(self))

    async def remove(self, workload: Workload) -> bool:
        """Take away what is left of a workload that is caught no more. False: its cgroup is still in use."""
        async with self._changing:
            for door in workload.doors:
                self.catcher.tell(CloseDoor(door), [])
            self.catcher.tell(KnowWorkload(WorkloadName(workload.id, "")), [])
            self.left(workload.id)
            self.catcher.close_dns(workload.dns)
            try:
                await workload.capture.close()
                workload.site.users -= 1
                await self._release(workload.site)
                if workload.made_cgroup and workload.cgroup is not None:
                    return await trio.to_thread.run_sync(cgroup.remove, workload.cgroup)
            finally:
                self._leaving.pop(workload.spec.name, trio.Event()).set()
            return True

    async def _name_free(self, name: str) -> None:
        """Wait a little for the last workload of this name: its cgroup and its rules bear the name."""
        with trio.move_on_after(NAME_S):
            while name in self._leaving:
                await self._leaving[name].wait()
        if name in self._leaving:
            raise WorkloadError(
                f"workload {name}: connections of the last one of this name still drain; try again later,"
                " or choose another name"
            )

    async def refresh(self, *, thoroughly: bool = True) -> None:
        """Let captures follow what changes around them, hooks if `thoroughly`. Raises what one met, late."""
        met: Exception | None = None
        for workload in self:
            if workload.rung == "ebpf" and not (thoroughly and workload.lost_cgroup != workload.told):
                continue  # all else hooks know by themselves
            # Not while it is being removed: its rules would come back.
            async with self._changing:
                if self._workloads.get(workload.spec.name) is workload:
                    try:
                        workload.tell(anew=await workload.capture.refresh(self.catcher.surroundings))
                    except (ErrandRefused, KernelRefused, OSError) as failed:
                        met = failed
        if met is not None:
            raise met

    async def adopt(self) -> list[str]:
        """Catch again what a predecessor left on the list; say what could not be. Those remains go."""
        lost, why = list[Kept](), list[str]()
        # Not written while it is worked off: a crash in the middle must not shorten it.
        path, self.list_path = self.list_path, None
        for kept in read_list(path):
            try:
                kept.check()
                workload = await self.add(kept.spec, number=kept.id)
            except (WorkloadError, OSError) as gone:
                lost.append(kept)
                why.append(f"{kept.spec.name}: {gone}")
                continue
            if kept.rung == "nft" and workload.rung == "ebpf":
                with contextlib.suppress(ErrandRefused):
                    await nft.remove(kept.spec.name, workload.site.descriptor)
        await self._sweep(lost)
        self.list_path = path
        write_list(path, list(self))
        if (kernel := self.catcher.kernel) and kernel.pins:
            numbers = {workload.id for workload in self}
            remove_others(pinned_folders(kernel.pins, "links"), set(map(str, numbers)))
            remove_others(pinned_folders(kernel.pins, "netns"), {str(number) for number in self._sites})
            Ports(kernel.maps["ports"]).forget_others(numbers)
        return why

    async def _sweep(self, lost: list[Kept]) -> None:
        """Take away rules and routing of workloads that are lost, where their namespaces are still there.

        One errand a namespace: after a crash most pods of a node may have been replaced.
        """
        async with self._changing:
            names: dict[NetnsSite, list[str]] = {}
            for kept in lost:
                with contextlib.suppress(WorkloadError, OSError):
                    kept.check()
                    names.setdefault(self._site(kept.spec), []).append(kept.spec.name)
            for site, those in names.items():
                with contextlib.suppress(ErrandRefused, OSError):
                    try:
                        await nft.remove_all(those, site.descriptor)
                    finally:
                        if not site.users:
                            # As if it were ours, so that it goes unless another agent's workload is there.
                            site.routed = True
                            await self._release(site)

    def let_go(self) -> None:
        """Close our descriptors only; what is pinned goes on catching."""
        for workload in self:
            workload.capture.let_go()
            if workload.dns is not None:
                workload.dns.close()
        for site in self._sites.values():
            site.let_go()

    def _site(self, spec: Spec) -> NetnsSite:
        try:
            netns = Netns.at(spec.netns) if spec.netns else Netns.current()
        except NetnsError as cause:
            raise WorkloadError(f"workload {spec.name}: {cause}") from cause
        if (known := self._sites.get(netns.id)) is not None:
            netns.close()
            return known
        return self._sites.setdefault(netns.id, NetnsSite(netns))

    async def _release(self, site: NetnsSite) -> None:
        if site.users:
            return
        if site.door:
            self.catcher.tell(CloseDoor(site.door), [])
        self._sites.pop(site.netns.id, None)
        await site.close()
        site.netns.close()

    def _cgroup(self, spec: Spec) -> tuple[Path | None, bool]:
        if spec.cgroup:
            path = cgroup.given(spec.cgroup)
            cgroup.refuse_own(path)
            return path, path.parent.name == cgroup.OURS
        if spec.netns:
            return None, False
        return cgroup.create(spec.name), True


async def _unheard(number: int, spec: Spec) -> None:
    """Nobody wants to know who comes."""
