"""Core. What was counted and remarked about balancing, for `status` and metrics. Does not know workers."""

from collections import Counter
from collections.abc import Mapping

from meshtrio.observe.sums import ALLOWED, DENIED, HEDGES, HEDGES_WON, Gauge, Sums

SERIES = 500
"""How many services have metrics of their own wishes. The others are added up as service "other"."""
SHOWN = 20
"""How many services `status` names."""
_RESULTS = {ALLOWED: "allowed", DENIED: "denied"}
_NO_REMARKS = {*_RESULTS, HEDGES, HEDGES_WON}


def summary(sums: Sums, unheeded: Mapping[str, tuple[str, ...]]) -> dict[str, object]:
    """Return what `meshtrio status` shows: wishes that are wrong, remarks, and retries."""
    total: Counter[str] = Counter()
    for counts in sums.balanced.values():
        total.update(counts)
    remarked = {port: _remarks(counts) for port, counts in sorted(sums.balanced.items()) if _remarks(counts)}
    return {
        "retries": {word: total[name] for name, word in _RESULTS.items()},
        "remarks": dict(list(remarked.items())[:SHOWN]),
        "remarks_omitted": max(0, len(remarked) - SHOWN),
        "unheeded": {key: list(unheeded[key]) for key in sorted(unheeded)[:SHOWN]},
        "unheeded_omitted": max(0, len(unheeded) - SHOWN),
    }


def gauges(sums: Sums, unheeded: Mapping[str, tuple[str, ...]]) -> list[Gauge]:
    """Return the numbers, by service port as far as there are not too many."""
    retries = "Calls that were tried again (allowed), or not because the retry budget was spent (denied)"
    hedges = {
        HEDGES: ("meshtrio_hedges_total", "Tries that began beside a silent one; each is a retry, too"),
        HEDGES_WON: ("meshtrio_hedges_won_total", "Hedges that stood first, and so got the call"),
    }
    remarked = "What went otherwise than configured while balancing, by why"
    wishes = "Wishes of a service for its traffic that are wrong, and not heeded"
    found = []
    for port, counts in sorted(sums.balanced.items()):
        for name, word in _RESULTS.items():
            labels = {"service_port": port, "result": word}
            found.append(Gauge("meshtrio_retries_total", retries, counts[name], labels, grows=True))
        for name, (metric, means) in hedges.items():
            if counts[HEDGES]:  # few services ask for them
                labels = {"service_port": port}
                found.append(Gauge(metric, means, counts[name], labels, grows=True))
        for word, count in sorted(_remarks(counts).items()):
            labels = {"service_port": port, "remark": word}
            found.append(Gauge("meshtrio_balance_remarks_total", remarked, count, labels, grows=True))
    keys = sorted(unheeded)
    for key in keys[:SERIES]:
        found.append(Gauge("meshtrio_unheeded_wishes", wishes, len(unheeded[key]), {"service": key}))
    if keys[SERIES:]:
        others = sum(len(unheeded[key]) for key in keys[SERIES:])
        found.append(Gauge("meshtrio_unheeded_wishes", wishes, others, {"service": "other"}))
    return found


def _remarks(counts: Counter[str]) -> dict[str, int]:
    return {word: count for word, count in counts.items() if word not in _NO_REMARKS}
