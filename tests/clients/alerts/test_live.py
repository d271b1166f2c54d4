"""Debian's Prometheus and Alertmanager tell a running Tocsin: what fires is an incident, what ends is noted in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import time

import pytest

from tests.clients.alerts import alertmanager, prometheus
from tests.clients.alerts.alertmanager import Alertmanager
from tests.clients.alerts.process import needs
from tests.clients.conftest import Live, eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("alerts-live"),
    needs(alertmanager.PROGRAM),
    needs(prometheus.PROGRAM),
]

DISK = {"alertname": "DiskFull", "instance": "db-1", "severity": "critical"}
NOTED = ["REPORTED", "SIGNAL_RECEIVED"]
# Prometheus finds the servers that it tells of alerts only some five seconds after its start.
BEGINS_AFTER, ENDS_AFTER = 6, 10


@pytest.fixture(scope="module")
def running(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """An Alertmanager that tells Tocsin of every group in both ways that it knows."""
    folder = tmp_path_factory.mktemp("alertmanager") / "run"
    webhook = alertmanager.webhook(f"{live.url}/api/v1/alertmanager", live.key)
    pagerduty = alertmanager.pagerduty(f"{live.url}/v2/enqueue", live.key)
    with alertmanager.running_alertmanager(folder, webhook, pagerduty) as program:
        yield program


def test_an_alert_arrives_by_the_webhook_and_by_pagerdutys_events(live: Live, running: Alertmanager) -> None:
    running.post({"labels": DISK, "annotations": {"summary": "The disk of db-1 is full"}})
    by_webhook = eventually(lambda: live.by_title().get("DiskFull: The disk of db-1 is full"))
    assert by_webhook["incident"]["severity"] == "CRITICAL"
    assert by_webhook["error"]["tags"] == DISK
    by_pagerduty = eventually(lambda: live.by_title().get("[FIRING:1] DiskFull (db-1 critical)"))
    assert by_pagerduty["incident"]["severity"] == "CRITICAL"
    assert by_pagerduty["error"]["serverName"] == "Alertmanager"
    assert live.key not in json.dumps(by_pagerduty), "the routing key opens the door: it is kept nowhere"

    running.post({"labels": DISK, "endsAt": datetime.now(UTC).isoformat()})
    for title in ("DiskFull: ", "[FIRING:1] DiskFull"):
        eventually(lambda title=title: live.entries(title) == NOTED)  # type: ignore[misc]
    assert {detail["incident"]["status"] for detail in live.details()} == {"REPORTED"}, "people resolve incidents"


def test_prometheus_alone_is_enough(live: Live, tmp_path: Path) -> None:
    begins = int(time()) + BEGINS_AFTER
    ends = begins + ENDS_AFTER - BEGINS_AFTER
    slow = prometheus.Rule("Slow", f"(vector(time()) > {begins}) < {ends}", {}, {"summary": "It is slow"})
    silent = prometheus.Rule("Silent", f"vector(time()) > {begins}", {"severity": "critical"}, {"summary": "No answer"})
    target = prometheus.AlertTarget(live.port, key=live.key)
    with prometheus.running_prometheus(tmp_path / "prometheus", [slow, silent], target, resend_delay="2s"):
        assert eventually(lambda: live.by_title().get("Slow: It is slow"))["incident"]["severity"] == "HIGH"
        eventually(lambda: live.entries("Silent: ") == ["REPORTED"])
        first, before = _expiries(live), live.became("duplicate")
        eventually(lambda: live.became("duplicate") >= before + 2)
        eventually(lambda: len(_expiries(live)) == 1)
        eventually(lambda: live.entries("Slow: ") == NOTED)
        (expiry,) = _expiries(live)
        assert expiry > max(first), "a repeated alert puts off its expiry"
    _expire(live)
    eventually(lambda: live.entries("Silent: ") == NOTED)
    over = live.by_title()["Silent: No answer"]["incident"]
    assert over["status"] == "REPORTED"
    assert over["occurrences"] == 1, "one firing is one event, however often it is repeated"


def _expiries(live: Live) -> list[datetime]:
    return [due_at for (due_at,) in live.rows("SELECT due_at FROM tocsin.jobs WHERE kind = 'expire-alert'")]


def _expire(live: Live) -> None:
    """Let the four minutes pass that Prometheus gave an alert which nobody repeats any more."""
    live.rows("UPDATE tocsin.jobs SET due_at = created_at WHERE kind = 'expire-alert' RETURNING id")
    live.rows("SELECT pg_notify('tocsin_jobs', '')")
