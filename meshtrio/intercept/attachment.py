"""Shell. Programs at their places: the hooks of one cgroup, and sk_lookup of one network namespace.

Links are pinned where the agent must be able to die without letting go, and held otherwise. A
pinned link of a predecessor is kept and gets the new program (BPF_LINK_UPDATE), so there is no
moment without a hook.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from meshtrio.intercept import bpf, cgroup
from meshtrio.intercept.kernel import CGROUP_HOOKS, INBOUND, PER_NETNS, Kernel, KernelRefused
from meshtrio.intercept.layout import WORKLOAD_BYTES, WorkloadWords, here
from meshtrio.intercept.netns import Netns


class ExclusiveAttach(KernelRefused):
    """Another program was attached exclusively at our cgroup or above it; the message names both."""


class CgroupHooks:
    """All hooks of one workload's cgroup, attached."""

    def __init__(self, kernel: Kernel, path: Path, pins: Path | None) -> None:
        """Attach. Either all hooks are there afterwards, or none, and KernelRefused says why.

        In a kernel that lacks them, those that only DNS and UDP services need are not attached, and taken
        away where a predecessor had them.
        """
        self._kernel = kernel
        self._pins = pins
        self._links: list[int] = []
        """Those that are not pinned, in the order in which they were attached."""
        self.path = path
        self.cgroup_id = cgroup.identifier(path)
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if pins:
                pins.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, hook in CGROUP_HOOKS.items():
                if name in kernel.programs:
                    self._attach(name, hook.attach_type, directory)
                elif pins and (pins / name).exists():
                    _drop(bpf.open_pinned(str(pins / name)), pins / name)
        except OSError as cause:
            self.detach()
            raise _refusal(cause, path) from cause
        finally:
            os.close(directory)

    def describe(self, words: WorkloadWords) -> None:
        """Tell the hooks whom they serve. Until then they let everything pass."""
        storage = self._kernel.maps["workloads"]
        bpf.update(storage, struct.pack("<Q", self.cgroup_id), words.pack())

    def detach(self) -> None:
        """Take the hooks away: the connect hooks first, so that nothing is sent to a door that closes."""
        for name in CGROUP_HOOKS if self._pins else ():
            with contextlib.suppress(OSError):
                self._links.append(bpf.open_pinned(f"{self._pins}/{name}"))
        for link in reversed(self._links):
            with contextlib.suppress(OSError):
                bpf.detach_link(link)
            os.close(link)
        self._links.clear()
        # The storage lives as long as the cgroup: who attaches here again must not find our doors in it.
        storage = self._kernel.maps.get("workloads")
        with contextlib.suppress(OSError):
            if storage is not None:
                bpf.update(storage, struct.pack("<Q", self.cgroup_id), bytes(WORKLOAD_BYTES))
        if self._pins:
            remove_pins(self._pins)

    def let_go(self) -> None:
        """Close the descriptors, if there are any. Pinned links stay attached; held ones go."""
        for link in self._links:
            os.close(link)
        self._links.clear()

    def _attach(self, name: str, attach_type: int, directory: int) -> None:
        program = self._kernel.programs[name]
        pinned = str(self._pins / name) if self._pins else None
        if pinned and Path(pinned).exists():
            link = bpf.open_pinned(pinned)
            if bpf.link_target(link) == self.cgroup_id:
                with _closing(link):
                    bpf.update_link(link, program)
                return
            _drop(link, Path(pinned))
        link = bpf.create_link(program, directory, attach_type)
        if pinned is None:
            self._links.append(link)
            return
        # Held by its pin alone: a dozen descriptors a workload are too many for a thousand of them.
        with _closing(link):
            bpf.pin(link, pinned)


