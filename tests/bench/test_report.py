"""Core. A run as a plot: one panel a scenario, a bar for whoever has the number."""

import xml.etree.ElementTree as ET

from meshtrio.benchmark.plot import svg
from tests.bench import report
from tests.bench.sample import Machine, Run, Sample

MACHINE = Machine("6.1", "a processor", 2, "proxy on core 0", "2026-01-01 00:00 UTC", {"python": "3.11.2"})


def a_run() -> Run:
    samples = [
        Sample("bulk-up", peer, number, {"gigabytes_per_second": value + number / 10})
        for peer, value in (("unmeshed", 4.0), ("haproxy", 1.0), ("meshtrio-ebpf", 2.0))
        for number in (1, 2, 3)
    ]
    samples.append(
        Sample("idle", "haproxy", 1, {"ready_s": 0.1, "proxy_rss_mb_0": 9.0, "proxy_rss_mb_1k": 18.0})
    )
    return Run(MACHINE, 1, 3, tuple(samples), ())


def test_each_scenario_is_a_panel_of_its_first_number() -> None:
    bulk, idle = report.panels(a_run())
    assert bulk.title == "bulk, client to server: throughput (more is better)"
    assert [(bar.label, bar.text) for bar in bulk.bars] == [
        ("unmeshed", "4.20 GB/s"),
        ("haproxy", "1.20 GB/s"),
        ("meshtrio-ebpf", "2.20 GB/s"),
    ]
    assert (bulk.bars[0].low, bulk.bars[0].high) == (4.1, 4.3)
    assert [(bar.label, bar.value) for bar in idle.bars] == [("haproxy", 18.0)]
    ET.fromstring(svg("run", [bulk, idle], report.about(a_run())))
