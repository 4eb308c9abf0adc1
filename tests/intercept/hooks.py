"""Shell. What is attached where, for tests of attaching: asked of the kernel, not of the code under test."""

import contextlib
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from meshtrio.intercept import bpf
from meshtrio.intercept.kernel import CGROUP_HOOKS, INBOUND, Kernel
from meshtrio.intercept.netns import Netns
from tests.support.namespace import Namespace

PROG_ATTACH, PROG_DETACH = 8, 9
CONNECT4 = CGROUP_HOOKS["connect4"]
PROCEED = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def opened_netns(space: Namespace) -> "contextlib.closing[Netns]":
    return contextlib.closing(Netns.adopt(os.dup(space.fd), named="it"))


def attached(path: Path) -> dict[str, list[int]]:
    """Return the programs at our hooks of a cgroup, those hooks that have any."""
    with opened(path) as directory:
        found = {name: bpf.attached(directory, hook.attach_type)[0] for name, hook in CGROUP_HOOKS.items()}
    return {name: ids for name, ids in found.items() if ids}


def vanished(path: Path) -> bool:
    """Say whether all goes within a moment: the kernel frees links in its own time."""
    until = time.monotonic() + 3
    while attached(path):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@contextlib.contextmanager
def foreign(path: Path, flags: int) -> Iterator[None]:
    """Have a program of someone else attached to connect4 of a cgroup, without a link as older tools do."""
    program = bpf.load_program(CONNECT4.program_type, CONNECT4.attach_type, "foreign", PROCEED)
    with opened(path) as directory:
        bpf.call(PROG_ATTACH, struct.pack("<4I", directory, program, CONNECT4.attach_type, flags))
        try:
            yield
        finally:
            bpf.call(PROG_DETACH, struct.pack("<4I", directory, program, CONNECT4.attach_type, 0))
            os.close(program)


@contextlib.contextmanager
def another(kernel: Kernel, pins: Path | None) -> Iterator[Kernel]:
    """Load once more: a successor, or with the same pins at the same time a second one."""
    made = Kernel(kernel.compiled, pins)
    made.load()
    with contextlib.closing(made):
        yield made


def lookups(netns: int) -> list[int]:
    """Return the sk_lookup programs of an open namespace."""
    return bpf.attached(netns, INBOUND.attach_type)[0]
