"""What is written to the terminal."""

import json

import pytest

from meshtrio.cli.screen import bad, good, note, of, show_json, show_table


def test_json_keeps_its_order_and_its_letters(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"b": "ü", "a": (1, 2)})
    out = capsys.readouterr().out
    assert list(json.loads(out)) == ["b", "a"]
    assert "ü" in out


def test_without_a_terminal_there_are_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("A",), [("x",)])
    note(f"{good('y')} {bad('z')}")
    written = capsys.readouterr()
    assert written.out == "A\nx\n"
    assert written.err == "meshtrio: y z\n"


def test_a_table_can_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("A",), [], err=True)
    assert capsys.readouterr() == ("", "A\n")


def test_looking_into_an_answer_of_another_version() -> None:
    assert of({"a": {"b": 1}}, "a", "b") == 1
    assert of({"a": 1}, "a", "b") == ""
