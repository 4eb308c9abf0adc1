"""How a fault reads."""

import pytest

from meshtrio.config.fault import Fault, Faults, meant, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2 m", '"2 m"'),
        ("", '""'),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        (None, "empty"),
        ({}, "a mapping"),
        ([], "a list"),
        ((1,), "a list"),
        ("x" * 61, '"' + "x" * 60 + '..."'),
    ],
)
def test_a_value_reads_as_its_author_wrote_it(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_word_that_is_nearly_known_is_guessed_and_others_are_told_the_choice() -> None:
    assert meant("drain", ["drain_s", "idle_s"]) == "did you mean drain_s?"
    assert meant("zzz", ["b", "a"]) == "want one of a, b"


def test_each_fault_is_one_line_with_its_place() -> None:
    faults = Faults([Fault("a.b", "is 1", "line 3"), Fault("", "is not YAML"), Fault("c", "is 2")])
    assert str(faults) == "file: a.b is 1 [line 3]\nfile: is not YAML\nfile: c is 2"
