"""Core. What is measured: the load command of each scenario, and the numbers it gives.

Does not know who carries the bytes, nor how a command is run.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Target = Literal["echo", "http", "anew"]
"""anew: the echo server, by a way on which no TLS session is resumed."""


class Metric(NamedTuple):
    """One number of a scenario."""

    key: str
    label: str
    unit: str
    higher_is_better: bool = False


class Scenario(NamedTuple):
    """One kind of load. `command` fills {tools}, {ip}, {url_ip}, {port} and {seconds} into the words."""

    name: str
    title: str
    target: Target
    words: tuple[str, ...]
    operation: str
    metrics: tuple[Metric, ...]
    hops: tuple[int, ...] = (1, 2)
    """Between how many proxies it says something."""
    grain: int = 1
    """How many times more rounds, each so much shorter, it gets: then all peers have the same weather."""
    is_windowed: bool = False
    """Whether it runs in windows, of which the calm ones are chosen afterwards."""

    def command(self, tools: str, address: tuple[str, int], seconds: float) -> list[str]:
        """Give the words to run against this address."""
        ip, port = address
        return [
            word.format(
                tools=tools, ip=ip, url_ip=f"[{ip}]" if ":" in ip else ip, port=port, seconds=f"{seconds:g}"
            )
            for word in self.words
        ]


CLIENT = "{tools}/client"
CONNECT_MOST = "5000"
"""With the warming up a third of the ephemeral ports, which stay in TIME_WAIT for a minute afterwards."""
WINDOW_MS = 100


def _latency(key: str, label: str) -> tuple[Metric, Metric]:
    middle, tail = (Metric(f"{key}_{rank}_us", f"{label}, {rank}", "us") for rank in ("p50", "p99"))
    return middle, tail


def _client(mode: str, *more: str) -> tuple[str, ...]:
    return (CLIENT, mode, "{ip}", "{port}", *more)


CPU = (
    Metric("proxy_core_share", "proxy's CPU, of one core", "%"),
    Metric("proxy_us_per_operation", "proxy's CPU an operation (user + system)", "us"),
    Metric("proxy_system_us_per_operation", "of that in the kernel (system)", "us"),
    Metric("machine_us_per_operation", "whole machine an operation (with softirq)", "us"),
)
"""Added to every scenario but the idle one. The third holds what the kernel does in nobody's name."""

