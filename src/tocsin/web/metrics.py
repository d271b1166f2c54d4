"""What Prometheus is told: counted here as it happens, and read from the database at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from tocsin.app.ledger import Tally

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MAX_PROJECTS = 100
"""Projects that have numbers of their own."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LOSS_REASONS = frozenset(
    {"queue_overflow", "cache_overflow", "ratelimit_backoff", "network_error", "send_error", "buffer_overflow"}
    | {"sample_rate", "before_send", "event_processor", "internal_sdk_error", "insufficient_data", "backpressure"}
)
"""What Sentry's SDKs say; every other reason is counted as "other", for a client must not make labels."""


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "tocsin_http_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._latency = Histogram(
            "tocsin_http_request_seconds",
            "From the request's headers to the answer's.",
            ["route"],
            buckets=_LATENCIES,
            registry=registry,
        )
        self._reports = Counter(
            "tocsin_reports", "Error reports, by what became of them.", ["outcome"], registry=registry
        )
        self._losses = Counter(
            "tocsin_client_lost_events",
            "Events that clients say they dropped themselves.",
            ["reason"],
            registry=registry,
        )
        self._ignored = Counter(
            "tocsin_ignored_items", "Items of Sentry envelopes that are acknowledged and not kept.", registry=registry
        )
        self._gauges = {
            "status": Gauge("tocsin_open_incidents", "Open incidents, by status.", ["status"], registry=registry),
            "severity": Gauge(
                "tocsin_open_incidents_by_severity", "Open incidents, by severity.", ["severity"], registry=registry
            ),
        }
        self._intake = Gauge(
            "tocsin_intake_reports",
            "The ledger of the last 24 hours: what was received and what became of it; lost is what clients dropped.",
            ["project", "measure"],
            registry=registry,
        )
        self._difference = Gauge(
            "tocsin_intake_difference",
            "What is missing from the ledger of the last 24 hours; anything but 0 is a fault of Tocsin.",
            ["project"],
            registry=registry,
        )
        self._numbers = {
            name: Gauge(f"tocsin_{name}", text, registry=registry)
            for name, text in (
                ("overdue_incidents", "Incidents that nobody acknowledged in time."),
                ("unsent_pages", "Pages that are owed."),
                ("failed_pages", "Pages given up in the last 24 hours."),
                ("dead_jobs", "Jobs that were set aside after failing."),
                ("workers_alive", "Workers seen in the last seconds."),
            )
        }

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def reports(self, outcomes: Iterable[str]) -> None:
        """Count reports by what became of them."""
        for outcome in outcomes:
            self._reports.labels(outcome).inc()

    def lost(self, reason: str, quantity: int) -> None:
        """Count events that a client dropped."""
        self._losses.labels(reason if reason in _LOSS_REASONS else "other").inc(quantity)

    def ignored(self, items: int) -> None:
        """Count items that are not kept."""
        self._ignored.inc(items)

    def ledger(self, tallies: Sequence[Tally]) -> None:
        """Show the ledger that was just read; the projects beyond MAX_PROJECTS with the fewest reports are one."""
        self._intake.clear()
        self._difference.clear()
        busiest = sorted(tallies, key=lambda tally: sum(tally.received.values()), reverse=True)
        for place, tally in enumerate(busiest):
            project = str(tally.project_id) if place < MAX_PROJECTS else "other"
            for measure, number in _measures(tally).items():
                self._intake.labels(project, measure).inc(number)
            self._difference.labels(project).inc(abs(tally.difference))

    def exposition(
        self, by_status: Mapping[str, int], by_severity: Mapping[str, int], numbers: Mapping[str, int]
    ) -> bytes:
        """Return everything in Prometheus' text format, with what was just read from the database."""
        for label, counts in (("status", by_status), ("severity", by_severity)):
            for value, count in counts.items():
                self._gauges[label].labels(value).set(count)
        for name, number in numbers.items():
            self._numbers[name].set(number)
        return generate_latest(self._registry)


def _measures(tally: Tally) -> dict[str, int]:
    return {
        "received": sum(tally.received.values()),
        "opened": tally.opened,
        "joined": tally.joined,
        "recorded": tally.recorded,
        "duplicate": tally.duplicate,
        "rejected": sum(tally.rejected.values()),
        "lost": sum(tally.lost.values()),
    }
