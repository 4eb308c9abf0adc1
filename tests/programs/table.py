"""Shell. The table of all real programs, and iperf3, which is like none of the others."""

import json
from pathlib import Path

from tests.programs.databases import DATABASES
from tests.programs.demanding import DEMANDING
from tests.programs.web import WEB
from tests.support.programs import Address, Program, Service, Visit

BULK_BYTES = 200 * 1024 * 1024  # what iperf3 calls 200M


def _iperf3_service(address: Address, folder: Path) -> Service:
    return Service(["iperf3", "-s", "-B", address[0], "-p", str(address[1])])


def _iperf3_client(address: Address, folder: Path) -> list[str]:
    one = f"iperf3 -c {address[0]} -p {address[1]} -n 200M -J"
    # One connection up, one down, four up: a test has one control connection and its streams, on one port.
    return ["sh", "-ec", f"{one} >up; {one} -R >down; {one} -P 4 >many"]


def _iperf3_check(visit: Visit) -> None:
    for name in ("up", "down", "many"):
        told = json.loads((visit.folder / name).read_text())
        assert "error" not in told, told.get("error")
        sent, received = (told["end"][side]["bytes"] for side in ("sum_sent", "sum_received"))
        # The receiver stops counting when the sender is done: what is in socket buffers then is missing,
        # unmeshed too (19 MB of 4 streams seen). Exact bytes are the integrity run's business.
        assert sent >= BULK_BYTES * 0.98, f"{name}: {sent} bytes sent"
        assert received >= BULK_BYTES * 0.5, f"{name}: {received} bytes received"


IPERF3 = Program("iperf3", ("iperf3",), _iperf3_service, _iperf3_client, _iperf3_check)

PROGRAMS: list[Program] = [*WEB, *DATABASES, IPERF3, *DEMANDING]
