"""Core. What meshtrio promises to reach, and whether a run did. Shown, never asserted: machines differ."""

from typing import Literal, NamedTuple

from meshtrio.benchmark.statistics import Spread
from tests.bench.rivals import hops_of
from tests.bench.sample import Run


class Goal(NamedTuple):
    """One promise about one number: against another peer in the same run, or by itself."""

    words: str
    scenario: str
    key: str
    kind: Literal["at least times", "less than above", "less than"]
    base: str
    limit: float
    unit: str
    hops: int = 1


GOALS = (
    *(
        Goal(
            f"added round trip p99 at 1,000/s, {windows} windows",
            "rate-1000",
            key,
            "less than above",
            "unmeshed",
            500,
            "us",
        )
        for windows, key in (("all", "roundtrip_p99_us"), ("calm", "calm_p99_us"))
    ),
    Goal("requests/s on one core, of HAProxy's", "http", "per_second", "at least times", "haproxy", 0.7, "x"),
    Goal(
        "requests/s, of HAProxy's behind a redirect",
        *("http", "per_second", "at least times", "haproxy-redirect", 1.0, "x"),
    ),
    Goal("bulk up, of HAProxy's", "bulk-up", "gigabytes_per_second", "at least times", "haproxy", 0.9, "x"),
    Goal(
        "bulk down, of HAProxy's", "bulk-down", "gigabytes_per_second", "at least times", "haproxy", 0.9, "x"
    ),
    Goal("added connect() p50", "connect", "connect_p50_us", "less than above", "unmeshed", 50, "us"),
    Goal("worker RSS with 1,000 connections", "idle", "worker_rss_mb_1k", "less than", "", 50, "MB"),
    Goal("agent RSS", "idle", "agent_rss_mb_most", "less than", "", 40, "MB"),
    Goal("start to ready", "idle", "ready_s", "less than", "", 2, "s"),
    *(
        Goal(f"mTLS: {words}, of HAProxy's", scenario, key, "at least times", "haproxy-mtls", limit, "x", 2)
        for words, scenario, key, limit in (
            ("requests/s", "http", "per_second", 1.0),
            ("bulk up", "bulk-up", "gigabytes_per_second", 1.2),
            ("bulk down", "bulk-down", "gigabytes_per_second", 1.2),
            ("resumed handshakes/s", "handshake-resumed", "per_second", 0.8),
        )
    ),
    *(
        Goal(
            f"mTLS: worker RSS with {words}", "idle", f"worker_rss_mb_{step}", "less than", "", limit, "MB", 2
        )
        for words, step, limit in (("1,000 connections", "1k", 50), ("the most", "most", 120))
    ),
    Goal("mTLS: requests/s, of Envoy's", "http", "per_second", "at least times", "envoy-mtls", 1.2, "x", 2),
    *(
        Goal(
            f"mTLS: added round trip p99 at 1,000/s, both hops, {windows} windows",
            "rate-1000",
            key,
            "less than above",
            "unmeshed-wire",
            1000,
            "us",
            2,
        )
        for windows, key in (("all", "roundtrip_p99_us"), ("calm", "calm_p99_us"))
    ),
)


class Verdict(NamedTuple):
    """Whether one peer reached one goal."""

    goal: Goal
    peer: str
    value: Spread
    reached: bool


def _value(run: Run, goal: Goal, peer: str) -> Spread | None:
    if goal.kind == "less than":
        return run.spread(goal.scenario, peer, goal.key)
    if goal.kind == "less than above":
        return run.difference(goal.scenario, goal.key, peer=peer, base=goal.base)
    return run.ratio(goal.scenario, goal.key, peer=peer, base=goal.base)


def verdicts(run: Run) -> list[Verdict]:
    """Hold a run against the goals. Of the others nothing is promised."""
    found = []
    for goal in GOALS:
        for peer in run.peers:
            promised = peer.startswith("meshtrio") and hops_of(peer) == goal.hops
            value = _value(run, goal, peer) if promised else None
            if value is not None:
                enough = (
                    value.median >= goal.limit if goal.kind == "at least times" else value.median < goal.limit
                )
                found.append(Verdict(goal, peer, value, enough))
    return found
