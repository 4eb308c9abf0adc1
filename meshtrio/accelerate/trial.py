"""Shell. Try every hazard on the running kernel; a process of its own that then ends.

`python -m meshtrio.accelerate.trial CGROUP` reads a compiled object (bpf/accelerate.c) from standard input,
and writes one finding a hazard to standard output. If the kernel refuses the programs it ends with 1 and says
why on standard error.
"""

import contextlib
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from meshtrio.accelerate.hazards import Finding, Hazard
from meshtrio.accelerate.lab import Lab
from meshtrio.accelerate.probes import PROBES
from meshtrio.intercept.cgroup import CgroupError
from meshtrio.intercept.object import CompiledObject

HOSTS = {"127.0.0.1": "IPv4", "::1": "IPv6"}


def find(lab: Lab, hazards: Iterable[Hazard] = Hazard) -> list[Finding]:
    """Try the hazards, in each family that there is. A probe that fails by itself is a hazard that holds."""
    hosts = [host for host in HOSTS if _is_here(host)]
    findings = []
    for hazard in hazards:
        wrong: dict[str, list[str]] = {}
        for host in hosts:
            said = _tried(lab, hazard, host)
            if said:
                wrong.setdefault(said, []).append(HOSTS[host])
        words = [f"{said} ({', '.join(families)})" for said, families in wrong.items()]
        findings.append(Finding(hazard, "; ".join(words)))
    return findings


def _tried(lab: Lab, hazard: Hazard, host: str) -> str:
    try:
        return PROBES[hazard](lab, host)
    except OSError as failed:
        return f"failed: {failed}"


def _is_here(host: str) -> bool:
    """Say whether the family's loopback address can be used; with IPv6 switched off it cannot."""
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock,
    ):
        sock.bind((host, 0))
        return True
    return False


def main() -> int:
    """Be the child."""
    compiled = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=CompiledObject)
    try:
        lab = Lab.open(compiled, Path(sys.argv[1]))
    except (OSError, CgroupError) as refused:
        sys.stderr.write(f"{getattr(refused, 'strerror', None) or refused}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(find(lab)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
