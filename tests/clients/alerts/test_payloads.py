"""What Debian's Prometheus and Alertmanager really send is understood, and says the same by whichever way it comes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep, time

import pytest

from tests.clients.alerts import alertmanager, prometheus
from tests.clients.alerts.process import needs
from tests.intake.samples import Recorder, new_ids
from tocsin.domain.fingerprint import fingerprint
from tocsin.domain.incident import Severity
from tocsin.domain.report import ErrorReport, Signal
from tocsin.intake.alertmanager import label_fingerprint, parse_alerts, parse_webhook
from tocsin.intake.pagerduty import Enqueued, parse_enqueue

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("alert-payloads"),
    needs(alertmanager.PROGRAM),
    needs(prometheus.PROGRAM),
]

KEY = "0123456789abcdef0123456789abcdef"
ROUTING_KEY = "fedcba9876543210fedcba9876543210"
WEBHOOK, PAGERDUTY, PREFIX = "/hook", "/v2/enqueue", "/api/prometheus"
WAIT_SECONDS = 60.0
# Prometheus finds the servers that it tells of alerts only some five seconds after its start.
BEGINS_AFTER, ENDS_AFTER = 8, 12

ODD_LABELS = {"alertname": "Übel", "wert": "ж 😀", "empty": "", "quoted": 'a"b\\c\n', "severity": "page"}


@dataclass(frozen=True, slots=True)
class Sent:
    """What arrived, in its order, and the labels with the fingerprint that Alertmanager holds for them."""

    recorder: Recorder
    held: list[dict[str, object]]
    received_at: datetime

    def bodies(self, path: str) -> list[bytes]:
        return [request.body for request in list(self.recorder.requests) if request.path == path]

    def keys(self, path: str) -> set[str]:
        return {request.headers["authorization"] for request in self.recorder.requests if request.path == path}

    def notified(self, name: str) -> list[ErrorReport]:
        return self._reports(WEBHOOK, name, parse_webhook)

    def posted(self, name: str) -> list[ErrorReport]:
        return self._reports(f"{PREFIX}/api/v2/alerts", name, parse_alerts)

    def enqueued(self) -> list[Enqueued]:
        ids = new_ids()
        return [parse_enqueue(body, received_at=self.received_at, new_event_id=ids) for body in self.bodies(PAGERDUTY)]

    def _reports(self, path: str, name: str, parse: Callable[..., Sequence[object]]) -> list[ErrorReport]:
        ids = new_ids()
        items = [
            item for body in self.bodies(path) for item in parse(body, received_at=self.received_at, new_event_id=ids)
        ]
        assert all(isinstance(item, ErrorReport) for item in items), items
        return [item for item in items if isinstance(item, ErrorReport) and item.error_type == name]


def wait_until(enough: Callable[[], bool], recorder: Recorder) -> None:
    end = monotonic() + WAIT_SECONDS
    while not enough():
        assert monotonic() < end, [(request.path, request.body) for request in recorder.requests]
        sleep(0.1)


def live(folder: Path, port: int, sent: Sent) -> None:
    """Let two alerts of one group fire and end, and a rule of Prometheus too; every way leads to the port."""
    url = f"http://127.0.0.1:{port}"
    receivers = alertmanager.webhook(url + WEBHOOK, KEY), alertmanager.pagerduty(url + PAGERDUTY, ROUTING_KEY)
    begins = int(time()) + BEGINS_AFTER
    expression = f"(vector(time()) > {begins}) < {begins + ENDS_AFTER - BEGINS_AFTER}"
    rule = prometheus.Rule("Slow", expression, {"severity": "warning", "zone": "ü"}, {"summary": "It is slow"})
    direct = prometheus.AlertTarget(port, PREFIX, KEY)
    with alertmanager.running_alertmanager(folder / "alertmanager", *receivers) as running:
        through = prometheus.AlertTarget(running.port)
        with prometheus.running_prometheus(folder / "prometheus", [rule], direct, through):
            disk = {"labels": {"alertname": "DiskFull", "instance": "db-1", "severity": "critical"}}
            running.post(disk, {"labels": ODD_LABELS})
            wait_until(lambda: len(sent.notified("DiskFull")) == 1, sent.recorder)
            running.post({"labels": {**disk["labels"], "instance": "db-2"}})
            wait_until(lambda: len(sent.notified("DiskFull")) == 3, sent.recorder)
            sent.held.extend(running.alerts())
            over = datetime.now(UTC).isoformat()
            running.post(
                *({"labels": {**disk["labels"], "instance": name}, "endsAt": over} for name in ("db-1", "db-2"))
            )
            wait_until(lambda: any(report.signal for report in sent.notified("DiskFull")), sent.recorder)
            wait_until(lambda: any(report.signal for report in sent.posted("Slow")), sent.recorder)
            wait_until(lambda: any(report.signal for report in sent.notified("Slow")), sent.recorder)
            wait_until(lambda: sum(bool(event.report.signal) for event in sent.enqueued()) >= 2, sent.recorder)


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    recorder = Recorder()
    # Later than every end and earlier than every expiry that the programs name.
    everything = Sent(recorder, [], datetime.now(UTC) + timedelta(seconds=90))
    recorder.serve_while(lambda port: live(tmp_path_factory.mktemp("alerts"), port, everything))
    return everything


def test_the_fingerprint_of_any_labels_is_alertmanagers(sent: Sent) -> None:
    names = set()
    for alert in sent.held:
        labels = alert["labels"]
        assert isinstance(labels, dict)
        assert label_fingerprint(labels) == alert["fingerprint"]
        names.add(labels["alertname"])
    assert names >= {"DiskFull", "Übel"}


def test_an_odd_alert_arrives_whole(sent: Sent) -> None:
    (odd,) = sent.notified("Übel")
    assert odd.tags == {name: value for name, value in ODD_LABELS.items() if value}
    assert odd.severity is Severity.HIGH


def test_a_notification_that_repeats_an_alert_repeats_its_event(sent: Sent) -> None:
    firing = [report for report in sent.notified("DiskFull") if report.signal is None]
    first = [report.event_id for report in firing if report.server_name == "db-1"]
    second = [report.event_id for report in firing if report.server_name == "db-2"]
    assert len(first) == 2
    assert len(set(first)) == 1
    assert set(first).isdisjoint(second)
    assert all(report.severity is Severity.CRITICAL and report.expires_at is None for report in firing)


def test_the_end_of_an_alert_names_its_firing(sent: Sent) -> None:
    reports = sent.notified("DiskFull")
    firing = {report.event_id for report in reports if report.signal is None}
    over = {report.event_id for report in reports if report.signal is Signal.RESOLVE}
    assert {f"{event_id}-resolved" for event_id in firing} >= over
    assert over


def test_an_alert_of_prometheus_is_one_event_directly_and_through_alertmanager(sent: Sent) -> None:
    direct, through = sent.posted("Slow"), sent.notified("Slow")
    assert {report.event_id for report in direct} == {report.event_id for report in through}
    assert len({report.event_id for report in direct}) == 2
    assert len({fingerprint(report) for report in (*direct, *through)}) == 1
    assert {report.title for report in direct} == {"Slow: It is slow"}
    assert {report.occurred_at for report in direct} == {report.occurred_at for report in through}


def test_an_alert_of_prometheus_expires_four_minutes_after_it_was_last_sent(sent: Sent) -> None:
    (firing,) = {report.event_id: report for report in sent.posted("Slow") if report.signal is None}.values()
    assert firing.expires_at is not None
    assert firing.expires_at - firing.occurred_at == timedelta(minutes=4)
    assert all(report.expires_at is None for report in sent.posted("Slow") if report.signal)


def test_the_project_key_comes_as_a_bearer_token(sent: Sent) -> None:
    assert sent.keys(WEBHOOK) == sent.keys(f"{PREFIX}/api/v2/alerts") == {f"Bearer {KEY}"}


def test_what_alertmanager_tells_pagerduty_is_one_failure_for_each_group(sent: Sent) -> None:
    events = sent.enqueued()
    assert {event.routing_key for event in events} == {ROUTING_KEY}
    signals = {(event.dedup_key, event.report.signal) for event in events}
    resolved = {key for key, signal in signals if signal is Signal.RESOLVE}
    assert len(resolved) == 2
    assert all((key, None) in signals for key in resolved)
    for event in events:
        assert event.report.fingerprint == ("pagerduty", event.dedup_key)
        assert event.report.server_name == "Alertmanager"
        assert json.dumps(event.report.context["custom_details"])


def test_a_severity_that_alertmanager_could_not_fill_in_is_high(sent: Sent) -> None:
    severities = {event.report.message.split()[1]: event.report.severity for event in sent.enqueued()}
    assert severities == {"DiskFull": Severity.CRITICAL, "Slow": Severity.MEDIUM, "Übel": Severity.HIGH}
