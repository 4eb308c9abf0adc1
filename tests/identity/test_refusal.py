"""The list of reasons is what audit and metrics rely on."""

from meshtrio.identity.refusal import Reason, Refused


def test_each_reason_is_one_word_for_counting() -> None:
    for reason in Reason:
        assert reason.value == reason.name.lower()


def test_a_refusal_has_its_reason_and_words() -> None:
    refused = Refused(Reason.EXPIRED, "expired 3 s ago")
    assert refused.reason is Reason.EXPIRED
    assert str(refused) == "expired 3 s ago"
