"""Core. Counts begin at nothing and grow by reason."""

from meshtrio.resolver.counts import Counts


def test_reasons_are_counted_apart() -> None:
    counts = Counts()
    assert (counts.answered, counts.remembered, counts.forwarded, counts.failed, counts.unsent) == (0,) * 5
    for reason in ("full", "garbage", "full"):
        counts.drop(reason)
    assert counts.dropped == {"full": 2, "garbage": 1}
