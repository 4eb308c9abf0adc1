"""The list of endings is closed, and its words are an interface."""

from meshtrio.outcome import Outcome

# Response flags as Envoy's access log documents them.
ENVOY = {"-", "DC", "DPE", "LR", "NR", "SI", "UAEX", "UC", "UF", "UH", "UO"}


def test_every_outcome_has_a_flag_that_envoy_users_know() -> None:
    assert {outcome.flag for outcome in Outcome} <= ENVOY
    assert [outcome for outcome in Outcome if outcome.flag == "-"] == [Outcome.CARRIED]


def test_the_words_are_the_names() -> None:
    assert [outcome.value for outcome in Outcome] == [outcome.name.lower() for outcome in Outcome]


def test_an_outcome_is_found_by_its_word() -> None:
    assert Outcome("no_route") is Outcome.NO_ROUTE
