"""What anybody can send with curl, as its pages say: Tocsin's own JSON, any JSON, CloudEvents, Grafana's alerts."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import PATIENCE_SECONDS, Live, bare_environment
from tests.intake.test_grafana import ALERT, NOTIFICATION

CURL = shutil.which("curl")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("curl"),
    pytest.mark.skipif(CURL is None, reason="needs Debian's package curl"),
]


def _curl(live: Live, path: str, document: object, folder: Path, *options: str) -> Any:
    """Send JSON with curl, which fails on any answer but a 2xx; return what was answered."""
    assert CURL is not None
    key = f"Authorization: Bearer {live.key}"
    command = [CURL, "--silent", "--show-error", "--fail-with-body", live.url + path, "-H", key, *options]
    command += ["-H", "Content-Type: application/json"] if not any("Content-Type" in one for one in options) else []
    ended = subprocess.run(
        [*command, "-d", json.dumps(document)],
        env=bare_environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return json.loads(ended.stdout) if ended.stdout else None


def test_tocsins_own_json_is_taken_and_a_retry_counts_once(live: Live, tmp_path: Path) -> None:
    report = {"eventId": "backup-2026-01-31", "severity": "HIGH", "type": "BackupFailed", "message": "exit code 3"}
    outcomes = [_curl(live, "/api/v1/errors", report, tmp_path)["accepted"][0]["outcome"] for _ in range(2)]
    assert outcomes == ["opened", "duplicate"]
    assert live.by_title()["BackupFailed: exit code 3"]["incident"]["severity"] == "HIGH"


def test_json_of_any_shape_is_guessed_at(live: Live, tmp_path: Path) -> None:
    document = {"level": "fatal", "error": {"type": "TapeFull", "message": "no tape left"}, "host": "backup-1"}
    assert _curl(live, "/api/v1/generic", document, tmp_path)["accepted"] == 1
    detail = live.by_title()["TapeFull: no tape left"]
    assert (detail["incident"]["severity"], detail["error"]["serverName"]) == ("CRITICAL", "backup-1")


def test_a_cloudevent_is_taken_structured_and_binary_and_is_once(live: Live, tmp_path: Path) -> None:
    event = {"specversion": "1.0", "id": "42", "source": "/backup", "type": "org.example.backup.failed"}
    data = {"severity": "error", "message": "no space left on /var"}
    structured = "Content-Type: application/cloudevents+json"
    assert _curl(live, "/api/v1/cloudevents", event | {"data": data}, tmp_path, "-H", structured) is None
    attributes = [part for name, value in event.items() for part in ("-H", f"ce-{name}: {value}")]
    assert _curl(live, "/api/v1/cloudevents", data, tmp_path, *attributes) is None
    detail = live.by_title()["org.example.backup.failed: no space left on /var"]
    assert (detail["incident"]["occurrences"], detail["error"]["service"]) == (1, "/backup")


def test_grafanas_notification_is_taken_and_its_end_is_noted(live: Live, tmp_path: Path) -> None:
    assert _curl(live, "/api/v1/grafana", NOTIFICATION, tmp_path) == {"accepted": 1, "rejected": []}
    over = ALERT | {"status": "resolved", "endsAt": "2026-12-01T11:40:00Z"}
    assert _curl(live, "/api/v1/grafana", NOTIFICATION | {"alerts": [over]}, tmp_path)["accepted"] == 1
    title = "High memory usage: The system has high memory usage"
    assert live.by_title()[title]["error"]["context"]["values"] == ALERT["values"]
    assert live.entries(title) == ["REPORTED", "SIGNAL_RECEIVED"]
