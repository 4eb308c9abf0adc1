"""Tickets are numbers that a caller can ask: refused is falsy, and all others are not."""

from meshtrio.balance.verdict import ORDINARY, REFUSED, Verdict


def test_who_is_refused_has_a_ticket_that_is_false() -> None:
    assert not REFUSED
    assert ORDINARY


def test_the_words_are_the_names() -> None:
    assert [verdict.value for verdict in Verdict] == [verdict.name.lower() for verdict in Verdict]
