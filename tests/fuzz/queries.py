"""Shell. What must hold of DNS queries that come in and of replies that come back, of any bytes."""

import random
import zlib

import dns.exception
import dns.message
import dns.rrset

from meshtrio.config.discovery import Dns
from meshtrio.names import chase
from meshtrio.names.answer import Answers, Chase, Drop, Forward
from meshtrio.names.question import HEADER_BYTES, read
from meshtrio.names.reply import denial_ttl_s, is_reply, truncated, used_again
from meshtrio.names.wire import UDP_BYTES
from tests.support.dnswords import query
from tests.support.shop import SHOP

QUERY_INVARIANT = (
    "Any bytes: an answer to this very query that dnspython reads and that fits, or forward it, or drop it;"
    " no exception; linear time."
)
REPLY_INVARIANT = (
    "Any bytes: taken for the reply or not; kept, cut or told behind an alias, always as a message that fits;"
    " no exception; linear time."
)
NAMES = [
    "orders.mesh",
    "orders.shop.svc.cluster.local",
    "_http._tcp.db.shop.mesh",
    "10-0-1-1.db.shop.mesh",
    "paying.mesh",
    "2.1.240.240.in-addr.arpa",
    "v1.cart.service.dc1.consul",
    "many.default",
    "nope.mesh",
    "mesh",
    "www.example.com",
]
QUERY_SEEDS = tuple(
    query(name, kind, id=7, **options)
    for name in NAMES
    for kind, options in (
        ("A", {}),
        ("SRV", {"use_edns": 0}),
        ("ANY", {"want_dnssec": True, "payload": 4096}),
    )
)
QUERY_WORDS = (
    b"\x00",
    b"\xc0\x0c",
    b"\x04mesh\x00",
    b"\x05_http\x04_tcp",
    b"\x3f" + b"a" * 63,
    b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00",
    b"\x00\x01\x00\x01",
    b"\xff\xff",
)

_ALIAS = query("paying.mesh", "ANY", id=7, use_edns=0).replace(b"\x00\xff\x00\x01", b"\x00\x10\x00\x01")


def _alias() -> Chase:
    found = Answers(Dns(), random.shuffle).verdict(_ALIAS, SHOP, namespace="shop", tcp=False)
    assert isinstance(found, Chase)
    return found


CHASE = _alias()
ASKED = chase.asked(_ALIAS, CHASE)


def _seed(*records: tuple[str, str]) -> bytes:
    said = dns.message.make_response(dns.message.from_wire(ASKED))
    for kind, value in records:
        said.answer.append(dns.rrset.from_text("api.example.com.", 9, "IN", kind, value))
    said.authority.append(dns.rrset.from_text("example.com.", 9, "IN", "SOA", "a.b. c.d. 1 2 3 4 5"))
    return said.to_wire()


REPLY_SEEDS = (
    _seed(),
    _seed(("TXT", "words"), ("CNAME", "x.example.com.")),
    _seed(("MX", "1 m.example.com."), ("SRV", "1 2 3 s.example.com."), ("AAAA", "fd00::1")),
    _seed(("HTTPS", "1 . alpn=h2"), ("CAA", '0 issue "x"')),
)


def check_query(data: bytes) -> None:
    luck = random.Random(zlib.crc32(data))
    answers = Answers(Dns(), luck.shuffle, datacenter="dc1")
    for tcp in (False, True):
        found = answers.verdict(data, SHOP, namespace="shop", tcp=tcp)
        if not isinstance(found, bytes):
            assert isinstance(found, Drop | Forward | Chase)
            continue
        said = dns.message.from_wire(found)
        assert found[:2] == data[:2], "another id"
        assert found[2] & 0x80, "no answer"
        assert tcp or len(found) <= UDP_BYTES, "too long for UDP"
        if said.question:
            end = read(data).end
            assert found[HEADER_BYTES:end] == data[HEADER_BYTES:end], "another question"
        try:
            asked = dns.message.from_wire(data, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError):
            continue
        assert asked.is_response(said) or not said.question, "dnspython does not take it for an answer"


def check_reply(data: bytes) -> None:
    question = read(ASKED)
    if not is_reply(data, ASKED, question):
        return
    assert 0 <= denial_ttl_s(data, question) < 1 << 32
    assert len(truncated(data, question)) <= question.end
    again = used_again(data, ASKED, question)
    assert len(again) >= len(data) or len(data) < question.end
    whole = chase.joined(_ALIAS, CHASE, data, UDP_BYTES)
    assert len(whole) <= UDP_BYTES
    assert whole[:2] == _ALIAS[:2], "another id"
    assert whole[HEADER_BYTES : CHASE.question.end] == _ALIAS[HEADER_BYTES : CHASE.question.end], (
        "another question"
    )
    dns.message.from_wire(whole)