BULK = Metric("gigabytes_per_second", "throughput", "GB/s", True)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "connect",
        "connect, first byte, close: one at a time",
        "echo",
        _client("connect", "1", "{seconds}", CONNECT_MOST),
        "connection",
        (
            Metric("per_second", "connections", "/s", True),
            *_latency("connect", "connect()"),
            *_latency("first_byte", "to first byte"),
            *_latency("whole", "to closed"),
        ),
    ),
    Scenario(
        "connect-16",
        "connect, first byte, close: 16 at a time",
        "echo",
        _client("connect", "16", "{seconds}", CONNECT_MOST),
        "connection",
        (Metric("per_second", "connections", "/s", True), *_latency("first_byte", "to first byte")),
        hops=(1,),
    ),
    Scenario(
        "handshake-full",
        "connect, first byte, close: 16 at a time, each a full handshake",
        "anew",
        _client("connect", "16", "{seconds}", CONNECT_MOST),
        "connection",
        (Metric("per_second", "connections", "/s", True), *_latency("first_byte", "to first byte")),
        hops=(2,),
    ),
    Scenario(
        "handshake-resumed",
        "connect, first byte, close: 16 at a time, sessions are resumed",
        "echo",
        _client("connect", "16", "{seconds}", CONNECT_MOST),
        "connection",
        (Metric("per_second", "connections", "/s", True), *_latency("first_byte", "to first byte")),
        hops=(2,),
    ),
    Scenario(
        "roundtrip-1",
        "1 KiB there and back, 1 connection",
        "echo",
        _client("roundtrip", "1", "{seconds}"),
        "round trip",
        (Metric("per_second", "round trips", "/s", True), *_latency("roundtrip", "round trip")),
    ),
    *(
        Scenario(
            f"roundtrip-{name}",
            f"{title} there and back, 1 connection",
            "echo",
            _client("roundtrip", "1", "{seconds}", size),
            "round trip",
            (*_latency("roundtrip", "round trip"), Metric("per_second", "round trips", "/s", True)),
        )
        for name, title, size in (("1b", "1 byte", "1"), ("64k", "64 KiB", "65536"))
    ),
    Scenario(
        "roundtrip-64",
        "1 KiB there and back, 64 connections",
        "echo",
        _client("roundtrip", "64", "{seconds}"),
        "round trip",
        (Metric("per_second", "round trips", "/s", True), *_latency("roundtrip", "round trip")),
    ),
    Scenario(
        "rate-1000",
        "1 KiB there and back, 1,000 a second at fixed times, 8 connections",
        "echo",
        _client("rate", "8", "{seconds}", "1000", str(WINDOW_MS)),
        "round trip",
        (
            *_latency("roundtrip", "from its time to its answer, all windows"),
            *_latency("calm", "from its time to its answer, calm windows"),
            Metric("windows", f"windows of {WINDOW_MS} ms", ""),
            Metric("calm_windows", "calm ones", ""),
            Metric("calm_percent", "calm ones of all", "%"),
            *_latency("late", "sent late by"),
        ),
        grain=2,
        is_windowed=True,
    ),
    Scenario(
        "http",
        "HTTP: wrk, 32 connections, nginx, 1 KiB answers",
        "http",
        (
            "wrk",
            "-t1",
            "-c32",
            "-d{seconds}s",
            "-s",
            "{tools}/report.lua",
            "http://{url_ip}:{port}/",
        ),
        "request",
        (Metric("per_second", "requests", "/s", True), *_latency("request", "request")),
    ),
    Scenario("bulk-up", "bulk, client to server", "echo", _client("up", "{seconds}"), "MB", (BULK,)),
    Scenario("bulk-down", "bulk, server to client", "echo", _client("down", "{seconds}"), "MB", (BULK,)),
    Scenario("bulk-both", "bulk, both at once (sum)", "echo", _client("both", "{seconds}"), "MB", (BULK,)),
)

IDLE = "idle"
IDLE_STEPS = {"0": "no connection", "1k": "1,000 idle", "most": "the most idle"}
IDLE_METRICS = (
    *(
        Metric(f"{role}_rss_mb_{step}", f"RSS of the {role} with {words}", "MB")
        for role in ("proxy", "agent", "worker")
        for step, words in IDLE_STEPS.items()
    ),
    *(
        Metric(f"{role}_kb_a_connection", f"RSS of the {role} a connection, at the most", "KiB")
        for role in ("proxy", "agent", "worker")
    ),
    Metric("most_connections", "the most idle connections held", ""),
)

START = Metric("ready_s", "start to ready", "s")


def idle_most(descriptors: int) -> int:
    """Say how many connections one process can relay, up to 10,000: each takes two descriptors."""
    return min(10_000, (descriptors - 200) // 2)


def idle_command(tools: str, address: tuple[str, int], connections: int) -> list[str]:
    """Give the words that open so many connections and hold them until standard input ends."""
    return [f"{tools}/client", "idle", address[0], str(address[1]), str(connections)]


def rounds_of(scenario: str, rounds: int) -> int:
    """Say how many rounds a scenario gets when the others get so many."""
    return rounds * next((known.grain for known in SCENARIOS if known.name == scenario), 1)


def metrics_of(scenario: str) -> Sequence[Metric]:
    """List what a scenario gives, in the order in which it is shown."""
    if scenario == IDLE:
        return (START, *IDLE_METRICS)
    for known in SCENARIOS:
        if known.name == scenario:
            return (*known.metrics, *CPU)
    raise ValueError(f"no scenario {scenario!r}; there are {', '.join(ALL_NAMES)}")


def title_of(scenario: str) -> str:
    """Say in words what a scenario does."""
    return next((known.title for known in SCENARIOS if known.name == scenario), "start, and memory when idle")


ALL_NAMES = (*(known.name for known in SCENARIOS), IDLE)
