"""Debian's Alertmanager, with receivers that notify a given server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clients.alerts.process import serving

PROGRAM = "prometheus-alertmanager"
REQUEST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """A running Alertmanager."""

    port: int

    def post(self, *alerts: Mapping[str, object]) -> None:
        """Send it alerts, as any client of its API does."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v2/alerts",
            data=json.dumps(alerts).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
            assert response.status == 200

    def alerts(self) -> list[dict[str, object]]:
        """Return the alerts as it holds them, with its own fingerprints."""
        url = f"http://127.0.0.1:{self.port}/api/v2/alerts"
        with urllib.request.urlopen(url, timeout=REQUEST_SECONDS) as response:
            held = json.load(response)
        assert isinstance(held, list)
        return held


def webhook(url: str, key: str) -> dict[str, object]:
    """Return the part of a receiver that notifies a webhook and names the project's key as a bearer token."""
    return {
        "webhook_configs": [{"url": url, "send_resolved": True, "http_config": {"authorization": {"credentials": key}}}]
    }


def pagerduty(url: str, routing_key: str) -> dict[str, object]:
    """Return the part of a receiver that speaks PagerDuty's Events v2."""
    return {"pagerduty_configs": [{"url": url, "routing_key": routing_key, "severity": "{{ .CommonLabels.severity }}"}]}


@contextmanager
def running_alertmanager(folder: Path, *receiver_parts: dict[str, object]) -> Iterator[Alertmanager]:
    """Run Alertmanager, impatient: a group is notified at once, and each change of it after a second."""
    receiver: dict[str, object] = {"name": "tocsin"}
    for part in receiver_parts:
        receiver.update(part)
    route = {
        "receiver": "tocsin",
        "group_by": ["alertname"],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "1h",
    }
    folder.mkdir()
    # JSON is YAML too.
    configuration = folder / "alertmanager.yml"
    configuration.write_text(json.dumps({"route": route, "receivers": [receiver]}))
    arguments = [f"--config.file={configuration}", f"--storage.path={folder}", "--cluster.listen-address="]
    with serving(PROGRAM, arguments, folder / "log") as port:
        yield Alertmanager(port)
