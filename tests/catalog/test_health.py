"""Registry and probe, in every combination."""

import itertools

import pytest

from meshtrio.catalog.health import merged
from meshtrio.catalog.service import Health

H, W, U, X = Health.HEALTHY, Health.WARNING, Health.UNKNOWN, Health.UNHEALTHY

# What the registry says, and below what holds when the probe says healthy, unknown, unhealthy.
LIVE = {H: (H, H, X), W: (W, W, X), U: (H, U, X), X: (X, X, X)}
STALE = {H: (H, H, X), W: (H, W, X), U: (H, U, X), X: (H, X, X)}


@pytest.mark.parametrize(("stale", "table"), [(False, LIVE), (True, STALE)])
def test_the_worse_holds_unless_the_registry_is_lost(
    stale: bool, table: dict[Health, tuple[Health, ...]]
) -> None:
    assert set(table) == set(Health)
    for said, holds in table.items():
        assert tuple(merged(said, probed, stale=stale) for probed in (H, U, X)) == holds, said


def test_who_does_not_know_has_no_voice() -> None:
    for said, stale in itertools.product(Health, (False, True)):
        assert merged(said, Health.UNKNOWN, stale=stale) is said
        assert merged(Health.UNKNOWN, said, stale=stale) is said
