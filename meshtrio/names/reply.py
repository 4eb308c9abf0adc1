"""Core. What another resolver replied: is it a reply to this query, may it be kept, how is it used again.

Replies are passed on as they are, so only as much is read of them as these questions need.
"""

import struct

from meshtrio.names import wire
from meshtrio.names.question import HEADER_BYTES, Question, past_name

_RECORD = struct.Struct("!HxxIH")
_COUNTS = struct.Struct("!HHH")
_CODE = 0x0F
_TRUNCATED = 0x02


def is_reply(reply: bytes, query: bytes, question: Question) -> bool:
    """Say whether this replies to the query: its id and its question, whatever the case of the name."""
    if len(reply) < HEADER_BYTES or reply[:2] != query[:2] or not reply[2] & 0x80:
        return False
    if reply[4:6] == b"\0\0":
        return bool(reply[3] & _CODE)  # an error may come without the question
    names_end = question.end - 4
    return (
        reply[4:6] == b"\0\x01"
        and reply[names_end : question.end] == query[names_end : question.end]
        and reply[HEADER_BYTES:names_end].lower() == query[HEADER_BYTES:names_end].lower()
    )


def truncated(reply: bytes, question: Question) -> bytes:
    """Leave only the question, and say that there is more: the client then asks by TCP."""
    if reply[4:6] != b"\0\x01":
        return reply[:HEADER_BYTES]
    head = reply[:2] + bytes((reply[2] | _TRUNCATED, reply[3])) + b"\0\x01" + bytes(6)
    return head + reply[HEADER_BYTES : question.end]


def denial_ttl_s(reply: bytes, question: Question) -> int:
    """Say how long a reply of "there is none" may be believed (RFC 2308, section 5); 0: not."""
    questions, answers, authorities = _COUNTS.unpack_from(reply, 4)
    if questions != 1 or answers or reply[2] & _TRUNCATED:
        return 0
    if reply[3] & _CODE not in (wire.NOERROR, wire.NXDOMAIN):
        return 0
    at = question.end
    try:
        for _ in range(authorities):
            at = past_name(reply, at)
            kind, ttl_s, length = _RECORD.unpack_from(reply, at)
            at += _RECORD.size + length
            if kind == wire.SOA and at <= len(reply):
                minimum_s = int.from_bytes(reply[at - 4 : at], "big")
                return min(int(ttl_s), minimum_s)
    except (IndexError, struct.error):
        pass
    return 0


def used_again(reply: bytes, query: bytes, question: Question) -> bytes:
    """Make a kept reply one to this query, which asks the same: its id, and the name as it is spelt now."""
    return query[:2] + reply[2:HEADER_BYTES] + query[HEADER_BYTES : question.end] + reply[question.end :]
