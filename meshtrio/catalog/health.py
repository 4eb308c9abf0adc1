"""Core. What is an endpoint's health, when a registry says one thing and our own probe another?"""

from meshtrio.catalog.service import Health

_WORSE = {Health.HEALTHY: 0, Health.WARNING: 1, Health.UNHEALTHY: 2}


def merged(said: Health, probed: Health, *, stale: bool) -> Health:
    """Merge what the registry says with what our probe says.

    The worse one holds, except that a registry which we have lost is believed less than a probe that has
    just looked. Who does not know (UNKNOWN) has no voice.
    """
    if probed is Health.UNKNOWN:
        return said
    if stale or said is Health.UNKNOWN:
        return probed
    return max(said, probed, key=_WORSE.__getitem__)
