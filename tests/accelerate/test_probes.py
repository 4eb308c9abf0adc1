"""World. The probes find no fault with TCP itself, and find each fault that is put into the program."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshtrio.accelerate.bulk import BULK_BYTES, CREDIT_BYTES
from meshtrio.accelerate.hazards import Hazard
from meshtrio.accelerate.lab import PATIENCE_S, Lane, Pair
from meshtrio.accelerate.probes import PROBES, SOME
from tests.accelerate.inside import TEXT, compiled, run
from tests.accelerate.plain import Plain

WHOLE = Lane(len(SOME), 0, 0, 0)
RIGHT = dict.fromkeys(Hazard, WHOLE) | {
    Hazard.ORDER: Lane(0, 10, 0, 1),
    Hazard.LATCH: Lane(40, 280, 0, 1),
    Hazard.BULK: Lane(BULK_BYTES, 0, 0, 0),
    Hazard.MEMORY: Lane(CREDIT_BYTES, 0, 0, 0),
    Hazard.EDGES: Lane(2, 2, 0, 1),
    Hazard.LOW_WATER: Lane(100, 0, 0, 0),
}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("hazard", Hazard)
def test_tcp_itself_has_no_hazard(hazard: Hazard, host: str) -> None:
    assert PROBES[hazard](Plain(RIGHT[hazard]), host) == ""


COUNTED = [
    Hazard.LATCH,
    Hazard.BULK,
    Hazard.MEMORY,
    Hazard.EDGES,
    Hazard.SHORT_READ,
    Hazard.LOW_WATER,
    Hazard.HALF_CLOSE,
    Hazard.UNREAD,
    Hazard.SPLICE,
]


@pytest.mark.parametrize("hazard", COUNTED)
def test_bytes_that_never_went_past_tcp_prove_nothing(hazard: Hazard) -> None:
    assert PROBES[hazard](Plain(Lane(0, 0, 0, 0)), "127.0.0.1") != ""


class Halved(socket.socket):
    """A socket that reads as much as one of two messages, however much waits."""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        return super().recv(min(size, len(SOME)), flags)


class Halving(Plain):
    """A lab whose servers are such sockets."""

    @contextlib.contextmanager
    def pair(self, host: str, credit_bytes: int, *, early: bytes = b"") -> Iterator[Pair]:
        with (
            super().pair(host, credit_bytes, early=early) as (client, server),
            Halved(fileno=server.detach()) as halved,
        ):
            halved.settimeout(PATIENCE_S)
            yield Pair(client, halved)


def test_a_read_that_leaves_what_waits_is_found() -> None:
    wrong = PROBES[Hazard.SHORT_READ](Halving(WHOLE), "127.0.0.1")
    assert wrong == f"a read with room for more gave {len(SOME)} of {2 * len(SOME)} bytes"


LATCHED, CREDIT = "lane->latched ||", "lane->credit_bytes < size ||"
MISS = "return SK_PASS;\n\t}\n\tlane->credit"
FAULTS = {
    "does not latch": (LATCHED, "", [Hazard.ORDER]),
    "has no credit": (CREDIT, "", [Hazard.LATCH, Hazard.MEMORY]),
    "drops on a miss": (
        MISS,
        "return SK_DROP;\n\t}\n\tlane->credit",
        [Hazard.ORDER, Hazard.LATCH, Hazard.BULK, Hazard.MEMORY, Hazard.EDGES],
    ),
    "redirects nothing": (LATCHED, "1 ||", COUNTED),
}


@pytest.mark.kernel
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_program_is_found(group: Path, fault: str) -> None:
    right, wrong, hazards = FAULTS[fault]
    text = TEXT.read_text()
    assert text.count(right) == 1
    names = ", ".join(f"Hazard.{one.name}" for one in hazards)
    piece = f"answer = [one.wrong for one in find(lab, [{names}])]"
    found = run(group, compiled(text.replace(right, wrong)), piece)
    assert dict(zip(hazards, map(bool, found), strict=True)) == dict.fromkeys(hazards, True), found


def test_every_hazard_has_a_probe() -> None:
    assert set(PROBES) == set(Hazard)
