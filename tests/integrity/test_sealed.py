"""Every byte, every FIN and every RST through two relays with TLS between them."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.tcp_truth import ROOT, run_integrity

Place = tuple[str, int]


@contextmanager
def two_hops(*behind: int) -> Iterator[list[Place]]:
    """Lead a port of ours to each of these, through TLS."""
    fronts = [free_port() for _ in behind]
    ways = [f"{front}:{to}" for front, to in zip(fronts, behind, strict=True)]
    command = [sys.executable, "-m", "tests.support.sealed_hops", *ways]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield [("127.0.0.1", front) for front in fronts]
        finally:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def check(total_bytes: int, connections: int, timeout_s: float) -> None:
    server, greeter = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    with two_hops(server[1], greeter[1]) as (dialled, greeted):
        report = run_integrity(
            server_address=server,
            dial_address=dialled,
            greeter=(greeter, greeted),
            total_bytes=total_bytes,
            connections=connections,
            seed=21,
            deadline_s=90,  # a busy machine alone makes a connection last longer than 30
            timeout_s=timeout_s,
        )
    assert report.findings == [], report.told()


def test_nothing_is_lost_invented_or_ended_otherwise_by_tls() -> None:
    check(20_000_000, 200, 240)


@pytest.mark.soak
def test_gigabytes_through_tls() -> None:
    check(5_000_000_000, 2000, 1800)
