"""What tests of lanes and relays look at."""

import os

import pytest

from tests.support.either_records import either_records as either_records


@pytest.fixture
def spliced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much each splice moved, call by call."""
    counts: list[int] = []
    real = os.splice

    def splice(source: int, sink: int, count: int, *, flags: int) -> int:
        counts.append(real(source, sink, count, flags=flags))
        return counts[-1]

    monkeypatch.setattr(os, "splice", splice)
    return counts
