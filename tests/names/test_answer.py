"""Shell. Query bytes in, answer bytes out: what is ours and what is not, and how much fits."""

import random
import time

import dns.edns
import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.catalog.service import Service, ServicePort
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.vips import addresses
from meshtrio.config.discovery import Dns
from meshtrio.names.answer import Answers, Chase, Drop, Forward, Verdict
from tests.support.dnswords import lines, query
from tests.support.shop import SHOP, endpoints

ANSWERS = Answers(Dns(), random.Random(1).shuffle)
SOA = "SOA mesh. hostmaster.mesh. 1 3600 600 86400 5"


def verdict(raw: bytes, *, tcp: bool = False, snapshot: Snapshot = SHOP) -> Verdict:
    return ANSWERS.verdict(raw, snapshot, namespace="shop", tcp=tcp)


def said(name: str, kind: str = "A", *, tcp: bool = False) -> list[str]:
    found = verdict(query(name, kind, use_edns=0), tcp=tcp)
    if isinstance(found, bytes):
        return lines(found)
    return [type(found).__name__]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("Orders.Shop", "A", ["NOERROR", "Orders.Shop. 30 A 240.240.1.2"]),
        ("orders.mesh", "AAAA", ["NOERROR", "orders.mesh. 30 AAAA fd6d:6573:68::102"]),
        ("orders.mesh", "HTTPS", ["NOERROR", f"! mesh. 5 {SOA}"]),
        ("_http._tcp.orders.mesh", "A", ["NOERROR", f"! mesh. 5 {SOA}"]),
        ("web.default", "AAAA", ["NOERROR", f"! web.default. 5 {SOA}"]),
        ("web.default.svc.cluster.local", "TXT", ["NOERROR", f"! web.default.svc.cluster.local. 5 {SOA}"]),
        ("nope.mesh", "A", ["NXDOMAIN", f"! mesh. 5 {SOA}"]),
        ("shop.mesh", "A", ["NOERROR", f"! mesh. 5 {SOA}"]),
        ("mesh", "SOA", ["NOERROR", f"mesh. 5 {SOA}"]),
        ("mesh", "NS", ["NOERROR", f"! mesh. 5 {SOA}"]),
        (
            "2.1.240.240.in-addr.arpa",
            "PTR",
            ["NOERROR", "2.1.240.240.in-addr.arpa. 30 PTR orders.shop.mesh."],
        ),
        ("paying.mesh", "A", ["Chase"]),
        ("paying.mesh", "CNAME", ["NOERROR", "paying.mesh. 30 CNAME api.example.com."]),
        (
            "mirror.shop",
            "A",
            ["NOERROR", "mirror.shop. 30 CNAME orders.shop.mesh.", "orders.shop.mesh. 30 A 240.240.1.2"],
        ),
        ("mirror.mesh", "TXT", ["NOERROR", "mirror.mesh. 30 CNAME orders.shop.mesh.", f"! mesh. 5 {SOA}"]),
        ("ring.mesh", "A", ["SERVFAIL"]),
        ("twisted.mesh", "A", ["SERVFAIL"]),
        ("www.example.com", "A", ["Forward"]),
        ("orders.mesh.example.com", "A", ["Forward"]),
        ("orders.mesh", "AXFR", ["REFUSED"]),
        # Both could be public names, and who asks so does not want to connect.
        ("orders.shop", "MX", ["Forward"]),
        ("orders", "NS", ["Forward"]),
    ],
)
def test_what_is_said_in_the_shop(name: str, kind: str, expected: list[str]) -> None:
    assert said(name, kind) == expected


def test_srv_of_an_alias_tells_the_place_of_what_it_stands_for() -> None:
    assert said("mirror.mesh", "SRV")[:2] == ["NOERROR", "mirror.mesh. 30 CNAME orders.shop.mesh."]
    assert said("mirror.mesh", "SRV")[2] == "orders.shop.mesh. 30 SRV 0 100 80 orders.shop.mesh."


def test_the_target_of_srv_is_the_service_as_it_was_asked_for() -> None:
    assert said("_http._TCP.Orders.Shop", "SRV") == [
        "NOERROR",
        "_http._TCP.Orders.Shop. 30 SRV 0 100 80 Orders.Shop.",
        "+ Orders.Shop. 30 A 240.240.1.2",
        "+ Orders.Shop. 30 AAAA fd6d:6573:68::102",
    ]


def test_a_resolver_that_asks_from_the_root_down_is_not_answered_for_short_names() -> None:
    for name, mine in (("orders.shop", False), ("orders", False), ("orders.shop.mesh", True)):
        assert isinstance(verdict(query(name, flags=0)), bytes) is mine


def test_an_alias_to_a_short_name_is_not_taken_for_one_of_ours() -> None:
    odd = SHOP.with_services([Service("out", "shop", external="example.com")])
    found = verdict(query("out.mesh"), snapshot=odd)
    assert isinstance(found, Chase)
    assert found.target == "example.com"


def test_sixteen_endpoints_by_udp_and_all_by_tcp() -> None:
    by_udp = said("many.default")
    assert (by_udp[0], len(by_udp)) == ("NOERROR", 17)
    assert len(said("many.default", tcp=True)) == 101
    assert len({tuple(said("many.default")) for _ in range(5)}) == 5


