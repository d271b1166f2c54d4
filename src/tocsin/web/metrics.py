"""What Prometheus is told: counted here as it happens, and read from the database at each scrape.

Of several web processes a scrape reaches any one, so their counts are kept in files that each of them adds up.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

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


_NUMBERS = {
    "overdue_incidents": "Incidents that nobody acknowledged in time.",
    "unsent_pages": "Pages that are owed.",
    "failed_pages": "Pages given up in the last 24 hours.",
    "dead_jobs": "Jobs that were set aside after failing.",
    "workers_alive": "Workers seen in the last seconds.",
    "policy_steps_unreached": "Steps of the policies in force that reach nobody now.",
    "coverage_gaps": "Times within 14 days in which a step of a policy will reach nobody.",
    "log_size": "Leaves of the log.",
    "log_signed_size": "Leaves of the log that a checkpoint is signed for.",
    "log_waiting": "Entries that have no place in the log yet, counted up to 100,000.",
    "log_waiting_seconds": "How long the first of them has waited.",
    "log_vouched_size": "Leaves of the log that somebody outside vouches for.",
    "log_vouchers_failing": "Witnesses, authorities and copies that do not answer, or not as they should.",
    "watchdog_called_timestamp_seconds": "When somebody outside was last told that every promise holds; 0: never.",
    "watchdog_withheld": "1 while that is held back, for a promise is broken.",
    "watchdog_failing": "1 while they are not reached.",
    "log_signer_refuses": "1 when the signer refuses: the log does not continue what was signed.",
}


@contextmanager
def count_together(folder: Path, place: int) -> Iterator[None]:
    """Let this process keep its counts in a file of this folder, together with those of the other places.

    Whoever has a place next goes on from its file: no counter goes back when a process dies, and the files do not
    grow in number. It holds for all `Metrics` that are made in this process from then on.
    """
    # Whoever tidies up temporary files may have thought it forgotten.
    folder.mkdir(mode=0o700, exist_ok=True)
    # The library knows no other way to say either.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]  # theirs
    try:
        yield
    finally:
        values.close_all_multiprocess_files()  # type: ignore[no-untyped-call]  # theirs


def remove_counts(folder: Path, place: int) -> None:
    """Remove what a process counted, where nobody is left who would; the last one removes the folder."""
    for file in folder.glob(f"*_{place}.db"):
        file.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


class Metrics:
    """The metrics of one application, in a registry of their own; with the folder of `count_together` of several."""

    def __init__(self, folder: Path | None = None) -> None:
        counted = registry = CollectorRegistry()
        if folder is not None:
            counted = CollectorRegistry()
            MultiProcessCollector(counted, str(folder))  # type: ignore[no-untyped-call]  # theirs
        self._counted = counted
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
        # Finding a labelled metric costs more than counting with it; there are as many as routes and statuses.
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._outcomes: dict[str, Counter] = {}
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
        self._ledger: list[GaugeMetricFamily] = []

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        key = (route, method if method in _METHODS else "other", status)
        counted = self._answered.get(key)
        if counted is None:
            counted = self._requests.labels(route, key[1], str(status)), self._latency.labels(route)
            self._answered[key] = counted
        counted[0].inc()
        counted[1].observe(seconds)

    def reports(self, outcomes: Sequence[str]) -> None:
        """Count reports by what became of them."""
        for outcome in set(outcomes):
            self._became(outcome, outcomes.count(outcome))

    def rejected(self, number: int) -> None:
        """Count reports that were rejected: a request may bring millions."""
        self._became("rejected", number)

    def _became(self, outcome: str, number: int) -> None:
        counted = self._outcomes.get(outcome)
        if counted is None:
            counted = self._outcomes[outcome] = self._reports.labels(outcome)
        counted.inc(number)

    def lost(self, reason: str, quantity: int) -> None:
        """Count events that a client dropped."""
        self._losses.labels(reason if reason in _LOSS_REASONS else "other").inc(quantity)

    def ignored(self, items: int) -> None:
        """Count items that are not kept."""
        self._ignored.inc(items)

    def ledger(self, tallies: Sequence[Tally]) -> None:
        """Show the ledger that was just read; the projects beyond MAX_PROJECTS with the fewest reports are one."""
        intake: defaultdict[tuple[str, ...], int] = defaultdict(int)
        differences: defaultdict[tuple[str, ...], int] = defaultdict(int)
        busiest = sorted(tallies, key=lambda tally: sum(tally.received.values()), reverse=True)
        for place, tally in enumerate(busiest):
            project = str(tally.project_id) if place < MAX_PROJECTS else "other"
            for measure, number in _measures(tally).items():
                intake[project, measure] += number
            differences[project,] += abs(tally.difference)
        self._ledger = [
            _gauge(
                "intake_reports",
                "The ledger of the last 24 hours: what was received and what became of it; "
                "lost is what clients dropped.",
                ["project", "measure"],
                intake,
            ),
            _gauge(
                "intake_difference",
                "What is missing from the ledger of the last 24 hours; anything but 0 is a fault of Tocsin.",
                ["project"],
                differences,
            ),
        ]

    def exposition(
        self, by_status: Mapping[str, int], by_severity: Mapping[str, int], numbers: Mapping[str, int]
    ) -> bytes:
        """Return everything in Prometheus' text format, with what was just read from the database."""
        read = [
            _gauge("open_incidents", "Open incidents, by status.", ["status"], _single(by_status)),
            _gauge("open_incidents_by_severity", "Open incidents, by severity.", ["severity"], _single(by_severity)),
            *self._ledger,
            *(_gauge(name, text, [], {(): numbers.get(name, 0)}) for name, text in _NUMBERS.items()),
        ]
        return generate_latest(self._counted) + generate_latest(_Read(read))


@dataclass(frozen=True, slots=True)
class _Read(Collector):
    """What was read from the database: the same in every process, and kept in none."""

    gauges: Sequence[GaugeMetricFamily]

    def collect(self) -> Sequence[GaugeMetricFamily]:
        return self.gauges


def _gauge(name: str, text: str, labels: Sequence[str], readings: Mapping[tuple[str, ...], int]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(f"tocsin_{name}", text, labels=labels)
    for values_of_labels, number in readings.items():
        gauge.add_metric(values_of_labels, number)
    return gauge


def _single(counts: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    return {(label,): count for label, count in counts.items()}


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
