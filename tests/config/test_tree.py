"""YAML without its traps."""

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.config import tree as module
from meshtrio.config.fault import Faults
from meshtrio.config.tree import DEPTH_BOUND, TREE_BYTES, Tree, read_tree


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def _each_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with libyaml and without: not every PyYAML has it."""
    loader = getattr(yaml, request.param, None)
    if loader is None:
        pytest.skip("this PyYAML was built without libyaml")
    monkeypatch.setattr(module, "_LOADER", loader)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12", -12),
        ("1.5", 1.5),
        ("1.0e+3", 1000.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("12:30:45", "12:30:45"),
        ("1e5", "1e5"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("2024-01-01", "2024-01-01"),
        ("9" * 20, "9" * 20),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("fd00::10", "fd00::10"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("|\n 1\n", "1\n"),
        ("&name 1", 1),
    ],
)
def test_a_scalar_means(text: str, value: object) -> None:
    read = read_tree(f"a: {text}").value
    assert read == {"a": value}
    assert isinstance(read, dict)
    assert type(read["a"]) is type(value)


def test_every_path_knows_its_line() -> None:
    text = "a:\n  b: 1\n  c:\n    - x\n    - d: 2\n      7: [3]\n"
    assert read_tree(text) == Tree(
        {"a": {"b": 1, "c": ["x", {"d": 2, "7": [3]}]}},
        {
            "": 1,
            "a": 1,
            "a.b": 2,
            "a.c": 3,
            "a.c[0]": 4,
            "a.c[1]": 5,
            "a.c[1].d": 5,
            "a.c[1].7": 6,
            "a.c[1].7[0]": 6,
        },
    )


@pytest.mark.parametrize("text", ["", "\n", "# only words\n"])
def test_nothing_is_nothing(text: str) -> None:
    assert read_tree(text) == Tree()


def test_a_key_that_comes_twice_is_a_fault_and_is_read_past() -> None:
    tree = read_tree("a:\n  b: 1\n  b: 2\nc: 3\n")
    assert tree.value == {"a": {"b": 2}, "c": 3}
    assert [str(fault) for fault in tree.faults] == ["a.b is given twice, first in line 2 [line 3]"]


def fault_of(text: str) -> str:
    with pytest.raises(Faults) as caught:
        read_tree(text)
    (fault,) = caught.value.faults
    return str(fault)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x 1\nb: *x", "has the alias *x (aliases are not read here: write it out) [line 2, column 4]"),
        ("a: !!python/name:os.system x", "has the tag tag:yaml.org,2002:python/name:os.system"),
        ("a: !!str 1", "has the tag tag:yaml.org,2002:str (tags are not read here) [line 1, column 4]"),
        ("a: !own [1]", "has the tag !own (tags are not read here) [line 1, column 4]"),
        ("a: ! 1", "has the tag ! (tags are not read here) [line 1, column 4]"),
        ("a: 1\n---\nb: 1", "holds a second document [line 2, column 1]"),
        ("? [a]\n: 1", "has a key that is not a word [line 1, column 3]"),
        ("a: 1\n\tb: 2", "is not YAML: "),
        ("a: 1\nb: [1, 2", "is not YAML: "),
        ("a: '", "is not YAML: "),
        ("a: \x00", "is not YAML: "),
        ("a: \ud800", "is not YAML: "),
        ("[" * (DEPTH_BOUND + 2), f"is nested deeper than {DEPTH_BOUND} [line 1, column {DEPTH_BOUND + 2}]"),
    ],
)
def test_what_cannot_be_read_is_one_fault(text: str, says: str) -> None:
    assert fault_of(text).startswith(says)


def test_broken_text_says_line_and_column() -> None:
    assert fault_of("a: 1\nb: [1\nc: 2\n}").endswith("]")
    assert "[line 4, column 1]" in fault_of("a: 1\nb: 1\nc: 1\n\td: 2")


def test_a_text_has_a_bound() -> None:
    assert fault_of("#" * (TREE_BYTES + 1)) == f"is larger than {TREE_BYTES} bytes"
    with pytest.raises(Faults):
        read_tree("ä", bound_bytes=1)


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 100)]
    began_s = time.process_time()
    assert fault_of("\n".join(lines)).startswith("has the alias *a0")
    assert time.process_time() - began_s < 1


def test_deep_nesting_is_refused_without_deep_recursion() -> None:
    assert fault_of("[" * 100_000).startswith(("is nested deeper", "is not YAML"))


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["no", "1e5", "010", "~", "=", "<<"]
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), inner)
    ),
    max_leaves=10,
)


@given(value=PLAIN)
def test_what_pyyaml_writes_is_read_back(value: object) -> None:
    read = read_tree(yaml.safe_dump({"a": value})).value
    assert read == {"a": value}


@given(text=st.text(max_size=80) | st.text("ab:-[]{}&*!|>'\"# \n\t%?", max_size=80))
def test_any_text_is_a_tree_or_faults(text: str) -> None:
    try:
        read_tree(text)
    except Faults as wrong:
        assert len(wrong.faults) == 1
