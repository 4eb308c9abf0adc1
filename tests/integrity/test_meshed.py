"""Shell. Every byte, FIN and RST through the mesh, and past it, as without it: all rungs, both families."""

import socket
from typing import Any

import pytest

from tests.support.granted_outing import granted_prefixes
from tests.support.outing import VIP, VIP6, mesh_prefix
from tests.support.tcp_truth import Report, run_integrity
from tests.support.world import RIGHT, RIGHT6

HOSTS = {VIP: "127.0.0.1", VIP6: "::1"}
HOSTS_APART = {VIP: RIGHT, VIP6: RIGHT6}
FAMILIES = pytest.mark.parametrize("vip", [VIP, VIP6], ids=["v4", "v6"])
PLACES = pytest.mark.parametrize("apart", [True, False], ids=["apart", "together"])
RUNGS = pytest.mark.parametrize("rung", ["ebpf", "nft"])
MANY: dict[str, Any] = {"total_bytes": 30_000_000, "connections": 300}
FEW: dict[str, Any] = {"total_bytes": 10_000_000, "connections": 100}
"""The way of bytes is the same behind all doors, so one of them carries many and the others some."""
SOAK: dict[str, Any] = {
    "total_bytes": 10_000_000_000,
    "connections": 2000,
    "timeout_s": 900,
    "deadline_s": 120,
}
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


def past_the_mesh(vip: str, *, apart: bool, **run: Any) -> Report:
    """Run the instrument with its ends as workloads of one agent; all its connections are granted."""
    host = (HOSTS_APART if apart else HOSTS)[vip]
    server, greeter = (host, 9000), (host, 9001)
    dialled, greeted = (vip, 9000), (vip, 9001)
    with granted_prefixes({dialled: server, greeted: greeter}, apart=apart) as granted:
        report = run_integrity(
            command_prefix=granted.caller,
            server_prefix=granted.called,
            server_address=server,
            dial_address=dialled,
            greeter=(greeter, greeted),
            once_served=granted.serve,
            **run,
        )
        assert granted.passed() == report.connections, report.told()
    return report


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
@pytest.mark.rung("r5")
@FAMILIES
@PLACES
def test_nor_past_the_mesh(vip: str, apart: bool) -> None:
    report = past_the_mesh(vip, apart=apart, seed=14, **FEW, **CALM)
    assert report.findings == [], report.told()


@pytest.mark.world
@pytest.mark.soak
@RUNGS
@FAMILIES
def test_nor_in_ten_gigabytes(rung: str, vip: str) -> None:
    report = through_the_mesh(rung, vip, seed=13, **SOAK)
    assert report.findings == [], report.told()


@pytest.mark.world
@pytest.mark.soak
@pytest.mark.rung("r5")
@FAMILIES
@PLACES
def test_nor_in_ten_gigabytes_past_the_mesh(vip: str, apart: bool) -> None:
    report = past_the_mesh(vip, apart=apart, seed=15, **SOAK)
    assert report.findings == [], report.told()
