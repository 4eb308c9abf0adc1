"""Core. Registrations against a plain model, and the services that are made of them."""

import math

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meshtrio.address import Address
from meshtrio.catalog.registered import Registrations, Verdict
from meshtrio.catalog.registrant import Name, Registrant
from meshtrio.catalog.service import Endpoint, Service


def registrant(id: str = "a", at: str = "10.0.0.1:80", **given: object) -> Registrant:
    address = Address.parse(at)
    made = Registrant(Name("default/web", id), Endpoint(id, address), address.port)
    return msgspec.structs.replace(made, **given)


def made(*registrants: Registrant) -> Service | None:
    held = Registrations(100)
    for one in registrants:
        held.put(one, 0.0)
    return held.service("default/web")


def ports(service: Service | None) -> dict[int, tuple[str, list[str]]]:
    assert service is not None
    return {port.port: (port.name, [one.id for one in port.endpoints]) for port in service.ports}


def test_one_port_a_number_with_its_endpoints_in_order() -> None:
    service = made(
        registrant("b", "10.0.0.2:8080", port=80),
        registrant("a", port=80, port_name="http"),
        registrant("c", "10.0.0.1:90"),
    )
    assert service is not None
    assert service.key == "default/web"
    assert ports(service) == {80: ("http", ["a", "b"]), 90: ("", ["c"])}


def test_port_names_are_never_the_same() -> None:
    taken = [registrant(f"i{n}", f"10.0.0.1:{n}", port_name="a") for n in (3, 1, 2)]
    service = made(
        *taken,
        registrant("j", "10.0.0.1:4", port_name="a-3"),
        registrant("k"),
        registrant("l", "10.0.0.1:81"),
    )
    assert ports(service) == {
        1: ("a", ["i1"]),
        2: ("a-2", ["i2"]),
        3: ("a-3", ["i3"]),
        4: ("a-3-4", ["j"]),
        80: ("", ["k"]),
        81: ("81", ["l"]),
    }


def test_ports_of_udp_stand_apart() -> None:
    service = made(
        registrant("a", "10.0.0.1:53", port_name="dns"),
        registrant("b", "10.0.0.1:53", port_name="dns", udp=True),
        registrant("c", "10.0.0.2:53", port_name="dns", udp=True),
    )
    assert ports(service) == {53: ("dns", ["a"])}
    assert service
    (port,) = service.datagrams
    assert (port.name, port.port, port.protocol) == ("dns-53", 53, "udp")
    assert [one.id for one in port.endpoints] == ["b", "c"]


def test_of_one_address_the_last_word_counts() -> None:
    held = Registrations(100)
    held.put(registrant("new"), 0.0)
    held.put(registrant("old"), 0.0)
    assert ports(held.service("default/web")) == {80: ("", ["old"])}
    held.put(registrant("new"), 1.0)
    assert ports(held.service("default/web")) == {80: ("", ["old"])}, "a heartbeat is no new word"
    held.put(registrant("new", ttl_s=31), 1.0)
    assert ports(held.service("default/web")) == {80: ("", ["new"])}
    held.delete(Name("default/web", "new"))
    assert ports(held.service("default/web")) == {80: ("", ["old"])}


def test_what_was_held_makes_the_same_services_again() -> None:
    held, again = Registrations(100), Registrations(100)
    held.put(registrant("new"), 0.0)
    held.put(registrant("old"), 0.0)
    held.put(registrant("new", ttl_s=31), 0.0)
    for one in held:
        again.put(one.registrant, 5.0)
    assert again.service("default/web") == held.service("default/web")


def test_full_refuses_only_the_new() -> None:
    held = Registrations(1)
    assert held.put(registrant("a"), 0.0) is Verdict.CREATED
    assert held.put(registrant("b"), 0.0) is Verdict.FULL
    assert held.put(registrant("a"), 0.0) is Verdict.RENEWED
    assert held.put(registrant("a", ttl_s=9), 0.0) is Verdict.CHANGED
    assert held.delete(Name("default/web", "a"))
    assert held.put(registrant("b"), 0.0) is Verdict.CREATED


def test_nothing_is_looked_at_before_it_may_be_due() -> None:
    held = Registrations(10)
    assert held.soonest == math.inf
    held.put(registrant("a", ttl_s=0), 0.0)
    assert held.soonest == math.inf
    held.put(registrant("b", ttl_s=5), 1.0)
    assert held.soonest == 6.0
    held.put(registrant("b", ttl_s=5), 4.0)
    assert held.expire(6.0) == []
    assert held.soonest == 9.0
    assert held.expire(9.0) == [Name("default/web", "b")]
    assert held.soonest == math.inf


NAMES = st.builds(Name, st.sampled_from(["default/web", "shop/web"]), st.sampled_from("abcd"))
BOUND = 5


class AgainstAModel(RuleBasedStateMachine):
    """The model is one dictionary, looked through from end to end each time."""

    def __init__(self) -> None:
        super().__init__()
        self.held = Registrations(BOUND)
        self.model: dict[Name, tuple[Registrant, float]] = {}
        self.now = 100.0

    @rule(name=NAMES, ttl_s=st.integers(0, 4), port=st.sampled_from([80, 81]), host=st.integers(1, 2))
    def put(self, name: Name, ttl_s: int, port: int, host: int) -> None:
        endpoint = Endpoint(name.id, Address.of(f"10.0.0.{host}", port))
        one = Registrant(name, endpoint, port, ttl_s=ttl_s)
        verdict = self.held.put(one, self.now)
        known = self.model.get(name)
        if known is None and len(self.model) == BOUND:
            assert verdict is Verdict.FULL
            return
        if known is not None and known[0] == one:
            assert verdict is Verdict.RENEWED
        else:
            assert verdict is (Verdict.CREATED if known is None else Verdict.CHANGED)
            self.model.pop(name, None)
        self.model[name] = (one, self.now + ttl_s if ttl_s else math.inf)

    @rule(name=NAMES)
    def renew(self, name: Name) -> None:
        renewed = self.held.renew(name, self.now)
        assert (renewed is not None) == (name in self.model)
        if renewed is not None:
            one = self.model[name][0]
            self.model[name] = (one, self.now + one.ttl_s if one.ttl_s else math.inf)
            assert renewed == self.model[name]

    @rule(name=NAMES)
    def delete(self, name: Name) -> None:
        assert self.held.delete(name) == (self.model.pop(name, None) is not None)

    @rule(later_s=st.floats(0, 3))
    def expire(self, later_s: float) -> None:
        self.now += later_s
        due = {name for name, (_, deadline) in self.model.items() if deadline <= self.now}
        assert set(self.held.expire(self.now)) == due
        for name in due:
            del self.model[name]

    @invariant()
    def both_know_the_same(self) -> None:
        assert len(self.held) == len(self.model) == len(list(self.held))
        for name, known in self.model.items():
            assert self.held.held(name) == known
        assert set(self.held.keys) == {name.key for name in self.model}
        assert self.held.soonest <= min((deadline for _, deadline in self.model.values()), default=math.inf)

    @invariant()
    def services_are_what_the_model_says(self) -> None:
        for key in ("default/web", "shop/web"):
            service = self.held.service(key)
            serving: dict[tuple[int, Address], Endpoint] = {}
            for name, (one, _) in self.model.items():
                if name.key == key:
                    serving[one.port, one.endpoint.address] = one.endpoint
            found = (
                {(port.port, one.address): one for port in service.ports for one in port.endpoints}
                if service
                else {}
            )
            assert found == serving


TestAgainstAModel = AgainstAModel.TestCase
