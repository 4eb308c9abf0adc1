"""Core. DNS messages, written as bytes. Knows neither services nor what is the right answer."""

import struct
from collections.abc import Sequence

import msgspec

from meshtrio.address import V4_PREFIX
from meshtrio.names.question import HEADER_BYTES, NAME_BYTES, OPT, PLAIN_BYTES, Question

A, NS, CNAME, SOA, PTR, AAAA, SRV = 1, 2, 5, 6, 12, 28, 33
SVCB, HTTPS, IXFR, AXFR, ANY = 64, 65, 251, 252, 255
IN = 1

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

UDP_BYTES = 1232
"""What passes any network in one piece (DNS flag day 2020). We promise and send no more by UDP."""
TCP_BYTES = 65_535

ASKED = b"\xc0\x0c"
"""A pointer to the name in the question, as the client spelt it."""

RESPONSE, AUTHORITATIVE, TRUNCATED, RECURSION_WANTED = 0x8000, 0x0400, 0x0200, 0x0100
_RECURSION_AVAILABLE = 0x0080
_ECHOED = 0x7910
"""Opcode, RD and CD go back as they came (RFC 1035, section 4.1.1; RFC 4035, section 3.2.2)."""

_HEADER = struct.Struct("!HHHHH")
_RECORD = struct.Struct("!HHIH")
_SRV = struct.Struct("!HHH")
_U16 = struct.Struct("!H")


class Sections(msgspec.Struct, frozen=True, gc=False):
    """What an answer says, each record as bytes."""

    answers: Sequence[bytes] = ()
    authority: bytes = b""
    """One record, or none."""
    additional: Sequence[bytes] = ()
    """Left out where there is no room."""
    code: int = NOERROR
    flags: int = AUTHORITATIVE


def message(query: bytes, question: Question, sections: Sections, limit: int) -> bytes:
    """Write the answer to a query, in no more bytes than `limit`; TC is set if an answer was left out."""
    opt = b""
    if question.edns:
        flags = sections.code >> 4 << 24 | question.dnssec_ok << 15
        opt = b"\0" + _RECORD.pack(OPT, UDP_BYTES, flags, 0)
    answers, size = sections.answers, question.end + len(opt) + len(sections.authority)
    whole = size + sum(map(len, answers))
    flags = RESPONSE | _RECURSION_AVAILABLE | sections.flags | sections.code & 0xF
    additional: Sequence[bytes] = ()
    if whole > limit:
        answers = _fitting(answers, limit - size)
        flags |= TRUNCATED
    else:
        additional = _fitting(sections.additional, limit - whole)
    flags |= _U16.unpack_from(query, 2)[0] & _ECHOED
    counts = (1, len(answers), bool(sections.authority), len(additional) + bool(opt))
    head = query[:2] + _HEADER.pack(flags, *counts) + query[HEADER_BYTES : question.end]
    return b"".join((head, *answers, sections.authority, *additional, opt))


def error(query: bytes, code: int, question: Question | None = None) -> bytes:
    """Write that a query cannot be answered; without the question where there was none to be read."""
    if question is not None:
        return message(query, question, Sections(code=code, flags=0), TCP_BYTES)
    flags = RESPONSE | _RECURSION_AVAILABLE | code | _U16.unpack_from(query, 2)[0] & _ECHOED
    return query[:2] + _HEADER.pack(flags, 0, 0, 0, 0)


def limit_of(question: Question, *, tcp: bool) -> int:
    """Say how long an answer of ours may be."""
    return TCP_BYTES if tcp else min(max(question.size, PLAIN_BYTES), UDP_BYTES)


def record(owner: bytes, kind: int, ttl_s: int, value: bytes) -> bytes:
    """Write one record of class IN."""
    return owner + _RECORD.pack(kind, IN, ttl_s, len(value)) + value


def address_record(owner: bytes, ip: bytes, ttl_s: int) -> bytes:
    """Write an A record for an IPv4-mapped address, else an AAAA record."""
    if ip.startswith(V4_PREFIX):
        return record(owner, A, ttl_s, ip[12:])
    return record(owner, AAAA, ttl_s, ip)


def srv_value(port: int, weight: int, target: bytes) -> bytes:
    """Write the value of an SRV record; its target may not be compressed (RFC 2782)."""
    return _SRV.pack(0, min(weight, 65_535), port) + target


def soa_value(zone: bytes, serial: int, negative_ttl_s: int) -> bytes:
    """Write the value of a SOA record; its last number says how long "there is none" may be believed."""
    numbers = struct.pack("!IIIII", serial & 0xFFFFFFFF, 3600, 600, 86_400, negative_ttl_s)
    return zone + b"\x0ahostmaster" + zone + numbers


def name(text: str) -> bytes:
    """Write a name, with or without a dot at its end. ValueError if there cannot be such a name."""
    parts = [part.encode("ascii") for part in text.removesuffix(".").split(".")]
    if not all(0 < len(part) < 64 for part in parts):
        raise ValueError(f"{text!r} has a label that is empty or longer than 63")
    written = b"".join(bytes((len(part),)) + part for part in parts) + b"\0"
    if len(written) > NAME_BYTES:
        raise ValueError(f"{text[:20]!r}... is longer than a name can be")
    return written


def _fitting(records: Sequence[bytes], room: int) -> Sequence[bytes]:
    for at, one in enumerate(records):
        room -= len(one)
        if room < 0:
            return records[:at]
    return records
