"""Core. What a DNS query asks, read from its bytes as far as we need it. Knows no names.

By hand, because this is what every query of every workload goes through: dnspython takes 126 us to read a
query and write its answer, and 3 MB of memory; this and `wire.py` take a tenth and nothing. The tests hold
both against dnspython.
"""

import struct

import msgspec

HEADER_BYTES = 12
NAME_BYTES = 255
PLAIN_BYTES = 512
"""What a client without EDNS takes by UDP (RFC 1035, section 4.2.1), and the least that EDNS can say."""

OPT = 41

_TYPE_CLASS = struct.Struct("!HH")
_COUNTS = struct.Struct("!HHH")
_RECORD = struct.Struct("!HHIH")


class Malformed(Exception):
    """These bytes hold no question."""


class Question(msgspec.Struct, frozen=True, gc=False):
    """The one question of a query, and what its sender can take."""

    labels: tuple[str, ...]
    """In lower case. What is not ASCII is read as Latin-1, and so never is a name of ours."""
    type: int
    in_class: int
    end: int
    """Where the question ends in the query; it begins after the header."""
    edns: bool = False
    version: int = 0
    size: int = PLAIN_BYTES
    """What it takes by UDP."""
    dnssec_ok: bool = False
    options: bool = False
    """Whether there are EDNS options, such as cookies: then its answer is for this query alone."""
    sound: bool = True
    """Whether all that follows the question could be read."""


def read(query: bytes) -> Question:
    """Read the question, and EDNS if there is any. Malformed if there is not even a question."""
    lowered = query[HEADER_BYTES : HEADER_BYTES + NAME_BYTES].lower()
    text = lowered.decode("latin-1")
    labels = []
    at = 0
    try:
        while length := lowered[at]:
            if length > 63:
                # 64 to 90 cannot be, and so lower() has not changed a length. 192 on would be a pointer, and
                # before the first name there is nothing to point at.
                raise Malformed
            at += 1 + length
            labels.append(text[at - length : at])
    except IndexError:
        raise Malformed from None
    end = HEADER_BYTES + at + 5
    if end > len(query):
        raise Malformed
    kind, in_class = _TYPE_CLASS.unpack_from(query, end - 4)
    question = Question(tuple(labels), kind, in_class, end)
    return question if query[6:12] == bytes(6) else _with_edns(query, question)


def past_name(message: bytes, at: int) -> int:
    """Find where a name ends that may be compressed. IndexError if it does not."""
    while length := message[at]:
        if length >= 0xC0:
            return at + 2
        at += 1 + length
    return at + 1


def _with_edns(query: bytes, question: Question) -> Question:
    answers, authorities, additionals = _COUNTS.unpack_from(query, 6)
    unsound = msgspec.structs.replace(question, sound=False)
    at = question.end
    found = question
    if answers or authorities:  # IXFR, or nonsense: not ours to answer
        return unsound
    try:
        for _ in range(additionals):
            begins, at = at, past_name(query, at)
            kind, size, ttl, length = _RECORD.unpack_from(query, at)
            at += _RECORD.size + length
            if kind != OPT:
                continue
            if found.edns or query[begins] != 0 or at > len(query):
                return unsound
            found = msgspec.structs.replace(
                question,
                edns=True,
                version=ttl >> 16 & 0xFF,
                size=max(size, PLAIN_BYTES),
                dnssec_ok=bool(ttl & 0x8000),
                options=bool(length),
            )
    except (IndexError, struct.error):
        return unsound
    return found if at <= len(query) else unsound
