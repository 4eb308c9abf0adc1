"""Any tree becomes a struct or faults, leaf by leaf."""

import ipaddress
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from meshtrio.config.shape import Means, Shaping, is_struct, origin_of

Ip = Annotated[str, Meta(description="an address"), Means(ipaddress.ip_address)]


class Inner(msgspec.Struct, frozen=True):
    name: str
    count: Annotated[int, Meta(ge=1, le=9, description="1 to 9")] = 3


class Outer(msgspec.Struct, frozen=True):
    ip: Ip = "10.0.0.1"
    share: Annotated[float, Meta(ge=0, le=1, description="0 to 1")] = 0.5
    word: Literal["a", "b"] = "a"
    flag: bool = False
    size: Annotated[int, Meta(ge=0)] | Literal["auto"] = "auto"
    plain: Annotated[int, Meta(ge=2)] = 2
    table: dict[str, int] = {}
    inner: Inner = Inner("x")
    many: tuple[Inner, ...] = ()
    numbers: tuple[Annotated[int, Meta(ge=1)], ...] = (7,)
    either: Ip | Inner = "10.0.0.2"


def shaped(tree: object, loose: frozenset[str] = frozenset()) -> tuple[Outer | None, list[str]]:
    shaping = Shaping({"many": "line 5"}, loose)
    return shaping.struct(Outer, tree), [str(fault) for fault in shaping.faults]


def test_what_is_missing_has_its_default() -> None:
    assert shaped({}) == (Outer(), [])
    assert shaped(None) == (Outer(), [])


def test_what_may_be_unset_wants_what_it_wants_when_it_is_set() -> None:
    class Part(msgspec.Struct, frozen=True):
        ip: Ip | msgspec.UnsetType = msgspec.UNSET
        count: Annotated[int, Meta(ge=1, le=9, description="1 to 9")] | msgspec.UnsetType = msgspec.UNSET

    def part(tree: object) -> tuple[Part | None, list[str]]:
        shaping = Shaping({})
        return shaping.struct(Part, tree), [str(fault) for fault in shaping.faults]

    assert part({}) == (Part(), [])
    assert part({"ip": "::1", "count": 9}) == (Part("::1", 9), [])
    assert part({"ip": "x", "count": 0}) == (
        Part(),
        ['ip is "x" (want an address)', "count is 0 (want 1 to 9)"],
    )


def test_what_fits_is_taken() -> None:
    tree = {
        "ip": "::1",
        "share": 1,
        "word": "b",
        "flag": True,
        "size": 4,
        "table": {"x": 1},
        "inner": {"name": "y"},
        "many": [{"name": "z", "count": 9}],
        "numbers": [1, 2],
        "either": {"name": "w"},
    }
    made = Outer("::1", 1.0, "b", True, 4, 2, {"x": 1}, Inner("y"), (Inner("z", 9),), (1, 2), Inner("w"))
    assert shaped(tree) == (made, [])


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        ({"ip": "10.0.0"}, 'ip is "10.0.0" (want an address)'),
        ({"ip": 7}, "ip is 7 (want an address)"),
        ({"share": 2}, "share is 2 (want 0 to 1)"),
        ({"share": float("nan")}, "share is nan (want 0 to 1)"),
        ({"share": "0.5"}, 'share is "0.5" (want 0 to 1)'),
        ({"word": "c"}, 'word is "c" (want a or b)'),
        ({"flag": "yes"}, 'flag is "yes" (want true or false)'),
        ({"size": -1}, "size is -1 (want a mapping)"),
        ({"plain": 1}, "plain is 1 (want a whole number)"),
        ({"plain": True}, "plain is true (want a whole number)"),
        ({"table": 3}, "table is 3 (want a mapping)"),
        ({"inner": 3}, "inner is 3 (want a mapping of name, count)"),
        ({"inner": {}}, "inner.name is missing (want text)"),
        ({"inner": {"name": 3}}, "inner.name is 3 (want text)"),
        ({"inner": {"name": "x", "count": 0}}, "inner.count is 0 (want 1 to 9)"),
        ({"inner": {"name": "x", "cuont": 1}}, "inner.cuont is not known (did you mean count?)"),
        ({"many": 3}, "many is 3 (want a list) [line 5]"),
        ({"many": [{"name": "x"}, {}]}, "many[1].name is missing (want text) [line 5]"),
        ({"numbers": [1, 0]}, "numbers[1] is 0 (want a whole number)"),
        ({"either": "x"}, 'either is "x" (want an address)'),
        ({"either": {}}, "either.name is missing (want text)"),
        ([], " is a list (want a mapping of ip, share, word"),
    ],
)
def test_what_does_not_fit_says_what_is_wanted(tree: object, fault: str) -> None:
    made, faults = shaped(tree)
    assert len(faults) == 1
    assert faults[0].startswith(fault.lstrip())
    assert made == (None if isinstance(tree, list) else Outer())


def test_a_faulty_leaf_does_not_spoil_its_neighbours() -> None:
    made, faults = shaped({"word": "b", "share": 9, "inner": {"name": "y", "count": 0}})
    assert made == Outer(word="b", inner=Inner("y"))
    assert len(faults) == 2


def test_text_from_outside_may_mean_numbers_and_lists() -> None:
    tree = {"share": "0.25", "flag": "true", "size": "4", "numbers": "1, 2,", "word": "b"}
    assert shaped(tree, frozenset(tree)) == (
        Outer(share=0.25, flag=True, size=4, numbers=(1, 2), word="b"),
        [],
    )
    assert shaped({"numbers": ""}, frozenset({"numbers"})) == (Outer(numbers=()), [])
    assert shaped({"numbers": [1, "2"]}, frozenset({"numbers"})) == (Outer(numbers=(1, 2)), [])
    assert shaped({"numbers": "1,x"}, frozenset({"numbers"}))[1] == [
        'numbers[1] is "x" (want a whole number)'
    ]
    assert shaped({"share": "nan"}, frozenset({"share"}))[1] == ['share is "nan" (want 0 to 1)']


def test_nothing_in_the_place_of_a_list_is_an_empty_one() -> None:
    assert shaped({"numbers": None}) == (Outer(numbers=()), [])


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("a", "one"),
        ("a.b", "two"),
        ("a.b.c", "two"),
        ("a[3].x", "one"),
        ("b", ""),
        ("", ""),
        ("a.c[1]", "one"),
    ],
)
def test_a_path_without_origin_has_that_of_what_is_around_it(path: str, origin: str) -> None:
    assert origin_of(path, {"a": "one", "a.b": "two"}) == origin


def test_what_is_a_struct() -> None:
    assert is_struct(Inner)
    assert not is_struct(int)
    assert not is_struct(Ip)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*Outer.__struct_fields__, "name", "count", "x"]), inner, max_size=4
        )
    ),
)


@given(tree=st.dictionaries(st.sampled_from(Outer.__struct_fields__), TREES), loose=st.booleans())
def test_any_tree_is_a_struct_or_has_faults(tree: dict[str, object], loose: bool) -> None:
    made, faults = shaped(tree, frozenset(tree) if loose else frozenset())
    assert made is not None
    if not faults:
        # Whatever was accepted, msgspec accepts too, with all bounds.
        assert msgspec.convert(msgspec.to_builtins(made), Outer) == made
