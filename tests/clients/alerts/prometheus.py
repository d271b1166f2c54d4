"""Debian's Prometheus, with rules that fire, and the servers that it tells of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.alerts.process import serving

PROGRAM = "prometheus"
RESEND_DELAY = "1m"
"""Prometheus' own default."""


@dataclass(frozen=True, slots=True)
class AlertTarget:
    """A server that takes `POST PREFIX/api/v2/alerts`; a key goes out as a bearer token."""

    port: int
    path_prefix: str = "/"
    key: str = ""

    def configuration(self) -> dict[str, object]:
        """Return the target as an entry of Prometheus' `alerting.alertmanagers`."""
        place: dict[str, object] = {
            "api_version": "v2",
            "path_prefix": self.path_prefix,
            "static_configs": [{"targets": [f"127.0.0.1:{self.port}"]}],
        }
        return {**place, "authorization": {"credentials": self.key}} if self.key else place


@dataclass(frozen=True, slots=True)
class Rule:
    """An alerting rule."""

    name: str
    expression: str
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)

    def configuration(self) -> dict[str, object]:
        """Return the rule as an entry of a rule file."""
        return {"alert": self.name, "expr": self.expression, "labels": self.labels, "annotations": self.annotations}


@contextmanager
def running_prometheus(
    folder: Path, rules: Sequence[Rule], *targets: AlertTarget, resend_delay: str = RESEND_DELAY
) -> Iterator[int]:
    """Run Prometheus, which scrapes nothing and evaluates the rules every second; its port is given.

    What fires is repeated after `resend_delay`, and says that it is over after four times that.
    """
    folder.mkdir()
    rule_file = folder / "rules.yml"
    rule_file.write_text(json.dumps({"groups": [{"name": "test", "rules": [rule.configuration() for rule in rules]}]}))
    configuration = folder / "prometheus.yml"
    configuration.write_text(
        json.dumps(
            {
                "global": {"evaluation_interval": "1s"},
                "rule_files": [str(rule_file)],
                "alerting": {"alertmanagers": [target.configuration() for target in targets]},
            }
        )
    )
    arguments = [
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--rules.alert.resend-delay={resend_delay}",
    ]
    with serving(PROGRAM, arguments, folder / "log") as port:
        yield port
