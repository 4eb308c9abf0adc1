"""Shell. The agent's sums as metrics in Prometheus's text format.

Names and labels are Istio's where Istio has the thing (`istio_tcp_*`), so that existing dashboards
work, and Prometheus's conventions for the rest. Imported by the first scrape: the library costs
2.4 MB, which an agent that nobody scrapes need not have. Does not know who scrapes.
"""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from meshtrio.observe.sums import Gauge, Sums


class _Exposition(Collector):
    def __init__(self, sums: Sums, gauges: Iterable[Gauge], reasons: dict[str, int]) -> None:
        self._sums = sums
        self._gauges = gauges
        self._reasons = reasons

    def collect(self) -> Iterable[Metric]:
        labels = ["reporter", "source_workload", "destination_service", "response_flags", "outcome"]
        closed = CounterMetricFamily("istio_tcp_connections_closed", "Connections that ended", labels=labels)
        sent = CounterMetricFamily("istio_tcp_sent_bytes", "Bytes to the called side", labels=labels)
        received = CounterMetricFamily("istio_tcp_received_bytes", "Bytes to the caller", labels=labels)
        for (direction, workload, service, outcome), sums in self._sums.kinds.items():
            reporter = "source" if direction == "outbound" else "destination"
            values = [reporter, workload, service, outcome.flag, outcome.value]
            for family, value in zip((closed, sent, received), sums, strict=True):
                family.add_metric(values, value)
        yield from (closed, sent, received)
        hooks = CounterMetricFamily(
            "meshtrio_hook_decisions", "Decisions of the kernel hooks", labels=["reason"]
        )
        for reason, value in self._reasons.items():
            hooks.add_metric([reason], value)
        yield hooks
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for gauge in self._gauges:
            names = sorted(gauge.labels)
            if gauge.name not in families:
                kind = CounterMetricFamily if gauge.grows else GaugeMetricFamily
                families[gauge.name] = kind(gauge.name, gauge.help, labels=names)
            families[gauge.name].add_metric([gauge.labels[name] for name in names], gauge.value)
        yield from families.values()


def exposition(sums: Sums, gauges: Iterable[Gauge], reasons: dict[str, int]) -> bytes:
    """Return all metrics in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Exposition(sums, gauges, reasons))
    return generate_latest(registry)
