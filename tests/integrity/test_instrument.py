"""Shell. The instrument before anything is measured with it: silent without a relay and on a right one,
loud on each wrong one."""

import contextlib
import random
import socket
from collections.abc import Sequence

import pytest

from tests.integrity.faulty import Fault, faulty_relay
from tests.integrity.plan import Plan
from tests.integrity.script import Kind
from tests.support.tcp_truth import Report, run_integrity

SEED, CONNECTIONS, TOTAL_BYTES = 7, 120, 4_000_000
LOUD = {
    Fault.DROPS_LAST_BYTE: {"short"},
    Fault.INVENTS_BYTE: {"bytes"},
    Fault.FLIPS_BIT: {"bytes"},
    Fault.SWAPS_CHUNKS: {"bytes"},
    Fault.REPEATS_CHUNK: {"bytes"},
    Fault.TRUNCATES_AT_SERVER_END: {"short"},
    Fault.RESET_BECOMES_FIN: {"end"},
    Fault.FIN_BECOMES_RESET: {"end"},
    Fault.NO_HALF_CLOSE: {"short"},
    Fault.LATE_FIN: {"hang"},
    Fault.HOLDS_SMALL: {"hang"},
    Fault.DIALS_LATE: {"unseen"},
    Fault.DIALS_TWICE: {"twice"},
    Fault.FORGETS_LATE_RESET: {"hang"},
}


def free_ports(host: str = "127.0.0.1") -> tuple[tuple[str, int], tuple[str, int]]:
    """Give two addresses on which nothing listens, of ports that the kernel gives to nobody who dials."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found: list[tuple[str, int]] = []
    while len(found) < 2:
        where = (host, random.randrange(20_000, 32_000))
        with contextlib.suppress(OSError), socket.create_server(where, family=family):
            found.append(where)
    return found[0], found[1]


def through(fault: Fault, *, connections: int = CONNECTIONS, only: Sequence[int] = ()) -> Report:
    server, greeter = free_ports()
    with faulty_relay(server, fault) as door, faulty_relay(greeter, fault) as greeting_door:
        return run_integrity(
            server_address=server,
            dial_address=door,
            greeter=(greeter, greeting_door),
            connections=connections,
            total_bytes=TOTAL_BYTES,
            seed=SEED,
            only=only,
            at_once=CONNECTIONS,
            longest_pause_s=0.05,
            deadline_s=90 if fault is Fault.NONE else 2.5,  # who is late on a busy machine does not hang
            timeout_s=60,
        )


def test_right_relay_gives_no_findings() -> None:
    report = through(Fault.NONE)
    assert report.findings == []
    assert report.carried_bytes > TOTAL_BYTES
    assert report.resets > 15


# The five that relays really have; the others are as loud, and wait for the long run.
USUAL = (
    Fault.DROPS_LAST_BYTE,
    Fault.SWAPS_CHUNKS,
    Fault.TRUNCATES_AT_SERVER_END,
    Fault.RESET_BECOMES_FIN,
    Fault.NO_HALF_CLOSE,
)


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=() if fault in USUAL else pytest.mark.soak) for fault in LOUD]
)
def test_wrong_relay_is_caught(fault: Fault) -> None:
    report = through(fault)
    print(report.told()[:3000])
    assert {finding.what for finding in report.findings} >= LOUD[fault]


def test_relay_that_cuts_what_a_fin_ended_is_caught() -> None:
    plan = Plan(seed=SEED, connections=1000, total_bytes=TOTAL_BYTES, greeting=True)
    scripts = [plan.script(number) for number in range(plan.connections)]
    talkers = [
        one.number for one in scripts if one.kind is Kind.CLIENT_FIN_RESET and not one.server.waits_for_eof
    ]
    assert through(Fault.NONE, connections=1000, only=talkers[:6]).findings == []
    found = through(Fault.RESETS_TOO_SOON, connections=1000, only=talkers[:6]).findings
    assert len(found) >= 3
    assert {finding.what for finding in found} == {"end"}


def test_one_connection_runs_again_by_its_number() -> None:
    found = through(Fault.FLIPS_BIT).findings
    again = through(Fault.FLIPS_BIT, only=[found[0].number])
    # Which byte is flipped depends on how the kernel cuts the stream.
    assert (found[0].number, found[0].what) in {(one.number, one.what) for one in again.findings}
    assert again.connections == 1


@pytest.mark.soak
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_unmeshed_run_gives_no_findings(host: str) -> None:
    for seed in range(3):
        server, greeter = free_ports(host)
        report = run_integrity(
            server_address=server,
            dial_address=server,
            greeter=(greeter, greeter),
            total_bytes=20_000_000,
            seed=seed,
            longest_pause_s=0.1,
        )
        assert report.findings == []
        assert report.carried_bytes > 20_000_000
