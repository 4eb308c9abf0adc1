"""Core. The run in words and tables: cells for the terminal, Markdown for the README. Does not print."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from meshtrio.benchmark.plot import Bar, Panel
from meshtrio.benchmark.report import number_of, spread_text
from meshtrio.benchmark.statistics import NOISY_FOREIGN
from tests.bench.rivals import BASES, hops_of, is_nothing
from tests.bench.sample import Run
from tests.bench.scenario import IDLE, WINDOW_MS, Metric, metrics_of, title_of
from tests.bench.target import verdicts
from tests.bench.windows import STOLEN_MOST_US


class Row(NamedTuple):
    """One number of all peers."""

    label: str
    cells: tuple[str, ...]


class Table(NamedTuple):
    """One scenario: a column for each peer."""

    title: str
    rows: tuple[Row, ...]


def _comparison(run: Run, scenario: str, metric: Metric, peer: str) -> str:
    parts = []
    if is_nothing(peer):
        return ""
    bases = BASES[hops_of(peer)]
    for base in bases:
        ratio = None if base == peer else run.ratio(scenario, metric.key, peer=peer, base=base)
        if ratio is not None:
            parts.append(f"{ratio.median:.2f}x {base}")
    difference = run.difference(scenario, metric.key, peer=peer, base=bases[0])
    if metric.unit == "us" and difference is not None:
        parts.append(f"{difference.median:+,.0f} us")
    return ", ".join(parts)


def _cell(run: Run, scenario: str, metric: Metric, peer: str) -> str:
    spread = run.spread(scenario, peer, metric.key)
    if spread is None:
        return ""
    comparison = _comparison(run, scenario, metric, peer)
    return f"{spread_text(spread)}\n{comparison}" if comparison else spread_text(spread)


def tables(run: Run) -> Iterator[Table]:
    """Give a table for each scenario that was measured, without rows that nobody has a number for."""
    for scenario in run.scenarios:
        rows = []
        for metric in metrics_of(scenario):
            cells = tuple(_cell(run, scenario, metric, peer) for peer in run.peers)
            if any(cells):
                rows.append(Row(f"{metric.label}, {metric.unit}" if metric.unit else metric.label, cells))
        yield Table(f"{scenario}: {title_of(scenario)}", tuple(rows))


def goal_lines(run: Run) -> list[Row]:
    """Hold the run against the goals: limit, value, and whether it was reached."""
    return [
        Row(
            f"{found.goal.words} ({'>=' if found.goal.kind == 'at least times' else '<'} "
            f"{found.goal.limit:g} {found.goal.unit})",
            (found.peer, spread_text(found.value), "reached" if found.reached else "missed"),
        )
        for found in verdicts(run)
    ]


def doubt_lines(run: Run) -> list[str]:
    """Say for each scenario which peers are not to be believed, and why. Empty: the machine was quiet.

    The rounds' agreement is judged by the first number of the scenario.
    """
    lines = []
    for scenario in run.scenarios:
        parts = []
        for peer in run.peers:
            key = next((m.key for m in metrics_of(scenario) if run.spread(scenario, peer, m.key)), "")
            doubts = run.doubts(scenario, peer, key)
            parts += [f"{peer} ({', '.join(doubts)})"] if doubts else []
        if parts:
            lines.append(f"{scenario}: {'; '.join(parts)}")
    return lines


def panels(run: Run) -> list[Panel]:
    """Give the first number of each scenario as bars; of the idle one, the memory with 1,000 connections."""
    found = []
    for scenario in run.scenarios:
        for metric in _drawn(scenario):
            spreads = {peer: run.spread(scenario, peer, metric.key) for peer in run.peers}
            bars = tuple(
                Bar(peer, spread.median, spread.low, spread.high, f"{number_of(spread.median)} {metric.unit}")
                for peer, spread in spreads.items()
                if spread is not None
            )
            if bars:
                better = "more" if metric.higher_is_better else "less"
                found.append(Panel(f"{title_of(scenario)}: {metric.label} ({better} is better)", bars))
    return found


def _drawn(scenario: str) -> Sequence[Metric]:
    metrics = metrics_of(scenario)
    return [one for one in metrics if one.key.endswith("_rss_mb_1k")] if scenario == IDLE else metrics[:1]


def about(run: Run) -> str:
    """Say in a paragraph where, how and with what it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in run.machine.versions.items())
    shared = (
        "client and servers share a core, so unmeshed wakes no other core. " if run.machine.cores < 3 else ""
    )
    where = f"{run.machine.processor}, {run.machine.cores} cores, Linux {run.machine.kernel}"
    return (
        f"{run.machine.began}, {where}; {versions}. {run.machine.pinning}; {shared}Loopback only. "
        f"Rounds: {run.rounds}, of {run.seconds} s, peer after peer, each after a second of warming up. "
        "Median (lowest-highest); ~ marks rounds that do not agree. "
        "Ratios and differences are taken round by round." + _about_windows(run)
    )


def _about_windows(run: Run) -> str:
    windowed = [sample for sample in run.samples if sample.windows]
    if not windowed:
        return ""
    exact = all(sample.numbers["exact"] for sample in windowed)
    return (
        f" A fixed rate runs in windows of {WINDOW_MS} ms, in more and shorter rounds. Calm are the windows "
        f"in which the host took at most {STOLEN_MOST_US:g} us from this machine, "
        f"{'by its own clock' if exact else 'by /proc/stat, which does not see less than 10 ms'}, and other "
        f"processes of the turn at most {NOISY_FOREIGN:.0%} of a core; how many "
        "they are stands beside each peer, and where the shares differ, the numbers of calm windows flatter "
        "who has the smaller one."
    )


def markdown(run: Run) -> str:
    """Write the run for the README."""
    lines = [about(run), ""]
    for table in tables(run):
        lines += [
            f"**{table.title}**",
            "",
            f"| | {' | '.join(run.peers)} |",
            "|---" * (len(run.peers) + 1) + "|",
        ]
        lines += [
            f"| {row.label} | {' | '.join(c.replace(chr(10), '<br>') for c in row.cells)} |"
            for row in table.rows
        ]
        lines.append("")
    goals = goal_lines(run)
    if goals:
        lines += ["**Goals**", "", "| goal | peer | measured | |", "|---|---|---|---|"]
        lines += [f"| {row.label} | {' | '.join(row.cells)} |" for row in goals]
        lines.append("")
    lines += [f"- Not measured: {failure}" for failure in run.failures]
    lines += [f"- In doubt: {doubt}" for doubt in doubt_lines(run)]
    return "\n".join(lines).rstrip() + "\n"
