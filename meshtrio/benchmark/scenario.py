"""Core. What is measured: the kinds of load, and the numbers that each gives. Does not know who is called."""

from typing import NamedTuple


class Metric(NamedTuple):
    """One number of a scenario, as a column."""

    key: str
    head: str
    unit: str
    higher_is_better: bool = False


class Scenario(NamedTuple):
    """One kind of load. The first metric is the one by which its peers are compared and rounds are judged."""

    name: str
    title: str
    mode: str
    """What load.py calls it."""
    metrics: tuple[Metric, ...]
    is_memory: bool = False
    """Whether memory is read while it holds its connections, and nothing is timed."""


_CPU = (Metric("proxy_us", "PROXY CPU", "us"), Metric("proxy_kernel_us", "IN KERNEL", "us"))
"""Of the proxy's whole process tree, for each operation."""
_P50, _P99 = Metric("p50_us", "P50", "us"), Metric("p99_us", "P99", "us")
_RATE = Metric("per_second", "A SECOND", "/s", True)
_VOLUME = Metric("mb_per_second", "THROUGHPUT", "MB/s", True)

SCENARIOS = (
    Scenario(
        "memory",
        "resident memory, at rest and with 1,000 idle connections",
        "hold",
        tuple(
            Metric(f"{role}_{step}", f"{role.upper()}{words}", "MiB")
            for role in ("agent", "worker", "proxy")
            for step, words in (("rss", ""), ("rss_1k", " 1K"))
        ),
        is_memory=True,
    ),
    Scenario(
        "connect",
        "connect, one byte there and back, close; one at a time",
        "connect",
        (_RATE, _P50, _P99, *_CPU),
    ),
    Scenario(
        "roundtrip-1b",
        "1 byte there and back, one connection",
        "roundtrip_small",
        (_P50, _P99, _RATE, *_CPU),
    ),
    Scenario(
        "roundtrip",
        "1 KiB there and back, one connection",
        "roundtrip",
        (_P50, _P99, _RATE, *_CPU),
    ),
    Scenario(
        "roundtrip-64k",
        "64 KiB there and back, one connection",
        "roundtrip_large",
        (_P50, _P99, _RATE, *_CPU),
    ),
    Scenario(
        "rate",
        "1 KiB there and back, 1,000 a second at fixed times; from its time to its answer",
        "rate",
        (_P50, _P99, *_CPU),
    ),
    Scenario("bulk-up", "bytes to the server, one connection; CPU for each MB", "up", (_VOLUME, *_CPU)),
    Scenario("bulk-down", "bytes from the server, one connection; CPU for each MB", "down", (_VOLUME, *_CPU)),
    Scenario(
        "bulk-both",
        "bytes to the server and back at once, one connection, both counted; CPU for each MB",
        "both",
        (_VOLUME, *_CPU),
    ),
)
NAMES = tuple(scenario.name for scenario in SCENARIOS)


def rounds_of(scenario: Scenario, rounds: int) -> int:
    """Say how many rounds it gets: memory is no matter of luck, so one is enough."""
    return 1 if scenario.is_memory else rounds
