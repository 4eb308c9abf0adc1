"""Core. What becomes of DNS answers: endpoints, weights, and when to ask again."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meshtrio.catalog.dns_records import (
    BACK_OFF_S,
    JITTER,
    RECORDS,
    TTL_S,
    Question,
    Records,
    Said,
    Srv,
    service_of,
)
from meshtrio.catalog.service import ServicePort
from meshtrio.config.discovery import DnsService

HOST, SRV = "db.example.com", "_http._tcp.example.com"
A, AAAA, ASK_SRV = Question(HOST, "A"), Question(HOST, "AAAA"), Question(SRV, "SRV")
NONE = Said((), 60)


def by_host(port: int = 5432) -> Records:
    return Records(DnsService("db", HOST, port=port))


def by_srv(*records: Srv, port: int = 0, **addresses: str) -> Records:
    """Each target is a letter, and has the one IPv4 address that is given, or none."""
    made = Records(DnsService("web", SRV, port=port))
    made.take(ASK_SRV, Said(records, 60), 0, 0)
    for question in made.due(0):
        if question != ASK_SRV:
            ip = addresses.get(question.name) if question.kind == "A" else None
            made.take(question, Said((ip,), 60) if ip else NONE, 0, 0)
    return made


def weights(records: Records) -> dict[str, int]:
    port = records.port()
    return {str(one.address): one.weight for one in port.endpoints} if port else {}


def test_a_host_is_asked_for_both_families() -> None:
    records = by_host()
    assert records.due(0) == [A, AAAA]
    assert records.due(0) == []
    assert records.due_at == math.inf
    records.take(A, Said(("10.0.0.2", "10.0.0.1", "10.0.0.1"), 60), 0, 0)
    assert not records.is_complete()
    records.take(AAAA, Said(("fd00::1",), 30), 0, 0)
    assert records.is_complete()
    assert weights(records) == {"10.0.0.1:5432": 1, "10.0.0.2:5432": 1, "[fd00::1]:5432": 1}
    port = records.port()
    assert port
    assert (port.name, port.port) == ("", 5432)
    assert [one.id for one in port.endpoints] == [str(one.address) for one in port.endpoints]
    assert records.due_at == 30
    assert records.due(30) == [AAAA]


@pytest.mark.parametrize(("ttl_s", "waits_s"), [(0, 5), (5, 5), (30, 30), (300, 300), (86400, 300)])
def test_it_is_asked_again_at_the_ttl_within_bounds(ttl_s: float, waits_s: float) -> None:
    for luck in (0.0, 0.5, 1.0):
        records = by_host()
        records.due(100)
        for question in (A, AAAA):
            records.take(question, Said(("10.0.0.1",), ttl_s), 100, luck)
        assert records.due_at == pytest.approx(100 + waits_s * (1 + JITTER * luck))


def test_failing_takes_nothing_away_and_backs_off() -> None:
    records = by_host()
    records.take(A, Said(("10.0.0.1",), 60), 0, 0)
    records.take(AAAA, NONE, 0, 0)
    pauses = []
    for _ in range(7):
        records.due(math.inf)
        records.take(A, None, 1000, 0)
        records.take(AAAA, None, 1000, 0)
        pauses.append(records.due_at - 1000)
    assert pauses == [1, 2, 4, 4, 4, 4, 4]
    assert (pauses[0], pauses[-1]) == BACK_OFF_S
    assert weights(records) == {"10.0.0.1:5432": 1}
    assert records.is_failing()
    records.take(AAAA, NONE, 1000, 0)
    assert records.is_failing(), "what it had to say, it does not say any more"
    records.take(A, Said(("10.0.0.1",), 60), 1000, 0)
    assert not records.is_failing()
    records.take(A, None, 1000, 0)
    assert records.due_at == 1001, "a success begins the pauses anew"


def test_failing_for_a_very_long_time_is_no_overflow() -> None:
    records = by_host()
    for _ in range(3000):
        records.take(A, None, 0, 1)
        records.take(AAAA, None, 0, 1)
    assert records.due_at == pytest.approx(4.4)


def test_that_there_is_nothing_is_believed_the_third_time() -> None:
    records = by_host()
    records.take(AAAA, NONE, 0, 0)
    records.take(A, Said(("10.0.0.1",), 60), 0, 0)
    for now in (10, 20):
        records.take(A, NONE, now, 0)
        assert weights(records) == {"10.0.0.1:5432": 1}
        assert records.due_at == now + TTL_S[0], "asked soon again"
    records.take(A, Said(("10.0.0.1",), 60), 25, 0)
    for now in (30, 40):
        records.take(A, NONE, now, 0)
    records.take(A, None, 45, 0)
    assert weights(records) == {"10.0.0.1:5432": 1}, "who fails does not say that there is nothing"
    records.take(A, NONE, 50, 0)
    assert weights(records) == {}
    assert records.port() is None


def test_that_there_is_nothing_is_believed_at_once_where_nothing_was_known() -> None:
    records = by_host()
    records.due(0)
    records.take(A, NONE, 0, 0)
    records.take(AAAA, NONE, 0, 0)
    assert records.is_complete()
    assert records.port() is None
    assert records.due_at == 60


def test_srv_asks_for_its_targets_and_forgets_them() -> None:
    records = Records(DnsService("web", SRV))
    assert records.due(0) == [ASK_SRV]
    records.take(ASK_SRV, Said((Srv(0, 1, 80, "a."), Srv(0, 1, 81, "a."), Srv(0, 1, 80, "b.")), 60), 0, 0)
    assert records.due(0) == [Question(name, kind) for name in ("a.", "b.") for kind in ("A", "AAAA")]
    records.take(ASK_SRV, Said((Srv(0, 1, 80, "b."),), 60), 0, 0)
    records.take(Question("a.", "A"), Said(("10.0.0.1",), 60), 0, 0)
    records.take(Question("b.", "A"), Said(("10.0.0.2",), 60), 0, 0)
    assert weights(records) == {"10.0.0.2:80": 1}
    assert not records.is_complete()
    records.take(Question("b.", "AAAA"), None, 0, 0)
    assert records.is_complete()


def test_the_least_priority_that_has_addresses_counts() -> None:
    srv = Srv(10, 1, 80, "a"), Srv(20, 2, 80, "b"), Srv(20, 3, 80, "c"), Srv(30, 4, 80, "d")
    assert weights(by_srv(*srv, a="10.0.0.1", b="10.0.0.2", d="10.0.0.4")) == {"10.0.0.1:80": 1}
    assert weights(by_srv(*srv, b="10.0.0.2", c="10.0.0.3", d="10.0.0.4")) == {
        "10.0.0.2:80": 2,
        "10.0.0.3:80": 3,
    }
    assert weights(by_srv(*srv, d="10.0.0.4")) == {"10.0.0.4:80": 4}
    assert weights(by_srv(*srv)) == {}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ((0, 0), (1, 1)),
        ((0, 5), (1, 5)),
        ((3, 1000), (3, 1000)),
        ((0, 60000), (1, 1000)),
        ((6000, 60000), (100, 1000)),
    ],
)
def test_weights_are_kept_or_scaled(given: tuple[int, int], kept: tuple[int, int]) -> None:
    srv = [Srv(0, weight, 80, name) for weight, name in zip(given, "ab", strict=True)]
    assert tuple(weights(by_srv(*srv, a="10.0.0.1", b="10.0.0.2")).values()) == kept


def test_the_port_to_dial() -> None:
    srv = Srv(0, 1, 8081, "a"), Srv(0, 1, 8082, "b"), Srv(0, 1, 8082, "c"), Srv(0, 1, 8080, "a")
    commonest, configured = (
        by_srv(*srv, a="10.0.0.1", b="10.0.0.2", c="10.0.0.3").port(),
        by_srv(*srv, port=80, a="10.0.0.1", b="10.0.0.2", c="10.0.0.3").port(),
    )
    assert commonest
    assert configured
    assert (commonest.port, configured.port) == (8082, 80)
    assert commonest.endpoints == configured.endpoints
    assert len(commonest.endpoints) == 4


def test_one_address_twice_has_its_greatest_weight() -> None:
    srv = Srv(0, 7, 80, "a"), Srv(0, 3, 80, "b")
    assert weights(by_srv(*srv, a="10.0.0.1", b="10.0.0.1")) == {"10.0.0.1:80": 7}


def test_addresses_that_are_nobodys_are_left_out() -> None:
    records = by_host()
    records.take(A, Said(("0.0.0.0", "10.0.0.1", "240.240.0.9"), 60), 0, 0)
    records.take(AAAA, Said(("::", "ff02::1"), 60), 0, 0)
    assert weights(records) == {"10.0.0.1:5432": 1}
    assert by_host(port=0).port() is None


def test_no_more_than_so_many_are_used_and_always_the_same() -> None:
    many = tuple(f"10.0.{n // 250}.{n % 250 + 1}" for n in range(RECORDS + 6))
    one, other = by_host(), by_host()
    one.take(A, Said(many, 60), 0, 0)
    other.take(A, Said(many[::-1], 60), 0, 0)
    assert len(weights(one)) == RECORDS
    assert one.port() == other.port()
    assert one.left_out == f"{HOST} has 70 A records; 64 are used"


def test_several_entries_make_one_service() -> None:
    first = DnsService("web", HOST, namespace="shop")
    ports = [ServicePort("a", 1), None, ServicePort("b", 1), ServicePort("a", 2), ServicePort("c", 3)]
    service = service_of(first, ports)
    assert service
    assert service.key == "shop/web"
    assert [port.name for port in service.ports] == ["a", "c"]
    assert service_of(first, [None, None]) is None


@pytest.mark.parametrize(
    ("host", "protocol", "udp"),
    [
        (HOST, "", False),
        (HOST, "udp", True),
        ("_dns._udp.example.com", "", True),
        ("_DNS._UDP.example.com", "", True),
        ("_dns._udp.example.com", "tcp", False),
        ("_dns._tcp.example.com", "udp", True),
        ("a._udp.example.com", "", False),
    ],
)
def test_a_port_is_of_udp_if_the_host_or_the_entry_says_so(host: str, protocol: Any, udp: bool) -> None:
    service = DnsService("db", host, port=53, protocol=protocol)
    assert service.udp == udp
    records = Records(msgspec.structs.replace(service, host=HOST, protocol="udp" if udp else "tcp"))
    records.take(A, Said(("10.0.0.1",), 60), 0, 0)
    port = records.port()
    assert port
    assert port.protocol == ("udp" if udp else "")


def test_ports_of_udp_stand_apart() -> None:
    ports = [ServicePort("a", 53), ServicePort("b", 53, protocol="udp"), ServicePort("c", 53, protocol="udp")]
    service = service_of(DnsService("web", HOST), ports)
    assert service
    assert [port.name for port in service.ports] == ["a"]
    assert [port.name for port in service.datagrams] == ["b"]


TARGETS = ("a.", "b.", "c.")
IPS = ("10.0.0.1", "10.0.0.2")
ANSWERS = st.none() | st.builds(
    Said, st.lists(st.sampled_from(IPS), max_size=2).map(tuple), st.floats(0, 400)
)
SRVS = st.lists(
    st.builds(Srv, st.integers(0, 1), st.integers(0, 2), st.just(80), st.sampled_from(TARGETS)), max_size=4
)


class AgainstAModel(RuleBasedStateMachine):
    """The model keeps every answer to every question, and looks through them for what holds."""

    def __init__(self) -> None:
        super().__init__()
        self.records = Records(DnsService("web", SRV))
        self.heard: dict[Question, list[Said | None]] = {ASK_SRV: []}
        self.now = 0.0

    def holds(self, question: Question) -> tuple[object, ...]:
        held: tuple[object, ...] = ()
        misses = 0
        for said in self.heard.get(question, []):
            if said is None:
                continue
            misses = 0 if said.records else misses + 1
            if said.records or misses == 3:
                held = said.records
        return held

    @rule(srvs=st.none() | SRVS, ttl_s=st.floats(0, 400), luck=st.floats(0, 1))
    def answer_srv(self, srvs: list[Srv] | None, ttl_s: float, luck: float) -> None:
        said = None if srvs is None else Said(tuple(srvs), ttl_s)
        self.records.take(ASK_SRV, said, self.now, luck)
        self.heard[ASK_SRV].append(said)
        wanted = {record.target for record in self.holds(ASK_SRV) if isinstance(record, Srv)}
        for target in TARGETS:
            question = Question(target, "A")
            if target not in wanted:
                self.heard.pop(question, None)
            else:
                self.heard.setdefault(question, [])

    @rule(name=st.sampled_from(TARGETS), said=ANSWERS, luck=st.floats(0, 1))
    def answer_a(self, name: str, said: Said | None, luck: float) -> None:
        self.records.take(Question(name, "A"), said, self.now, luck)
        if Question(name, "A") in self.heard:
            self.heard[Question(name, "A")].append(said)

    @rule(later_s=st.floats(0, 100))
    def ask(self, later_s: float) -> None:
        self.now += later_s
        due = self.records.due(self.now)
        assert len(due) == len(set(due))
        assert self.records.due(self.now) == []

    @invariant()
    def the_least_priority_with_addresses_is_there(self) -> None:
        groups: dict[int, set[str]] = {}
        for record in self.holds(ASK_SRV):
            assert isinstance(record, Srv)
            ips = self.holds(Question(record.target, "A"))
            groups.setdefault(record.priority, set()).update(f"{ip}:80" for ip in ips)
        found = [group for _, group in sorted(groups.items()) if group]
        assert set(weights(self.records)) == (found[0] if found else set())

    @invariant()
    def nothing_waits_for_ever_or_is_asked_too_soon(self) -> None:
        for question, heard in self.heard.items():
            known = self.records._known[question]
            if heard and known.due_at < math.inf:
                assert known.due_at - self.now <= TTL_S[1] * (1 + JITTER) + 1e-6  # floats


TestAgainstAModel = AgainstAModel.TestCase
