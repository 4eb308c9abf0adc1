"""Any part of the settings can be said for one service, and what registries say in their words is read."""

from typing import Any, get_args

import msgspec
import pytest

from meshtrio.config.traffic import Breaker, Retries, ServiceLimits, Settings
from meshtrio.config.wishes import (
    NO_WISHES,
    WORDS,
    BreakerWishes,
    LimitWishes,
    RetryWishes,
    Wishes,
    laid_over,
    read_wishes,
)

PAIRS: list[tuple[type[msgspec.Struct], type[msgspec.Struct]]] = [
    (Settings, Wishes),
    (ServiceLimits, LimitWishes),
    (Breaker, BreakerWishes),
    (Retries, RetryWishes),
]


@pytest.mark.parametrize(("whole", "part"), PAIRS, ids=lambda kind: kind.__name__)
def test_each_setting_can_be_wished_for_and_nothing_else(
    whole: type[msgspec.Struct], part: type[msgspec.Struct]
) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(whole)}
    wished = {field.name: field.type for field in msgspec.structs.fields(part)}
    assert list(fields) == list(wished)
    for name, kind in fields.items():
        if kind not in dict(PAIRS):
            assert get_args(wished[name]) == (kind, msgspec.UnsetType), name


def test_what_is_not_wished_for_stays() -> None:
    settings = Settings(algorithm="maglev", breaker=Breaker(consecutive=7, minimum=9))
    wishes = Wishes(slow_start_s=0, breaker=BreakerWishes(consecutive=3, enabled=False))
    assert laid_over(settings, wishes) == Settings(
        algorithm="maglev", slow_start_s=0, breaker=Breaker(consecutive=3, minimum=9, enabled=False)
    )


def test_no_difference_is_the_same_object() -> None:
    settings = Settings()
    assert laid_over(settings, NO_WISHES) is settings
    assert laid_over(settings, Wishes(algorithm="round_robin", retries=RetryWishes(attempts=3))) is settings


@pytest.mark.parametrize("prefix", ["meshtrio.io/", "meshtrio-"])
def test_a_registry_has_words_for_the_most_common(prefix: str) -> None:
    said = {
        f"{prefix}balancing": "consistent_hash",
        f"{prefix}hash-key": "header:x-user",
        f"{prefix}slow-start": "2.5",
        f"{prefix}direct": "auto",
        f"{prefix}breaker": "off",
        f"{prefix}retries": "1",
        f"{prefix}hedge-after": "0.5",
        "balancing": "random",
        f"{prefix}mesh": "enabled",
    }
    assert {f"{prefix}{word}" for word in WORDS} <= said.keys()
    wishes = Wishes(
        "consistent_hash",
        "header:x-user",
        slow_start_s=2.5,
        direct="auto",
        breaker=BreakerWishes(enabled=False),
        retries=RetryWishes(attempts=1, hedge_after_s=0.5),
    )
    assert read_wishes(said, prefix) == (wishes, ())


@pytest.mark.parametrize(
    ("word", "text", "says"),
    [
        ("balancing", "robin", 'is "robin" (want round_robin or least_connections or'),
        ("hash-key", "header:", 'is "header:" (want source_ip, spiffe_id, sni, path, header:NAME or'),
        ("slow-start", "1 m", 'is "1 m" (want seconds, 0 (off) to 3600)'),
        ("direct", "on", 'is "on" (want off or auto)'),
        ("breaker", "never", 'is "never" (want true or false)'),
        ("retries", "11", 'is "11" (want a count, 0 to 10)'),
        ("hedge-after", "61", 'is "61" (want seconds, 0 (off) to 60)'),
    ],
)
def test_a_wrong_word_is_named_and_takes_nothing_else_with_it(word: str, text: str, says: str) -> None:
    said = {"meshtrio.io/breaker": "on", "meshtrio.io/direct": "auto", f"meshtrio.io/{word}": text}
    wishes, (fault,) = read_wishes(said, "meshtrio.io/")
    assert fault.startswith(f"meshtrio.io/{word} {says}")
    kept: dict[str, Any] = {"direct": "auto", "breaker": BreakerWishes(enabled=True)}
    kept.pop(word, None)
    assert wishes == Wishes(**kept)


def test_who_wants_no_retries_cannot_have_hedges() -> None:
    said = {"meshtrio-retries": "0", "meshtrio-hedge-after": "0.5", "meshtrio-direct": "auto"}
    wishes, (fault,) = read_wishes(said, "meshtrio-")
    assert wishes == Wishes(direct="auto", retries=RetryWishes(attempts=0))
    words = (
        'meshtrio-hedge-after is "0.5", and meshtrio-retries is 0 (want 1 at least, for a hedge is a retry)'
    )
    assert fault == words
    said["meshtrio-hedge-after"] = "0"
    assert read_wishes(said, "meshtrio-")[1] == ()


def test_nothing_said_is_the_one_object() -> None:
    assert read_wishes({"meshtrio.io/mesh": "enabled"}, "meshtrio.io/") == (NO_WISHES, ())
    assert read_wishes({}, "meshtrio.io/")[0] is NO_WISHES
