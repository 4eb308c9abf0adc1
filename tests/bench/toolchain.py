"""Shell. Builds the load generator, and says what the machine has not."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

SOURCES = Path(__file__).parent / "load"
PROGRAMS = {"server": ("server.c",), "client": ("client.c", "connect.c", "messages.c", "bulk.c")}
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
    """Put `server`, `client` and wrk's script into a folder. RuntimeError with the compiler's words."""
    for program, sources in PROGRAMS.items():
        words = ["cc", "-O2", "-Wall", "-Wextra", "-Wno-sign-compare", "-o", str(into / program)]
        done = subprocess.run([*words, *sources], cwd=SOURCES, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"cannot build {program}: {done.stderr}")
    shutil.copy(SOURCES / "report.lua", into)
