"""Failures become one sentence and a code."""

import pytest

from meshtrio.cli.complaint import Code, Complaint, complaint_of, error_lines, leaves
from meshtrio.config.fault import Fault, Faults


def group(*inner: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("tasks failed", list(inner))


def test_the_leaves_of_groups_in_groups() -> None:
    one, two = ValueError("1"), KeyError("2")
    assert list(leaves(group(one, group(two)))) == [one, two]
    assert list(leaves(one)) == [one]


def test_known_failures_are_said_once_each() -> None:
    found = complaint_of(group(OSError("port\n  taken"), group(OSError("port taken"))), (OSError,))
    assert (str(found), found and found.code) == ("port taken", Code.FAILED)


def test_a_complaint_in_a_group_is_the_one_and_keeps_its_lines_and_code() -> None:
    complaint = Complaint("a\nb", Code.USAGE)
    assert complaint_of(group(OSError("x"), complaint), (OSError,)) is complaint


def test_faults_of_a_text_keep_their_lines_and_are_wrong_usage() -> None:
    faults = Faults([Fault("a", "is 1"), Fault("b", "is 2", "line 3")])
    found = complaint_of(group(faults), (Faults,))
    assert (str(found), found and found.code) == ("file: a is 1\nfile: b is 2 [line 3]", Code.USAGE)


def test_anything_else_in_it_is_a_fault_of_ours() -> None:
    assert complaint_of(group(OSError("x"), TypeError("y")), (OSError,)) is None
    assert complaint_of(KeyboardInterrupt(), (OSError,)) is None


@pytest.mark.parametrize(
    ("text", "lines"),
    [("a", ["meshtrio: a"]), ("a\n\nb\n", ["meshtrio: a", "meshtrio: b"]), ("", ["meshtrio: failed"])],
)
def test_every_line_says_who_speaks(text: str, lines: list[str]) -> None:
    assert error_lines(text) == lines
