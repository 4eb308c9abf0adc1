"""Shell. Our maps and programs in the running kernel: made anew, or adopted from a predecessor.

Pinned maps outlive the agent, so that a successor finds every remembered destination and port.
Programs are always loaded from this version's text and put in place of the old ones. Pins are laid
out as  maps/NAME,  links/WORKLOAD/HOOK,  netns/ID/{here,inbound_doors,inbound}  under one folder.
"""

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import trio

from meshtrio.intercept import bpf, bpf_sockets, source
from meshtrio.intercept.layout import LAYOUT_VERSION, Reason
from meshtrio.intercept.object import CompiledObject
from meshtrio.intercept.rights import explain, memlock_raised

PER_NETNS = ("here", "inbound_doors")


class Hook(NamedTuple):
    """Where a program goes: program type and attach type of include/uapi/linux/bpf.h, and since when."""

    program_type: int
    attach_type: int
    since: str


CGROUP_HOOKS = {
    "sockops": Hook(13, 3, "4.13"),
    "getpeername4": Hook(18, 29, "5.8"),
    "getpeername6": Hook(18, 30, "5.8"),
    "sock_release": Hook(9, 34, "5.9"),
    "post_bind4": Hook(9, 12, "4.17"),
    "post_bind6": Hook(9, 13, "4.17"),
    "recvmsg4": Hook(18, 19, "5.2"),
    "recvmsg6": Hook(18, 20, "5.2"),
    "sendmsg4": Hook(18, 14, "4.18"),
    "sendmsg6": Hook(18, 15, "4.18"),
    # The connect hooks come last: they send connections to the doors, and all else must be ready.
    "connect4": Hook(18, 10, "4.17"),
    "connect6": Hook(18, 11, "4.17"),
}
INBOUND = Hook(30, 36, "5.9")
STOP = Hook(bpf_sockets.SK_MSG, bpf_sockets.TO_SK_MSG_VERDICT, "4.17")
DATAGRAM_HOOKS = ("recvmsg4", "recvmsg6", "sendmsg4", "sendmsg6")
"""Those that only DNS and UDP services need: all of them are attached, or none."""


class KernelRefused(Exception):
    """eBPF cannot be used here; the message says what is missing and what to do."""


