"""What Python programs send with clients of others: sentry-sdk, `pagerduty`, OpenTelemetry's exporters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.conftest import PATIENCE_SECONDS, Live, bare_environment
from tests.clients.tls import https_to
from tests.clients.wire import wire_to

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("python-clients")]

PROGRAMS = Path(__file__).parent / "python"
OTLP_SHOP = Path(__file__).parent / "otlp" / "failing_shop.py"

RunPython = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    """Run a program to its end, with arguments and variables; return how it ended."""

    def run(program: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(program), *arguments],
            env=bare_environment(tmp_path) | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    return run


def test_sentry_sdk_reports_errors_and_the_check_ins_of_its_monitors(live: Live, run_python: RunPython) -> None:
    with wire_to(live.port) as wire:
        ended = run_python(PROGRAMS / "failing_shop.py", live.dsn(wire.port))
    assert "RuntimeError: the shop burned down" in ended.stderr
    assert any("content-encoding: br" in head for head in wire.request_heads()), "brotli is installed, so it is used"
    by_title = live.by_title()
    assert by_title["RuntimeError: the shop burned down"]["error"]["exceptions"][-1]["handled"] is False
    logged = by_title["card of customer 4711 was refused by the bank"]["error"]
    assert (logged["template"], logged["logger"]) == ("card of customer %s was refused by %s", "shop.pay")
    assert by_title["OSError: the tape is full"]["error"]["serverName"] == "web-1"
    heartbeats = {one["slug"]: one for one in live.heartbeats()}
    assert set(heartbeats) == {"nightly-backup", "stocktaking"}
    assert heartbeats["nightly-backup"]["failingSince"]
    assert heartbeats["stocktaking"]["failingSince"] is None
    assert heartbeats["stocktaking"]["schedule"].startswith("0 3 * * *")
    assert any(title.startswith("HeartbeatFailed") for title in by_title)


def test_pagerdutys_client_is_answered_as_by_pagerduty(live: Live, run_python: RunPython, tmp_path: Path) -> None:
    with https_to(live.port, tmp_path) as https:
        certificate = {"SSL_CERT_FILE": str(https.certificate)}
        ended = run_python(PROGRAMS / "pagerduty_events.py", https.url, live.key, **certificate)
    assert ended.returncode == 0, ended.stderr
    dedup_key, refused = ended.stdout.splitlines()
    assert len(dedup_key) == 32, "it was made here, and the client works with it"
    assert refused.startswith("(400, ")
    assert "payload.source" in refused
    detail = live.by_title()["The disk is full"]
    assert (detail["incident"]["severity"], detail["incident"]["status"]) == ("CRITICAL", "REPORTED")
    assert detail["error"]["context"]["custom_details"] == {"free": "0 bytes"}
    assert live.entries("The disk is full") == ["REPORTED", "SIGNAL_RECEIVED", "SIGNAL_RECEIVED"]


def test_opentelemetrys_exporters_report_logs_and_the_exceptions_of_spans(live: Live, run_python: RunPython) -> None:
    key = {"OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{live.key}"}
    ended = run_python(OTLP_SHOP, live.url, "gzip", **key)
    assert (ended.returncode, ended.stdout) == (0, "over\n"), ended.stderr
    by_title = live.by_title()
    assert by_title["the till is nearly empty"]["incident"]["severity"] == "MEDIUM"
    fire = by_title["the shop burns at 817 degrees"]["incident"]
    assert (fire["severity"], fire["occurrences"]) == ("CRITICAL", 2)
    payment = by_title["ValueError: cannot pay order 17"]
    assert payment["incident"]["occurrences"] == 2, "the log and the span tell of one failure"
    assert [one["type"] for one in payment["error"]["exceptions"]] == ["LookupError", "ValueError"]
    assert (payment["error"]["service"], payment["error"]["environment"]) == ("shop", "production")


def test_opentelemetrys_exporters_say_when_they_are_not_let_in(live: Live, run_python: RunPython) -> None:
    ended = run_python(OTLP_SHOP, live.url, "none", OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20wrong")
    assert ended.returncode == 0
    assert "401" in ended.stderr
