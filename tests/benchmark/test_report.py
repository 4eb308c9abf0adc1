"""Core. A run in words: a golden table, doubts where they belong, JSON that says the same."""

import json
from collections.abc import Callable

from meshtrio.benchmark import report
from meshtrio.benchmark.plot import svg
from meshtrio.benchmark.result import BASE, LeftOut, Machine, Run, Sample
from meshtrio.benchmark.statistics import Spread
from meshtrio.cli.words import table

MACHINE = Machine("6.1.0", "a processor", 2, "proxy on core 0", "2026-01-01 00:00 UTC", 0.5, "3.11.2")


def sample(scenario: str, peer: str, number: int, **numbers: float) -> Sample:
    return Sample(scenario, peer, number, {"steal_share": 0.0, "foreign_share": 0.0, **numbers})


def a_run(**last: float) -> Run:
    samples = [
        sample("memory", BASE, 1),
        sample("memory", "ebpf", 1, agent_rss=40.1, worker_rss=29.0, agent_rss_1k=40.2, worker_rss_1k=36.0),
        sample("memory", "haproxy", 1, proxy_rss=14.5, proxy_rss_1k=17.7),
    ]
    for number in (1, 2, 3):
        base = {"p50_us": 40.0 + number, "p99_us": 90.0, "proxy_us": 0.0, "proxy_kernel_us": 0.0}
        meshed = {"p50_us": 80.0 + 2 * number, "p99_us": 200.0, "proxy_us": 50.0, "proxy_kernel_us": 30.0}
        samples.append(sample("rate", BASE, number, **base))
        samples.append(sample("rate", "ebpf", number, **meshed, **(last if number == 3 else {})))
    return Run(MACHINE, 1.0, 3, tuple(samples), (LeftOut("nft", "it is not to be"),), ())


def test_as_it_is_read(golden: Callable[[str, str], None]) -> None:
    run = a_run(foreign_share=0.4)
    text = report.about(run)
    for one in report.tables(run):
        text += "\n\n" + "\n".join([one.title, *table(one.head, one.rows)])
    golden("bench.txt", "\n".join((text, "", *report.doubt_lines(run), report.verdict(run))) + "\n")


def test_a_quiet_run_has_no_doubts() -> None:
    assert report.doubt_lines(a_run()) == []
    assert report.verdict(a_run()) == "the machine was quiet enough"
    assert report.as_json(a_run())["quiet"]


def test_json_has_what_the_table_has() -> None:
    told = json.loads(json.dumps(report.as_json(a_run(steal_share=0.2))))
    assert (told["ok"], told["quiet"], told["rounds"]) == (True, False, 3)
    memory, rate = told["scenarios"]
    assert [one["peer"] for one in memory["peers"]] == ["ebpf", "haproxy"]
    base, meshed = rate["peers"]
    assert base["times_unmeshed"] == {} and base["doubts"] == []
    assert meshed["numbers"]["p50_us"] == {"median": 84.0, "low": 82.0, "high": 86.0, "rounds": 3}
    assert meshed["times_unmeshed"]["p50_us"] == 2.0
    assert meshed["doubts"] == ["20.0% of the machine stolen by its host"]
    assert told["left_out"] == [{"peer": "nft", "why": "it is not to be"}]
    assert len(told["samples"]) == 9


def test_the_plot_has_a_panel_for_each_scenario() -> None:
    panels = report.panels(a_run())
    assert [(one.title, [bar.label for bar in one.bars]) for one in panels][-1] == (
        "rate: p50",
        [BASE, "ebpf"],
    )
    assert [bar.text for bar in panels[-1].bars] == ["42.0 us", "84.0 us"]
    assert "rate: p50" in svg("x", panels)


def test_a_number_has_the_digits_that_it_deserves() -> None:
    assert [report.number_of(value) for value in (0.123, 12.34, 123.4, 12345.6)] == [
        "0.12",
        "12.3",
        "123",
        "12,346",
    ]
    assert report.spread_text(Spread(10, 5, 20, 3)) == "~10.0 (5.00-20.0)"
    assert report.spread_text(Spread(10, 10, 10, 3)) == "10.0"
