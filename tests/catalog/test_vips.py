"""Numbers for services: stable, of one owner, and taken anew only when there is no other."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meshtrio.address import Address
from meshtrio.catalog import vips as module
from meshtrio.catalog.vips import NETWORKS, NUMBERS, Vips, addresses, is_allocated


def shown(packed: tuple[bytes, ...]) -> list[str]:
    texts = [ipaddress.IPv6Address(one) for one in packed]
    return [str(one.ipv4_mapped or one) for one in texts]


def test_a_number_is_an_address_of_each_family() -> None:
    assert shown(addresses(1)) == ["240.240.0.1", "fd6d:6573:68::1"]
    assert shown(addresses(0xFFFE)) == ["240.240.255.254", "fd6d:6573:68::fffe"]


@given(number=st.sampled_from(NUMBERS))
def test_every_number_is_in_the_networks(number: int) -> None:
    for text, network in zip(shown(addresses(number)), NETWORKS, strict=True):
        assert ipaddress.ip_address(text) in ipaddress.ip_network(network)
    assert all(map(is_allocated, addresses(number)))


@pytest.mark.parametrize("text", ["240.241.0.1", "10.240.240.1", "fd6d:6573:69::1", "::240.240.0.1"])
def test_other_addresses_are_not_ours(text: str) -> None:
    assert not is_allocated(Address.of(text, 0).ip)


def test_everywhere_and_after_every_restart_it_is_the_same_address() -> None:
    assert shown(Vips().of("default/orders")) == ["240.240.192.248", "fd6d:6573:68::c0f8"]


def test_whoever_comes_back_gets_the_same() -> None:
    vips = Vips()
    first = vips.of("a")
    vips.release("a")
    vips.of("b")
    assert vips.of("a") == first
    vips.release("never seen")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NUMBERS", range(1, 4))


def test_when_all_are_in_use_there_is_none_and_who_went_longest_ago_gives_way(few: None) -> None:
    vips = Vips()
    held = {key: vips.of(key) for key in "abc"}
    assert len(set(held.values())) == 3
    assert vips.of("d") == ()
    for key in "bac":
        vips.release(key)
    assert vips.of("a") == held["a"]
    assert vips.of("d") == held["b"]
    assert vips.of("b") == held["c"]
    assert vips.of("c") == ()


def test_what_was_kept_holds_and_is_nobody_elses(few: None) -> None:
    kept = {"old": 2, "twin": 2, "wrong": 0, "far": 99, "older": 1}
    vips = Vips(kept)
    assert vips.of("old") == addresses(2)
    assert vips.fresh == {}
    assert vips.of("new") == addresses(3)
    assert vips.of("next") == addresses(1), "nobody has asked for the older one since"
    assert vips.of("older") == ()
    assert vips.fresh == {"new": 3, "next": 1}


def test_what_is_to_be_kept_is_bounded(few: None) -> None:
    vips = Vips()
    for count in range(100):
        vips.of(str(count))
        vips.release(str(count))
    assert sorted(vips.fresh.values()) == [1, 2, 3]


class Allocation(RuleBasedStateMachine):
    """Against a plain model: who is there keeps what it has."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, module.NUMBERS = module.NUMBERS, range(1, 6)
        self.vips = Vips({"k0": 4, "k1": 2})
        self.there: dict[str, tuple[bytes, ...]] = {}

    def teardown(self) -> None:
        module.NUMBERS = self.numbers

    @rule(key=st.sampled_from([f"k{n}" for n in range(9)]))
    def come(self, key: str) -> None:
        given_now = self.vips.of(key)
        assert given_now == self.there.get(key, given_now)
        if given_now:
            self.there[key] = given_now
        else:
            assert len(self.there) == 5, "there was room"

    @rule(key=st.sampled_from([f"k{n}" for n in range(9)]))
    def go(self, key: str) -> None:
        self.vips.release(key)
        self.there.pop(key, None)

    @invariant()
    def nobody_shares(self) -> None:
        assert len(set(self.there.values())) == len(self.there)
        assert len(set(self.vips.fresh.values())) == len(self.vips.fresh) <= 5


TestAllocation = Allocation.TestCase
