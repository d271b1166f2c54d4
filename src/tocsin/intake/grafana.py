"""What Grafana's alerting sends to a webhook contact point: Alertmanager's notification, and more.

Its alerts are Alertmanager's, with links to the rule, the panel, the dashboard and the silence, and with the values
that were measured: all of them are in the context. A resolved alert is a RESOLVE. An alert is another failure than a
Prometheus' alert with the same labels: two systems watch, and either may be silenced alone.

Source: https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/
webhook-notifier/ (Grafana 9 to 12).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec.structs import replace

from tocsin.domain.report import MAX_NAME_CHARACTERS, ErrorReport, bounded, cut
from tocsin.intake import Rejected, alertmanager
from tocsin.intake.decoding import parse_json
from tocsin.intake.reading import scalar_text

# `message` is the text of all alerts of the notification together; each has its own.
_ORIGIN = ("orgId", "title", "state")


def parse_webhook(
    body: bytes, *, received_at: datetime, new_event_id: Callable[[], str]
) -> list[ErrorReport | Rejected]:
    """Return what one notification of Grafana reports: each alert of its group, in their order.

    Args:
        body: decompressed; the default payload, without a template of one's own.
        received_at: stands in where Grafana does not say when (UTC).
        new_event_id: names the firing of an alert that does not say when it began.

    Raises:
        TocsinError: MALFORMED, or INVALID (no object with a list of alerts).
    """
    notification = parse_json(body)
    outcomes = alertmanager.read_webhook(notification, received_at=received_at, new_event_id=new_event_id)
    origin = _origin(notification if isinstance(notification, dict) else {})
    return [one if isinstance(one, Rejected) else _as_grafanas(one, origin, received_at) for one in outcomes]


def _origin(notification: Mapping[str, object]) -> dict[str, str]:
    """Return what the notification says of all its alerts. Short: it is repeated in every report."""
    texts = {name: scalar_text(notification.get(name)) for name in _ORIGIN}
    return {name: cut(text, MAX_NAME_CHARACTERS) for name, text in texts.items() if text}


def _as_grafanas(report: ErrorReport, origin: Mapping[str, str], received_at: datetime) -> ErrorReport:
    context = dict(report.context)
    sender = context.pop("alertmanager", None)
    grafana = {**origin, **(sender if isinstance(sender, dict) else {})}
    marked = replace(
        report,
        # Under the same id Prometheus' own word of this firing would make it a copy.
        event_id=f"g-{report.event_id}",
        fingerprint=("grafana", *report.fingerprint[1:]),
        service=report.service or report.tags.get("grafana_folder", ""),
        context={"grafana": grafana, **context} if grafana else context,
    )
    return bounded(marked, received_at=received_at)