def test_what_does_not_fit_is_left_out_and_told() -> None:
    v6 = endpoints(*(f"[fd00::{n}]:1" for n in range(1, 17)))
    name = "a" * 63
    wide = SHOP.with_services([Service(name, headless=True, ports=(ServicePort("x", 1, v6),))])
    plain = verdict(query(f"{name}.default.svc.cluster.local", "AAAA"), snapshot=wide)
    assert isinstance(plain, bytes)
    assert len(plain) <= 512
    assert lines(plain)[0] == "NOERROR TC"
    assert len(lines(plain)) - 1 == (512 - 12 - (len(name) + 1 + 27 + 4)) // 28
    roomy = verdict(query(f"{name}.default.svc.cluster.local", "AAAA", use_edns=0), snapshot=wide)
    assert isinstance(roomy, bytes)
    assert (lines(roomy)[0], len(lines(roomy))) == ("NOERROR", 17)
    srv = verdict(query(f"{name}.default.svc.cluster.local", "SRV", use_edns=0), snapshot=wide)
    assert isinstance(srv, bytes)
    assert len(srv) <= 1232
    assert lines(srv)[0] == "NOERROR TC"


HEAD = query("orders.mesh", id=1)  # what is collected must have the same name in each process


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", Drop.GARBAGE),
        (HEAD[:11], Drop.GARBAGE),
        (HEAD[:2] + b"\x80" + HEAD[3:], Drop.RESPONSE),
        (HEAD[:2] + b"\x29" + HEAD[3:], ["NOTIMP"]),
        (HEAD[:4] + bytes(2) + HEAD[6:], ["FORMERR"]),
        (HEAD[:4] + b"\0\2" + HEAD[6:], ["FORMERR"]),
        (HEAD[:-1], ["FORMERR"]),
        (HEAD[:10] + b"\0\1" + HEAD[12:], ["FORMERR"]),
        (HEAD[:-2] + b"\0\3", "Forward"),
        (query("orders.mesh", id=1, use_edns=1), ["BADVERS"]),
        (query("www.example.com", id=1, use_edns=1), "Forward"),
    ],
)
def test_what_is_no_plain_question(raw: bytes, expected: Drop | list[str] | str) -> None:
    found = verdict(raw)
    if isinstance(found, bytes):
        assert lines(found) == expected
        assert found[:2] == raw[:2]
    elif isinstance(found, Drop):
        assert found is expected
    else:
        assert type(found).__name__ == expected


def test_cookies_and_signatures_that_are_wanted_do_no_harm() -> None:
    asked = dns.message.make_query("orders.mesh", "A", want_dnssec=True, flags=dns.flags.RD | dns.flags.AD)
    asked.use_edns(0, dns.flags.DO, 4096, options=[dns.edns.CookieOption(b"12345678", b"")])
    found = verdict(asked.to_wire())
    assert isinstance(found, bytes)
    read = dns.message.from_wire(found)
    assert (read.edns, read.ednsflags, read.options, read.payload) == (0, dns.flags.DO, (), 1232)
    assert not read.flags & dns.flags.AD
    assert asked.is_response(read)


def test_settings_are_the_answers_times_and_the_clusters_domain() -> None:
    mine = Answers(Dns(cluster_domain="Corp.Example.", ttl_s=7, negative_ttl_s=2), random.shuffle)

    def told(name: str) -> list[str]:
        found = mine.verdict(query(name), SHOP, namespace="", tcp=False)
        assert isinstance(found, bytes)
        return lines(found)

    assert told("orders.shop.svc.corp.example") == [
        "NOERROR",
        "orders.shop.svc.corp.example. 7 A 240.240.1.2",
    ]
    assert told("nope.mesh")[1].startswith("! mesh. 2 SOA")


NAMES = (
    "orders.mesh",
    "many.default",
    "db.shop",
    "_http._tcp.orders.mesh",
    "paying.shop",
    "x.mesh",
    "2.1.240.240.in-addr.arpa",
)


@given(st.sampled_from(NAMES), st.integers(1, 300), st.sampled_from((0, 400, 512, 700, 4096)), st.booleans())
def test_every_answer_answers_its_query_and_fits(name: str, kind: int, size: int, tcp: bool) -> None:
    edns = {"use_edns": 0, "payload": size} if size else {}
    raw = query(name, f"TYPE{kind}", **edns)
    found = verdict(raw, tcp=tcp)
    if isinstance(found, Forward | Chase):
        return
    assert isinstance(found, bytes)
    assert dns.message.from_wire(raw).is_response(dns.message.from_wire(found))
    assert tcp or len(found) <= max(512, min(size, 1232))


@given(st.binary(max_size=60))
def test_any_bytes_get_a_verdict(tail: bytes) -> None:
    verdict(tail)
    verdict(HEAD[:12] + tail)
    verdict(HEAD[:11] + b"\1" + HEAD[12:] + tail)


def test_among_ten_thousand_services_a_name_is_found_in_less_than_a_millisecond() -> None:
    ports = (ServicePort("http", 80),)
    full = Snapshot().with_services(Service(f"s{n}", "shop", addresses(n + 1), ports) for n in range(10_000))
    names = ("s{0}", "s{0}.shop.svc.cluster.local", "s{0}.mesh", "nope{0}.mesh", "_http._tcp.s{0}.shop.mesh")
    raws = [query(names[n % 5].format(n), "SRV" if n % 5 == 4 else "A", use_edns=0) for n in range(2000)]
    took_s = []
    for raw in raws:
        began = time.thread_time()  # of this thread alone: the machine may be busy with something else
        assert isinstance(verdict(raw, snapshot=full), bytes)
        took_s.append(time.thread_time() - began)
    assert sorted(took_s)[int(len(raws) * 0.99)] < 0.001
