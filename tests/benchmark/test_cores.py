"""Core. Who gets a core of its own, by how many there are."""

import pytest

from meshtrio.benchmark.cores import Cores, choose_cores


@pytest.mark.parametrize(
    ("allowed", "chosen"),
    [({5}, Cores(5, 5, 5)), ({7, 3}, Cores(3, 7, 7)), ({0, 1, 2, 3}, Cores(0, 1, 2))],
)
def test_the_proxy_is_alone_where_that_can_be(allowed: set[int], chosen: Cores) -> None:
    assert choose_cores(allowed) == chosen


def test_no_core_is_an_error() -> None:
    with pytest.raises(ValueError, match="no core"):
        choose_cores(())
