"""What is counted and noted of a connection that was secured, or was to be."""

import socket

import pytest

from meshtrio.identity.spiffe import parse_workload
from meshtrio.messages import Handshakes
from meshtrio.observe.ledger import Ledger
from meshtrio.outcome import Outcome
from meshtrio.passages import counted, note_peer
from meshtrio.route.granting import BY_KERNEL
from meshtrio.secure.border import Passage, Unsafe

CART = parse_workload("spiffe://cluster.local/ns/shop/sa/cart")


async def passed(passage: Passage) -> Passage:
    return passage


async def failed(reason: str) -> Passage:
    raise Unsafe(Outcome.UPSTREAM_TLS, "no", reason=reason)


async def test_ways_and_reasons_are_counted_and_what_was_no_handshake_is_not() -> None:
    ledger = Ledger()
    with socket.socket() as end:
        for tls, resumed in (("", False), ("TLSv1.3", False), ("TLSv1.3", True), (BY_KERNEL, False)):
            passage = Passage(end, CART, tls=tls, resumed=resumed)
            assert await counted(ledger, "outbound", passed(passage)) is passage
    for reason in ("", "expired"):
        with pytest.raises(Unsafe):
            await counted(ledger, "inbound", failed(reason))
    tally = ledger.tally()
    assert tally is not None
    assert tally.handshakes == [
        Handshakes("outbound", "full", 1),
        Handshakes("outbound", "resumed", 1),
        Handshakes("outbound", "kernel", 1),
        Handshakes("inbound", "expired", 1),
    ]


def test_the_entry_says_who_the_other_side_is() -> None:
    entry = Ledger().open("outbound", "ebpf", 0.0)
    with socket.socket() as end:
        note_peer(entry, Passage(end, CART, "2a", "TLSv1.3", "TLS_AES_128_GCM_SHA256", resumed=True))
        assert (entry.peer, entry.serial, entry.tls, entry.resumed) == (str(CART), "2a", "TLSv1.3", True)
        note_peer(entry, Passage(end))
        assert (entry.peer, entry.serial, entry.tls, entry.resumed) == ("", "", "", False)
