"""Shell. Every byte, every FIN and every RST through the mesh as without it: both rungs, both families."""

import socket
from typing import Any

import pytest

from tests.support.outing import VIP, VIP6, mesh_prefix
from tests.support.tcp_truth import Report, run_integrity

HOSTS = {VIP: "127.0.0.1", VIP6: "::1"}
FAMILIES = pytest.mark.parametrize("vip", [VIP, VIP6], ids=["v4", "v6"])
RUNGS = pytest.mark.parametrize("rung", ["ebpf", "nft"])
MANY: dict[str, Any] = {"total_bytes": 30_000_000, "connections": 300}
FEW: dict[str, Any] = {"total_bytes": 10_000_000, "connections": 100}
"""The way of bytes is the same behind all doors, so one of them carries many and the others some."""
CALM: dict[str, Any] = {"deadline_s": 90, "timeout_s": 240}
"""For what hangs. A busy machine alone makes a connection outlast the 30 seconds of the instrument."""


def free_port(host: str) -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        return int(sock.getsockname()[1])


def through_the_mesh(rung: str, vip: str, *, both_ends: bool = False, **run: Any) -> Report:
    """Run the instrument with its client, or both its ends, in the mesh; one port greets first."""
    host = HOSTS[vip]
    server, greeter = (host, free_port(host)), (host, free_port(host))
    dialled, greeted = (vip, server[1]), (vip, greeter[1])
    with (
        mesh_prefix(rung, {dialled: server, greeted: greeter}) as prefix,
        mesh_prefix(rung, {}) as server_prefix,
    ):
        return run_integrity(
            command_prefix=prefix,
            server_prefix=server_prefix if both_ends else (),
            server_address=server,
            dial_address=dialled,
            greeter=(greeter, greeted),
            **run,
        )


@pytest.mark.world
@RUNGS
@FAMILIES
def test_nothing_is_lost_invented_or_ended_otherwise(rung: str, vip: str) -> None:
    how_many = MANY if (rung, vip) == ("ebpf", VIP) else FEW
    report = through_the_mesh(rung, vip, seed=11, **how_many, **CALM)
    assert report.findings == [], report.told()


@pytest.mark.world
@RUNGS
def test_nor_with_both_ends_in_the_mesh(rung: str) -> None:
    report = through_the_mesh(rung, VIP, both_ends=True, seed=12, **FEW, **CALM)
    assert report.findings == [], report.told()


@pytest.mark.world
@pytest.mark.soak
@RUNGS
@FAMILIES
def test_nor_in_ten_gigabytes(rung: str, vip: str) -> None:
    report = through_the_mesh(
        rung, vip, total_bytes=10_000_000_000, connections=2000, seed=13, timeout_s=900, deadline_s=120
    )
    assert report.findings == [], report.told()
