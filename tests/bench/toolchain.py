"""Shell. Builds the load generator, and says what the machine has not."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.bench.kernel_types import offsets_of

SOURCES = Path(__file__).parent / "load"
BTF = Path("/sys/kernel/btf/vmlinux")
CLIENT = "client connect callers messages rate slots stolen bulk"
PROGRAMS = {
    "server": ("server.c",),
    "client": tuple(f"{part}.c" for part in CLIENT.split()),
    "datagrams": ("datagrams.c",),
}
DEBIAN_PACKAGES = {
    "cc": "gcc libc6-dev",
    "wrk": "wrk",
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "nft": "nftables",
}


def lacking(programs: Iterable[str]) -> dict[str, str]:
    """Name the programs that are not here, and the Debian package that brings each."""
    return {name: DEBIAN_PACKAGES.get(name, name) for name in programs if shutil.which(name) is None}


def build(into: Path) -> None:
    """Put the programs and wrk's script into a folder. RuntimeError with the compiler's words."""
    defines = _offsets()
    for program, sources in PROGRAMS.items():
        words = ["cc", "-O2", "-Wall", "-Wextra", "-Wno-sign-compare", *defines, "-o", str(into / program)]
        done = subprocess.run([*words, *sources], cwd=SOURCES, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"cannot build {program}: {done.stderr}")
    shutil.copy(SOURCES / "report.lua", into)


def _offsets() -> list[str]:
    """Define where stolen.c finds the hypervisor's clock. Empty where the kernel does not say."""
    pairs = [
        ("task_struct", "se"),
        ("sched_entity", "cfs_rq"),
        ("cfs_rq", "rq"),
        ("rq", "prev_steal_time_rq"),
    ]
    with contextlib.suppress(OSError, ValueError):
        found = offsets_of(BTF.read_bytes(), pairs)
        if len(found) == len(pairs):
            entity, queue, run_queue, stolen = (found[pair] for pair in pairs)
            return [f"-DTASK_CFS_RQ={entity + queue}", f"-DCFS_RQ_RQ={run_queue}", f"-DRQ_STEAL={stolen}"]
    return []
