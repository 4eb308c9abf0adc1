"""Shell. Every byte, every FIN and every RST as unmeshed: by mutual TLS over a wire, and direct."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.tcp_truth import Report, run_integrity
from tests.support.wired import HOSTS, PORTS, WAYS, Wired, wired

FEW: dict[str, Any] = {"total_bytes": 10_000_000, "connections": 100}
MANY: dict[str, Any] = {"total_bytes": 5_000_000_000, "connections": 1000}
CALM: dict[str, Any] = {"deadline_s": 90, "timeout_s": 240}
LONG: dict[str, Any] = {"deadline_s": 120, "timeout_s": 900}

pytestmark = pytest.mark.world
FAMILIES = pytest.mark.parametrize("vip", HOSTS, ids=["v4", "v6"])


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[tuple[str, Wired]]:
    """The mesh of a way, which all its tests share."""
    with wired(request.param) as ends:
        yield request.param, ends


def through(ends: Wired, vip: str, **run: Any) -> Report:
    """Run the instrument over the wire; one port greets first."""
    server, greeter = ((HOSTS[vip], port) for port in PORTS)
    dialled, greeted = ((vip, port) for port in PORTS)
    return run_integrity(
        command_prefix=ends.client,
        server_prefix=ends.server,
        server_address=server,
        dial_address=dialled,
        greeter=(greeter, greeted),
        **run,
    )


def check(way: tuple[str, Wired], vip: str, **run: Any) -> None:
    """Run it, and see that connections did go that way."""
    name, ends = way
    before = ends.mesh.hooks().get("direct", 0)
    report = through(ends, vip, **run)
    assert report.findings == [], report.told()
    went = ends.mesh.hooks().get("direct", 0) - before
    if name == "direct":
        assert went == report.connections
    else:
        assert went == 0
        # A client that resets at once may do so amid the handshake, and then nothing is carried.
        carried = [one for one in ends.mesh.ended() if one["sent_bytes"] or one["received_bytes"]]
        assert {one["direction"] for one in carried} == {"inbound", "outbound"}
        assert {one["tls"] for one in carried} == {"TLSv1.3"}


@FAMILIES
def test_nothing_is_lost_invented_or_ended_otherwise_on_the_wire(way: tuple[str, Wired], vip: str) -> None:
    check(way, vip, seed=31, **FEW, **CALM)


@pytest.mark.soak
@FAMILIES
def test_nor_in_five_gigabytes(way: tuple[str, Wired], vip: str) -> None:
    check(way, vip, seed=32, **MANY, **LONG)