class NetnsHook:
    """sk_lookup of one network namespace, attached, with its inbound doors."""

    def __init__(self, kernel: Kernel, netns: Netns, pins: Path | None, *, closed: bool) -> None:
        """Attach. Nothing of it is there, pins included, when KernelRefused says why it cannot be."""
        self._pins = pins
        self._maps: dict[str, int] = {}
        self._link = -1
        try:
            if pins:
                pins.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in PER_NETNS:
                self._open_map(kernel, name)
            bpf.update(self._maps["here"], bytes(4), here(netns.id, closed=closed))
            program = kernel.load_inbound(self._maps)
            try:
                self._attach(program, netns)
            finally:
                os.close(program)
        except OSError as cause:
            self.detach()
            raise KernelRefused(
                f"cannot attach sk_lookup to the network namespace: {cause.strerror}"
            ) from cause
        except BaseException:
            self.detach()
            raise

    def install(self, door: socket.socket) -> None:
        """Give connections of this family to this listening socket from now on."""
        slot = 1 if door.family == socket.AF_INET6 else 0
        bpf.update(self._maps["inbound_doors"], struct.pack("<I", slot), struct.pack("<I", door.fileno()))

    def close_on_loss(self, netns: Netns) -> None:
        """Drop, from now on, what comes for workloads while nobody serves the doors."""
        bpf.update(self._maps["here"], bytes(4), here(netns.id, closed=True))

    def detach(self) -> None:
        """Take the hook away."""
        if self._link >= 0:
            with contextlib.suppress(OSError):
                bpf.detach_link(self._link)
        self.let_go()
        if self._pins:
            remove_pins(self._pins)

    def let_go(self) -> None:
        """Close the descriptors. A pinned link stays attached; a held one goes."""
        for descriptor in (self._link, *self._maps.values()):
            if descriptor >= 0:
                os.close(descriptor)
        self._link = -1
        self._maps.clear()

    def _open_map(self, kernel: Kernel, name: str) -> None:
        pinned = self._pins / name if self._pins else None
        if pinned and pinned.exists():
            self._maps[name] = bpf.open_pinned(str(pinned))
            return
        self._maps[name] = kernel.create_map(name)
        if pinned:
            bpf.pin(self._maps[name], str(pinned))

    def _attach(self, program: int, netns: Netns) -> None:
        pinned = self._pins / "inbound" if self._pins else None
        if pinned and pinned.exists():
            link = bpf.open_pinned(str(pinned))
            if bpf.link_target(link) == netns.inode:
                self._link = link
                bpf.update_link(link, program)
                return
            _drop(link, pinned)
        self._link = bpf.create_link(program, netns.descriptor, INBOUND.attach_type)
        if pinned:
            bpf.pin(self._link, str(pinned))


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def remove_pins(folder: Path) -> None:
    """Unpin everything in a folder and remove it. What is not there is fine."""
    with contextlib.suppress(OSError):
        for entry in folder.iterdir():
            entry.unlink(missing_ok=True)
        folder.rmdir()


def remove_others(folders: Iterable[Path], known: Set[str]) -> None:
    """Unpin what is in these folders, but for those of the names that are known."""
    for folder in list(folders):
        if folder.name not in known:
            remove_pins(folder)


def _drop(link: int, pinned: Path) -> None:
    """Take away a link of a predecessor that is of no use to us, whatever it is attached to by now."""
    with contextlib.suppress(OSError):
        bpf.detach_link(link)
    os.close(link)
    pinned.unlink()


def exclusive_holder(path: Path) -> str | None:
    """Say which cgroup, from this one upwards, has a program that forbids ours; None if there is none."""
    top = cgroup.mount_point()
    for at in (path, *path.parents):
        directory = os.open(at, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name, hook in CGROUP_HOOKS.items():
                ids, flags = bpf.attached(directory, hook.attach_type)
                allows = flags & bpf.ALLOW_MULTI or (at != path and flags & bpf.ALLOW_OVERRIDE)
                if ids and not allows:
                    return f"program {', '.join(map(str, ids))} is attached exclusively to {at} for {name}"
        finally:
            os.close(directory)
        if at == top:
            return None
    return None


def is_hooked(path: Path) -> bool:
    """Say whether a program is attached to this very cgroup where ours catch connections."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return bool(bpf.attached(directory, CGROUP_HOOKS["connect4"].attach_type)[0])
    finally:
        os.close(directory)


def _refusal(cause: OSError, path: Path) -> KernelRefused:
    if cause.errno == errno.EPERM:
        with contextlib.suppress(OSError):
            holder = exclusive_holder(path)
            if holder:
                return ExclusiveAttach(
                    f"cannot attach to {path}: {holder}; use --rung nft, or detach that program"
                )
    return KernelRefused(f"cannot attach to {path}: {cause.strerror}")
