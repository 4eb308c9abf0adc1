"""Core. A run as people and programs read it: tables, doubts, JSON, bars of a plot. Does not print."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from meshtrio.benchmark.plot import Bar, Panel
from meshtrio.benchmark.result import BASE, Run
from meshtrio.benchmark.scenario import SCENARIOS, Metric, Scenario
from meshtrio.benchmark.statistics import NOISY_SPREAD, Spread


class Table(NamedTuple):
    """One scenario: a row for each peer."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def number_of(value: float) -> str:
    """Write a number with as many digits as it deserves: three or so."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"


def spread_text(spread: Spread) -> str:
    """Write the median and how far the rounds lay apart; `~` if they do not agree."""
    if spread.rounds == 1 or spread.low == spread.high:
        return number_of(spread.median)
    doubtful = "~" if spread.relative > NOISY_SPREAD else ""
    return f"{doubtful}{number_of(spread.median)} ({number_of(spread.low)}-{number_of(spread.high)})"


def tables(run: Run) -> Iterator[Table]:
    """Give a table for each scenario, without the columns in which nobody has a number."""
    for scenario in _measured(run):
        peers = [peer for peer in run.peers if _spreads(run, scenario, peer)]
        if not peers:
            continue
        metrics = [one for one in scenario.metrics if any(_has(run, scenario, peer, one) for peer in peers)]
        head, rows = ["PEER"], [[peer] for peer in peers]
        for metric in metrics:
            head.append(f"{metric.head}, {metric.unit}")
            for row in rows:
                row.append(_cell(run, scenario, row[0], metric))
            if metric is scenario.metrics[0] and not scenario.is_memory:
                head.append("TIMES UNMESHED")
                for row in rows:
                    ratio = run.ratio(scenario.name, row[0], metric.key)
                    row.append(f"{ratio.median:.2f}" if ratio else "")
        yield Table(f"{scenario.name}: {scenario.title}", tuple(head), tuple(map(tuple, rows)))


def doubt_lines(run: Run) -> list[str]:
    """Say for each scenario which peers are not to be believed, and why. Empty: the machine was quiet.

    Rounds are judged by the first number of the scenario. Memory is no matter of luck.
    """
    lines = []
    for scenario in _measured(run):
        if scenario.is_memory:
            continue
        key = scenario.metrics[0].key
        found = {peer: run.doubts(scenario.name, peer, key) for peer in run.peers}
        parts = [f"{peer} ({', '.join(doubts)})" for peer, doubts in found.items() if doubts]
        if parts:
            lines.append(f"{scenario.name}: {'; '.join(parts)}")
    return lines


def verdict(run: Run) -> str:
    """Say in a sentence whether the machine was quiet enough to tell anything."""
    doubtful = doubt_lines(run)
    if not doubtful:
        return "the machine was quiet enough"
    return "the machine was too noisy to tell what is in doubt: trust ratios at most, or run it again"


def about(run: Run) -> str:
    """Say in a paragraph where and how it was measured."""
    machine = run.machine
    shared = "; caller and server share a core, so unmeshed wakes no other one" if machine.cores < 3 else ""
    where = f"{machine.processor}, {machine.cores} cores, Linux {machine.kernel}, Python {machine.python}"
    return (
        f"{machine.began}, {where}, load average {machine.load_average:.2f} before. "
        f"{machine.placing}{shared}. Rounds: {run.rounds}, of {run.seconds:g} s, peer after peer. "
        "Median (lowest-highest), + what is added to unmeshed; ~ marks rounds that do not agree. "
        "Caller and server are Python programs and have their share in every number."
    )


def as_json(run: Run) -> dict[str, Any]:
    """Give everything, for programs: medians, ratios, doubts, and every sample."""
    found = []
    for scenario in _measured(run):
        rows = [_row(run, scenario, peer) for peer in run.peers if _spreads(run, scenario, peer)]
        found.append({"name": scenario.name, "title": scenario.title, "peers": rows})
    return {
        "ok": not run.failures,
        "quiet": not doubt_lines(run),
        "machine": msgspec.to_builtins(run.machine),
        "rounds": run.rounds,
        "seconds": run.seconds,
        "scenarios": found,
        "left_out": msgspec.to_builtins(run.left_out),
        "failures": list(run.failures),
        "samples": msgspec.to_builtins(run.samples),
    }


def panels(run: Run) -> list[Panel]:
    """Give the first number of each scenario as bars, but for memory: there all numbers."""
    found = []
    for scenario in _measured(run):
        for metric in scenario.metrics if scenario.is_memory else scenario.metrics[:1]:
            spreads = {peer: run.spread(scenario.name, peer, metric.key) for peer in run.peers}
            bars = tuple(
                Bar(peer, spread.median, spread.low, spread.high, f"{number_of(spread.median)} {metric.unit}")
                for peer, spread in spreads.items()
                if spread
            )
            better = "" if scenario.is_memory else ", more is better" if metric.higher_is_better else ""
            if bars:
                found.append(Panel(f"{scenario.name}: {metric.head.lower()}{better}", bars))
    return found


def _measured(run: Run) -> list[Scenario]:
    return [scenario for scenario in SCENARIOS if scenario.name in run.scenarios]


def _spreads(run: Run, scenario: Scenario, peer: str) -> dict[str, Spread]:
    found = {metric.key: run.spread(scenario.name, peer, metric.key) for metric in scenario.metrics}
    return {key: spread for key, spread in found.items() if spread is not None}


def _has(run: Run, scenario: Scenario, peer: str, metric: Metric) -> bool:
    return bool(_cell(run, scenario, peer, metric))


def _cell(run: Run, scenario: Scenario, peer: str, metric: Metric) -> str:
    spread = run.spread(scenario.name, peer, metric.key)
    if spread is None or (metric.key.startswith("proxy_") and peer == BASE):
        return ""  # unmeshed there is no proxy
    added = run.added(scenario.name, peer, metric.key) if metric.key in ("p50_us", "p99_us") else None
    return spread_text(spread) + (f" {added.median:+,.0f}" if added else "")


def _row(run: Run, scenario: Scenario, peer: str) -> dict[str, Any]:
    ratios = {key: run.ratio(scenario.name, peer, key) for key in _spreads(run, scenario, peer)}
    return {
        "peer": peer,
        "numbers": {key: spread._asdict() for key, spread in _spreads(run, scenario, peer).items()},
        "times_unmeshed": {key: ratio.median for key, ratio in ratios.items() if ratio is not None},
        "doubts": [] if scenario.is_memory else run.doubts(scenario.name, peer, scenario.metrics[0].key),
    }
