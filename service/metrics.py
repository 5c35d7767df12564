"""What a role counts about its requests, for Prometheus. Labels are names out of the table of endpoints, never input.

What stands somewhere anyway, as how many cases there are, is read when somebody asks (`Metrics.watch`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "NAMESPACE", "Metrics"]

NAMESPACE = "hushmatch"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class _Gauge(Collector):
    """A gauge whose values are read when they are asked for."""

    def __init__(self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        self._made, self._read = (f"{NAMESPACE}_{name}", text, label), read

    def describe(self) -> list[GaugeMetricFamily]:
        name, text, label = self._made
        return [GaugeMetricFamily(name, text, labels=[label] if label else [])]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        [family] = self.describe()
        for of, value in self._read().items():
            family.add_metric([of] if self._made[2] else [], value)
        yield family


class Metrics:
    """One process's numbers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "requests", "Requests answered", ["endpoint", "status"], namespace=NAMESPACE, registry=self.registry
        )
        self._seconds = Histogram(
            "request_seconds",
            "Time to answer",
            ["endpoint"],
            namespace=NAMESPACE,
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self._received = Counter(
            "received_bytes", "Bodies of requests", ["endpoint"], namespace=NAMESPACE, registry=self.registry
        )
        self._sent = Counter(
            "sent_bytes", "Bodies of answers", ["endpoint"], namespace=NAMESPACE, registry=self.registry
        )

    def observe(self, endpoint: str, status: int, seconds: float, received: int, sent: int) -> None:
        """Count one request. endpoint: method and path as declared. received, sent: bytes of the bodies."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)
        self._received.labels(endpoint).inc(received)
        self._sent.labels(endpoint).inc(sent)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that `read` gives when somebody asks; called in a thread."""
        self.registry.register(_Gauge(name, text, "", lambda: {"": read()}))

    def watch_by(self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """As `watch`, a value for each value of a label."""
        self.registry.register(_Gauge(name, text, label, read))

    def text(self) -> bytes:
        """All numbers in Prometheus's text format."""
        return generate_latest(self.registry)