class Kernel:
    """Maps and programs, by name. Close it when nothing of ours is attached any more."""

    def __init__(self, compiled: CompiledObject, pins: Path | None) -> None:
        """Prepare; `load` does the work. Without `pins` all goes when the descriptors go."""
        self.compiled = compiled
        self.pins = pins
        self.maps: dict[str, int] = {}
        self.programs: dict[str, int] = {}
        self.adopted = False
        self.why_no_names = ""
        """Why there is neither capture of DNS nor a UDP service; then the programs for both are not there."""
        self.why_no_grants = ""
        """Why no workload can be let to go to another one without us."""

    def load(self) -> None:
        """Make or adopt the maps and load all programs. KernelRefused if anything cannot be had.

        Without what only DNS and UDP services need, or grants, it goes on: `why_no_names`, `why_no_grants`.
        """
        try:
            try:
                self._open_maps()
            except PermissionError:
                # Before 5.11 maps count against RLIMIT_MEMLOCK, whose default holds none of ours, and the
                # kernel calls that a lack of permission.
                if not memlock_raised():
                    raise
                self._open_maps()
            for name in [one for one in CGROUP_HOOKS if one not in DATAGRAM_HOOKS]:
                self.programs[name] = self._load(name, CGROUP_HOOKS[name], self.maps)
            self._load_datagram_hooks()
            self._load_stop()
        except bpf.ProgramRefused as refused:
            self.close()
            raise KernelRefused(f"{refused} (hook since kernel {_since(refused)})") from refused
        except OSError as cause:
            self.close()
            raise KernelRefused(explain(cause)) from cause
        except BaseException:
            self.close()
            raise

    def _load_datagram_hooks(self) -> None:
        try:
            for name in DATAGRAM_HOOKS:
                self.programs[name] = self._load(name, CGROUP_HOOKS[name], self.maps)
        except bpf.ProgramRefused as refused:
            self.why_no_names = f"{refused} (hook since kernel {_since(refused)})"
            for name in DATAGRAM_HOOKS:
                if name in self.programs:
                    os.close(self.programs.pop(name))

    def _load_stop(self) -> None:
        try:
            self.programs["stop"] = self._load("stop", STOP, self.maps)
            bpf_sockets.attach(self.programs["stop"], self.maps["strays"])
        except OSError as refused:
            self.why_no_grants = f"connections that go astray cannot be stopped: {refused}"

    def load_inbound(self, own_maps: dict[str, int]) -> int:
        """Load the sk_lookup program of one namespace, with that namespace's own two maps."""
        try:
            return self._load("inbound", INBOUND, self.maps | own_maps)
        except bpf.ProgramRefused as refused:
            raise KernelRefused(str(refused)) from refused

    def create_map(self, name: str) -> int:
        """Create a map as the text declares it."""
        kept = next(kept for kept in self.compiled.maps if kept.name == name)
        # A key of eight bytes is the cgroup's id alone: one storage for all hooks of a cgroup.
        key_bytes = 8 if kept.type == bpf.MAP_CGROUP_STORAGE else kept.key_bytes
        return bpf.create_map(kept.type, name, (key_bytes, kept.value_bytes, kept.max_entries), kept.flags)

    def reasons(self) -> dict[Reason, int]:
        """Return how often each reason was given, over all processors, since the maps were made."""
        processors = possible_processors()
        counts = {}
        for reason in Reason:
            raw = bpf.look_up(self.maps["reasons"], struct.pack("<I", reason), 8 * processors)
            counts[reason] = sum(struct.unpack(f"<{processors}Q", raw or bytes(8 * processors)))
        return counts

    def unpin(self) -> None:
        """Leave nothing pinned."""
        if self.pins is not None:
            unpin_all(self.pins)

    def close(self) -> None:
        """Close every descriptor. What is pinned stays."""
        for descriptor in (*self.maps.values(), *self.programs.values()):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.maps.clear()
        self.programs.clear()

    def _open_maps(self) -> None:
        folder = self.pins / "maps" if self.pins else None
        self.adopted = bool(folder and (folder / "layout").exists())
        if self.adopted and folder:
            self._adopt(folder)
            return
        for declared in self.compiled.maps:
            if declared.name not in PER_NETNS and declared.name not in self.maps:
                self.maps[declared.name] = self.create_map(declared.name)
        bpf.update(self.maps["layout"], bytes(4), struct.pack("<I", LAYOUT_VERSION))
        if folder:
            try:
                self._pin(folder)
            except OSError as cause:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    folder.parent.rmdir()
                raise KernelRefused(
                    f"cannot pin maps in {folder}: {cause.strerror};"
                    " bpffs must be mounted there (mount -t bpf bpf /sys/fs/bpf)"
                ) from cause

    def _pin(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, descriptor in self.maps.items():
            # `layout` says that all others are there, so it is pinned last.
            if name != "layout":
                (folder / name).unlink(missing_ok=True)
                bpf.pin(descriptor, str(folder / name))
        bpf.pin(self.maps["layout"], str(folder / "layout"))

    def _adopt(self, folder: Path) -> None:
        self.maps["layout"] = bpf.open_pinned(str(folder / "layout"))
        raw = bpf.look_up(self.maps["layout"], bytes(4), 4) or bytes(4)
        version = struct.unpack("<I", raw)[0]
        if version != LAYOUT_VERSION:
            raise KernelRefused(
                f"the pinned maps in {folder} have layout {version}, this version has {LAYOUT_VERSION};"
                " remove them with `meshtrio cleanup` (connections that are established live on)"
            )
        for declared in self.compiled.maps:
            if declared.name not in (*PER_NETNS, "layout"):
                self.maps[declared.name] = bpf.open_pinned(str(folder / declared.name))

    def _load(self, name: str, hook: Hook, maps: dict[str, int]) -> int:
        program = self.compiled.program(name)
        return bpf.load_program(hook.program_type, hook.attach_type, name, program.linked(maps))


async def open_kernel(pins: Path | None, cache: Path | None) -> Kernel:
    """Compile (or take from the cache) and load. KernelRefused says why eBPF cannot be used here."""
    try:
        compiled = await source.compiled(cache)
    except source.CompileError as cause:
        raise KernelRefused(str(cause)) from cause
    kernel = Kernel(compiled, pins)
    # Loading takes about 25 ms and holds no lock that others want, but the loop should not stand still.
    await trio.to_thread.run_sync(kernel.load)
    return kernel


def possible_processors() -> int:
    """Return how many values a per-CPU map has for a key."""
    with open("/sys/devices/system/cpu/possible") as text:
        return 1 + max(int(part.rpartition("-")[2]) for part in text.read().strip().split(","))


def pinned_folders(pins: Path, kind: str) -> Iterator[Path]:
    """Walk over the pinned folders of one kind ("links", "netns")."""
    with contextlib.suppress(OSError):
        yield from sorted((pins / kind).iterdir())


def unpin_all(pins: Path) -> None:
    """Leave nothing of ours pinned in this folder; hooks that only their pins held are detached.

    `layout` says that all others are there, so it goes first; then the connect hooks, with the links.
    """
    (pins / "maps" / "layout").unlink(missing_ok=True)
    for kind in ("links", "netns", "maps"):
        for entry in list(pinned_folders(pins, kind)):
            if entry.is_dir():
                for pinned in sorted(entry.iterdir()):
                    pinned.unlink()
                entry.rmdir()
            else:
                entry.unlink()
        with contextlib.suppress(OSError):
            (pins / kind).rmdir()
    with contextlib.suppress(OSError):
        pins.rmdir()


def _since(refused: bpf.ProgramRefused) -> str:
    name = str(refused.strerror).partition("program ")[2].partition(":")[0]
    return CGROUP_HOOKS[name].since if name in CGROUP_HOOKS else INBOUND.since
