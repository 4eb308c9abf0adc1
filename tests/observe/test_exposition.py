"""World. The metrics text, compared with the one that was, and read by Prometheus's own parser."""

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from meshtrio.messages import Count, Direction, Tally
from meshtrio.observe.exposition import exposition
from meshtrio.observe.sums import Gauge, Sums
from meshtrio.outcome import Outcome


def example() -> bytes:
    sums = Sums()
    rows: list[tuple[Direction, str, str, Outcome, int]] = [
        ("outbound", "shop", "default/web", Outcome.CARRIED, 3),
        ("outbound", "shop", "", Outcome.NO_ROUTE, 1),
        ("inbound", "db", 'odd "name"\\ of\nlines', Outcome.OUR_BUG, 2),
    ]
    sums.add(Tally([Count(*row, 10 * row[-1], 1 << 53) for row in rows], []))
    gauges = [
        Gauge("meshtrio_ready", "Whether the agent is ready", 1.0),
        Gauge(
            "meshtrio_resident_memory_bytes", "Resident memory of each process", 24e6, {"process": "agent"}
        ),
        Gauge(
            "meshtrio_resident_memory_bytes", "Resident memory of each process", 3e7, {"process": "worker-0"}
        ),
        Gauge("meshtrio_stream_events_total", "News on a stream", 12, {"stream": "pods"}, grows=True),
    ]
    return exposition(sums, gauges, {"redirected": 7, "left_ours": 1})


def test_the_text_is_as_it_was(golden: Callable[[str, str], None]) -> None:
    golden("metrics.txt", example().decode())


def test_a_parser_finds_the_same_numbers() -> None:
    families = {family.name: family for family in text_string_to_metric_families(example().decode())}
    closed = families["istio_tcp_connections_closed"]
    assert closed.type == "counter"
    assert {sample.name for sample in closed.samples} == {"istio_tcp_connections_closed_total"}
    by_outcome = {sample.labels["outcome"]: sample for sample in closed.samples}
    assert {outcome: sample.value for outcome, sample in by_outcome.items()} == {
        "carried": 3.0,
        "no_route": 1.0,
        "our_bug": 2.0,
    }
    assert by_outcome["carried"].labels == {
        "reporter": "source",
        "source_workload": "shop",
        "destination_service": "default/web",
        "response_flags": "-",
        "outcome": "carried",
    }
    assert by_outcome["our_bug"].labels["reporter"] == "destination"
    assert by_outcome["our_bug"].labels["destination_service"] == 'odd "name"\\ of\nlines'
    assert [sample.value for sample in families["istio_tcp_sent_bytes"].samples] == [30.0, 10.0, 20.0]
    assert {sample.value for sample in families["istio_tcp_received_bytes"].samples} == {float(1 << 53)}
    reasons = {one.labels["reason"]: one.value for one in families["meshtrio_hook_decisions"].samples}
    assert reasons == {"redirected": 7.0, "left_ours": 1.0}
    memory = families["meshtrio_resident_memory_bytes"]
    assert memory.type == "gauge"
    assert {one.labels["process"]: one.value for one in memory.samples} == {"agent": 24e6, "worker-0": 3e7}
    assert families["meshtrio_ready"].samples[0].value == 1.0


def test_nothing_yet_is_good_text_too() -> None:
    families = list(text_string_to_metric_families(exposition(Sums(), [], {}).decode()))
    assert [family.name for family in families] == [
        "istio_tcp_connections_closed",
        "istio_tcp_sent_bytes",
        "istio_tcp_received_bytes",
        "meshtrio_hook_decisions",
    ]


def test_what_only_grows_is_a_counter() -> None:
    families = {family.name: family for family in text_string_to_metric_families(example().decode())}
    events = families["meshtrio_stream_events"]
    assert events.type == "counter"
    assert [(one.name, one.value) for one in events.samples] == [("meshtrio_stream_events_total", 12.0)]
    assert families["meshtrio_ready"].type == "gauge"
