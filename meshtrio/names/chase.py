"""Core. A name that stands for one which is not ours: what to ask of another resolver, and the whole answer.

This is rare, and has records of any type to be written anew; so here dnspython does the work, and is imported
when the first such reply comes (3 MB).
"""

import struct
from typing import TYPE_CHECKING

from meshtrio.names import wire
from meshtrio.names.answer import Chase
from meshtrio.names.question import OPT
from meshtrio.names.wire import Sections

if TYPE_CHECKING:
    import dns.rrset

_PASSED_ON = 0x0130
"""RD, AD and CD go to the other resolver as they came."""


def asked(query: bytes, chase: Chase) -> bytes:
    """Write the query for the target: of the same id, and with EDNS if the client has it."""
    question = chase.question
    flags = struct.unpack_from("!H", query, 2)[0] & _PASSED_ON
    opt = b""
    if question.edns:
        opt = b"\0" + struct.pack("!HHIH", OPT, wire.UDP_BYTES, question.dnssec_ok << 15, 0)
    head = query[:2] + struct.pack("!HHHHH", flags, 1, 0, 0, bool(opt))
    return head + wire.name(chase.target) + struct.pack("!HH", question.type, wire.IN) + opt


def joined(query: bytes, chase: Chase, reply: bytes, limit: int) -> bytes:
    """Write the answer to the client's query: the aliases, and behind them what was replied of the target."""
    import dns.exception
    import dns.message

    question = chase.question
    if reply[2] & 0x02:
        return wire.message(query, question, Sections(chase.aliases, flags=wire.TRUNCATED), limit)
    try:
        said = dns.message.from_wire(reply, ignore_trailing=True)
        answers, authority = _records(said.answer), _records(said.authority, only=wire.SOA)
    except (dns.exception.DNSException, ValueError, struct.error):
        return wire.error(query, wire.SERVFAIL, question)
    sections = Sections(
        [*chase.aliases, *answers], b"".join(authority[:1]), code=int(said.rcode()) & 0xF, flags=0
    )
    return wire.message(query, question, sections, limit)


def _records(rrsets: "list[dns.rrset.RRset]", *, only: int = 0) -> list[bytes]:
    """Write these records (of one type, if `only`) without compression. Any class but IN is left out."""
    return [
        wire.record(rrset.name.to_wire() or b"", rrset.rdtype, rrset.ttl, rdata.to_wire() or b"")
        for rrset in rrsets
        if rrset.rdclass == wire.IN and only in (0, rrset.rdtype)
        for rdata in rrset
    ]
