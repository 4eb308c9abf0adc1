"""Shell. What this machine has of what the rungs need, found by trying. Does not decide which rung is used.

Nothing is changed: programs are loaded into private maps and thrown away. What belongs to networking is in
network_features.py, and whether all of it works together is for selftest.py.
"""

import contextlib
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import trio

from meshtrio.cli.process import missing_capabilities
from meshtrio.config.schema import Config
from meshtrio.intercept import bpf, cgroup, source
from meshtrio.intercept.attachment import exclusive_holder
from meshtrio.intercept.cgroup import CgroupError
from meshtrio.intercept.kernel import CGROUP_HOOKS, INBOUND, Kernel
from meshtrio.intercept.object import CompiledObject
from meshtrio.intercept.rights import memlock_raised
from meshtrio.intercept.source import CompileError

State = Literal["ok", "missing", "note"]
ENOUGH_DESCRIPTORS = 65_536


class Feature(NamedTuple):
    """One thing that was looked at. A `note` is worth knowing, and stops nobody."""

    name: str
    state: State
    says: str
    todo: str = ""


def kernel_and_rights() -> Iterator[Feature]:
    """Look at what everything else stands on."""
    system = os.uname()
    yield Feature("kernel", "ok", f"{system.sysname} {system.release} {system.machine}")
    missing = missing_capabilities()
    if missing:
        todo = "run as root (sudo), or in a privileged container"
        yield Feature("capabilities", "missing", f"without {', '.join(missing)}", todo)
    else:
        yield Feature("capabilities", "ok", "all that are needed")
    try:
        yield Feature("cgroup v2", "ok", f"mounted at {cgroup.mount_point()}")
    except CgroupError as cause:
        says, _, todo = str(cause).partition("; ")
        yield Feature("cgroup v2", "missing", says, todo)
    yield _exclusive()


def _exclusive() -> Feature:
    name = "no exclusive program above"
    try:
        mine = cgroup.own()
        holder = exclusive_holder(mine)
    except (CgroupError, OSError) as cause:
        return Feature(name, "note", f"cannot be seen: {getattr(cause, 'strerror', cause) or cause}")
    if holder:
        return Feature(
            name, "missing", holder, "detach that program (bpftool cgroup detach), or use rung nft"
        )
    return Feature(name, "ok", f"from cgroup /{mine.relative_to(cgroup.mount_point())} up to the root")


def can_write(path: Path) -> bool:
    """Say whether a file or folder can be written, or made."""
    there = next(one for one in (path, *path.parents) if os.access(one, os.F_OK))
    return os.access(there, os.W_OK)


def bpffs(config: Config) -> Feature:
    """Look whether hooks can be pinned, so that they survive the agent."""
    pins = Path(config.paths.pins)
    with open("/proc/mounts") as mounts:
        points = [fields[1] for fields in map(str.split, mounts) if fields[2] == "bpf"]
    if any(pins.is_relative_to(point) for point in points):
        if can_write(pins):
            return Feature("bpffs", "ok", f"{pins} is on one")
        says = f"{pins} is on one that cannot be written, so hooks would go with a crashed agent"
        return Feature("bpffs", "note", says, "as root: mount it to be written, or set paths.pins")
    if pins.is_relative_to("/sys/fs/bpf") and Path("/sys/fs/bpf").is_dir():
        return Feature("bpffs", "note", "not mounted at /sys/fs/bpf; the agent will mount it")
    todo = f"mount -t bpf bpf {pins.parent}, or set paths.pins"
    says = f"{pins} is not on one, so hooks would go with a crashed agent"
    return Feature("bpffs", "missing", says, todo)


def state(config: Config) -> Feature:
    """Look whether registrations and the numbers of virtual IPs would survive a restart."""
    path = config.discovery.registration.state
    if not path:
        return Feature("state file", "note", "none is configured: registrations end with the agent")
    if can_write(Path(path)):
        return Feature("state file", "ok", f"{path} can be written")
    says = f"{path} cannot be written, so registrations end with the agent"
    return Feature("state file", "note", says, "set discovery.registration.state")


async def compiler() -> Feature:
    """Look whether a child process of ours finds bcc."""
    code = "import bcc; print(getattr(bcc, '__version__', '') or 'found')"
    done = await trio.run_process(
        [sys.executable, "-c", code], capture_stdout=True, capture_stderr=True, check=False
    )
    if done.returncode == 0:
        return Feature("bcc", "ok", f"{done.stdout.decode().strip()}, for {sys.executable}")
    says = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    todo = "apt install python3-bpfcc; the venv needs /usr/bin/python3 and --system-site-packages"
    return Feature("bcc", "missing", says or f"exit status {done.returncode}", todo)


async def programs(config: Config) -> list[Feature]:
    """Compile our programs, or take them from the cache, and let the kernel's verifier look at each."""
    cache = Path(config.paths.cache)
    began = time.monotonic()
    warm = _in_cache(cache)
    try:
        compiled = await source.compiled(cache)
    except CompileError as cause:
        return [Feature("bytecode", "missing", " ".join(str(cause).split())[:300], "see bcc above")]
    took = time.monotonic() - began
    kept = f"taken from {cache}" if warm else f"compiled in {took:.1f} s"
    if not warm and not _in_cache(cache):
        found = [Feature("bytecode", "note", f"{kept}; {cache} cannot be written", "set paths.cache")]
    else:
        found = [Feature("bytecode", "ok", kept)]
    return found + await trio.to_thread.run_sync(_load_each, compiled)


def _in_cache(cache: Path) -> bool:
    root = source.text_root()
    key = source.cache_key(source.flatten(root / "meshtrio.c"), root / "include" / "stub")
    with contextlib.suppress(OSError):
        return (cache / f"{key}.object").exists()
    return False


def _load_each(compiled: CompiledObject) -> list[Feature]:
    memlock_raised()  # as an agent does; before 5.11 maps and programs count
    kernel = Kernel(compiled, None)
    found = []
    try:
        for declared in compiled.maps:
            kernel.maps[declared.name] = kernel.create_map(declared.name)
        for name, hook in {**CGROUP_HOOKS, "inbound": INBOUND}.items():
            code = compiled.program(name).linked(kernel.maps)
            try:
                kernel.programs[name] = bpf.load_program(hook.program_type, hook.attach_type, name, code)
                found.append(Feature(f"hook {name}", "ok", f"loads (in kernels since {hook.since})"))
            except OSError as refused:
                says = " ".join(str(refused.strerror).split())
                found.append(Feature(f"hook {name}", "missing", says, f"needs a kernel from {hook.since} on"))
    except OSError as cause:
        found.append(
            Feature("bpf maps", "missing", str(cause.strerror), "run as root, on a kernel from 5.10 on")
        )
    finally:
        kernel.close()
    return found


def limits() -> Feature:
    """Look how many connections a worker can have: two descriptors each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= ENOUGH_DESCRIPTORS:
        return Feature("descriptors", "ok", f"{hard} a process")
    todo = "raise LimitNOFILE (systemd) or ulimit -Hn"
    return Feature("descriptors", "note", f"{hard} a process: {hard // 2} connections a worker", todo)
