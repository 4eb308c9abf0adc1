"""Each target once, whoever wants it, and not more than there is room for."""

from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.probing import Manner, Target
from meshtrio.catalog.roster import Roster, Turnover


def target(host: int, path: str = "") -> Target:
    return Target(Address.of(f"10.0.0.{host}", 80), Manner(path=path))


ONE, TWO, ODD = target(1), target(2), target(1, "/odd")
NOTHING = Turnover((), (), frozenset())


def test_a_target_of_two_services_is_one() -> None:
    roster = Roster()
    assert roster.want("a", [ONE, TWO, ONE]) == Turnover(
        (ONE, TWO), (), frozenset({ONE.address, TWO.address})
    )
    assert roster.want("b", [ONE]) == Turnover((), (), frozenset({ONE.address}))
    assert (len(roster), roster.keys(ONE), roster.keys(TWO)) == (2, frozenset("ab"), frozenset("a"))
    assert roster.want("a", []) == Turnover((), (TWO,), frozenset({ONE.address, TWO.address}))
    assert roster.want("b", []) == Turnover((), (ONE,), frozenset({ONE.address}))
    assert (len(roster), roster.keys(ONE), [*roster.pairs()]) == (0, frozenset(), [])


def test_the_same_again_is_nothing_new() -> None:
    roster = Roster()
    roster.want("a", [ONE, TWO])
    assert roster.want("a", [ONE, TWO]) == NOTHING
    assert roster.want("b", []) == NOTHING


def test_another_manner_at_the_same_address_is_another_target() -> None:
    roster = Roster()
    roster.want("a", [ONE, TWO])
    assert roster.want("a", [ODD, TWO]) == Turnover((ODD,), (ONE,), frozenset({ONE.address}))
    assert roster.want("a", [ODD, ONE]).added == (ONE,)
    assert roster.at("a", ONE.address) == (ODD, ONE)
    assert roster.at("a", TWO.address) == roster.at("b", ONE.address) == ()
    assert [*roster.pairs()] == [("a", ONE.address)]


def test_what_finds_no_room_is_counted_and_gets_in_later() -> None:
    roster = Roster(most=2)
    roster.want("a", [ONE])
    assert roster.want("b", [ONE, TWO, ODD]).added == (TWO,)
    assert (roster.refused, roster.is_full) == ({"b": 1}, True)
    roster.want("a", [])
    assert roster.refused == {"b": 1}, "b still wants it"
    assert roster.want("b", [ONE, ODD]) == Turnover((ODD,), (TWO,), frozenset({ONE.address, TWO.address}))
    assert roster.refused == {}


WISHES = st.lists(st.tuples(st.sampled_from("abc"), st.sets(st.integers(0, 9), max_size=6)), max_size=12)


@given(wishes=WISHES)
def test_it_counts_as_a_plain_dictionary_does(wishes: list[tuple[str, set[int]]]) -> None:
    roster, model = Roster(), dict[str, set[Target]]()
    probed: set[Target] = set()
    for key, hosts in wishes:
        model[key] = {target(host % 5, "/x" if host > 4 else "") for host in hosts}
        turnover = roster.want(key, model[key])
        probed = (probed - set(turnover.dropped)) | set(turnover.added)
        assert probed == set().union(*model.values())
        assert len(roster) == len(probed)
    for one in probed:
        assert roster.keys(one) == {key for key, wanted in model.items() if one in wanted}
    pairs = {(key, one.address) for key, wanted in model.items() for one in wanted}
    assert set(roster.pairs()) == pairs
    for key, address in pairs:
        assert set(roster.at(key, address)) == {one for one in model[key] if one.address == address}


@given(wishes=WISHES)
def test_there_are_never_too_many(wishes: list[tuple[str, set[int]]]) -> None:
    roster = Roster(most=4)
    wanted: dict[str, set[int]] = {}
    for key, hosts in wishes:
        wanted[key] = hosts
        roster.want(key, map(target, hosts))
        assert len(roster) <= 4
        got = sum(len(roster.at(key, target(host).address)) for host in hosts)
        assert got + roster.refused.get(key, 0) == len(hosts)
