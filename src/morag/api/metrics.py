"""What `/metrics` tells, in Prometheus' text form: counted while requests pass, asked of the store at the scrape.

Cheap at the scrape: one grouped query, one look at the disk, and the size of the index only if it is open.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from morag.control.ports import LaneLoad
from morag.telemetry import attempts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0)
"""Seconds: from a status answer to the longest a client waits for a conversion."""


class Measures:
    """What is counted of the requests of one application, and of this process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "morag_http_request_duration_seconds",
            "Time from a request to the end of its answer.",
            ["method", "route", "status"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is its pattern, so that ids do not make rows."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def text(self, reading: "Reading") -> bytes:
        """All of it, with what was read just now."""
        now = CollectorRegistry(auto_describe=False)
        now.register(reading)
        return generate_latest(self._registry) + generate_latest(now)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # a registry wants to hash it
class Reading(Collector):
    """What is asked for at the scrape."""

    version: str
    lanes: Mapping[str, LaneLoad]
    index_points: int | None
    disk_free_bytes: int

    def collect(self) -> Iterator[Metric]:
        """The families, as a registry asks for them."""
        yield _gauge("morag_info", "The version that runs.", ["version"], {(self.version,): 1})
        yield _gauge("morag_tasks", "Open tasks.", ["lane", "state"], _by_state(self.lanes))
        waits = {(lane,): load.oldest_wait_s or 0.0 for lane, load in self.lanes.items()}
        yield _gauge("morag_oldest_wait_seconds", "How long the oldest ready task has waited.", ["lane"], waits)
        yield _gauge("morag_disk_free_bytes", "Free space of the data folder.", [], {(): self.disk_free_bytes})
        if self.index_points is not None:
            yield _gauge("morag_index_points", "Chunks in the index.", [], {(): self.index_points})
        counted = CounterMetricFamily("morag_attempts", "Attempts by what came of them.", labels=["task", "outcome"])
        for labels, count in attempts.counts().items():
            counted.add_metric(labels, count)
        yield counted


def _by_state(lanes: Mapping[str, LaneLoad]) -> dict[tuple[str, ...], float]:
    pending = {(lane, "pending"): float(load.length) for lane, load in lanes.items()}
    return pending | {(lane, "running"): float(load.running) for lane, load in lanes.items()}


def _gauge(name: str, told: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, told, labels=labels)
    for each, value in values.items():
        family.add_metric(each, value)
    return family
