"""What Alertmanager and Prometheus send: the webhook (version 4), and the bare array of `/api/v2/alerts`.

Nothing that such a sender sends is refused for a detail: Alertmanager gives up on what is refused. A part of an alert
that is not what it should be is left out and named in the context as `unreadable`; the alert is taken.

An alert is one failure whichever way it comes: its fingerprint is Alertmanager's own, computed here where the sender
(Prometheus) leaves it to Alertmanager. One firing is one event, however often it is repeated; the word that it is over
is another, and a RESOLVE.

Source of the formats: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config, …/alerts_api/, and
what the programs named in the tests really send.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

from tocsin.domain.incident import Severity
from tocsin.domain.plural import number_of
from tocsin.domain.report import MAX_INTEGER, MAX_NAME_CHARACTERS, ErrorReport, Signal, bounded, cut
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake import Rejected
from tocsin.intake.decoding import parse_json
from tocsin.intake.reading import SEVERITIES, Reader

MAX_ALERTS = 1_000
"""Alerts of one request that are taken. Those beyond are counted, in a `Rejected` and in the first report: to refuse
the whole request would be silence in the worst hour."""

ALERT_SEVERITIES: dict[str, Severity] = {
    **SEVERITIES,
    "emergency": Severity.CRITICAL,
    "page": Severity.HIGH,
    "ticket": Severity.MEDIUM,
    "none": Severity.LOW,
}
"""What the label `severity` says, in lower case. An alert without it, or with a word that nobody knows, is HIGH:
somebody wrote a rule for it, and too loud is mended sooner than too quiet."""

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_FNV_MASK = 0xFFFFFFFFFFFFFFFF
_FINGERPRINT = re.compile("[0-9a-f]{16}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SUMMARIES = ("summary", "description", "message")
# Labels and annotations stand elsewhere in the report; endsAt of a firing alert is no fact about it.
_READ = frozenset({"labels", "annotations", "status", "startsAt", "endsAt", "fingerprint"})


@dataclass(frozen=True, slots=True)
class _Span:
    """When an alert began and when it is over (UTC). `resolved` says that it is; else `ends_at` is its expiry.

    `firing` tells this firing of the alert from every other one.
    """

    starts_at: datetime
    ends_at: datetime | None
    resolved: bool
    firing: str


@dataclass(frozen=True, slots=True)
class _Receipt:
    """How a request came in: when (UTC), what names a firing that does not say when it began, and from whom."""

    received_at: datetime
    new_event_id: Callable[[], str]
    origin: Mapping[str, object]


def parse_webhook(
    body: bytes, *, received_at: datetime, new_event_id: Callable[[], str]
) -> list[ErrorReport | Rejected]:
    """Return what one notification of Alertmanager reports: each alert of its group, in their order.

    What a sender calls the version is not looked at: others (Grafana) send the same shape under another number.
    `groupLabels`, `commonLabels` and `commonAnnotations` are not kept, for every alert has them among its own.

    Args:
        body: decompressed.
        received_at: stands in where the sender does not say when (UTC).
        new_event_id: names the firing of an alert that does not say when it began.

    Raises:
        TocsinError: MALFORMED, or INVALID (no object with a list of alerts).
    """
    return read_webhook(parse_json(body), received_at=received_at, new_event_id=new_event_id)


def read_webhook(
    notification: object, *, received_at: datetime, new_event_id: Callable[[], str]
) -> list[ErrorReport | Rejected]:
    """Return what a notification reports that was decoded. As `parse_webhook`."""
    alerts = notification.get("alerts") if isinstance(notification, dict) else None
    if not isinstance(notification, dict) or not isinstance(alerts, list):
        raise refuse(
            Code.INVALID,
            "The body is no notification of Alertmanager: it has no list of alerts.",
            "Point a receiver of webhook_configs here, without a payload template of its own.",
        )
    receipt = _Receipt(received_at, new_event_id, _origin(notification))
    return _outcomes(alerts, receipt, _truncated(notification))


def parse_alerts(
    body: bytes, *, received_at: datetime, new_event_id: Callable[[], str]
) -> list[ErrorReport | Rejected]:
    """Return what a sender of `POST /api/v2/alerts` reports: each alert of the array, in their order.

    An alert is over when its `endsAt` has passed. One that fires names an `endsAt` ahead and repeats itself before then
    (Prometheus: four minutes): that is its `expires_at`.

    Raises:
        TocsinError: MALFORMED, or INVALID (no array).
    """
    alerts = parse_json(body)
    if not isinstance(alerts, list):
        raise refuse(Code.INVALID, "The body is not an array of alerts.", 'Send [{"labels": {"alertname": "…"}}].')
    return _outcomes(alerts, _Receipt(received_at, new_event_id, {}), 0)


def label_fingerprint(labels: Mapping[str, str]) -> str:
    """Return the fingerprint that Alertmanager gives a set of labels: FNV-1a of 64 bits, 16 hex digits.

    Source: LabelSet.Fingerprint of https://github.com/prometheus/common (model/signature.go): over the names in
    order, each followed by its value, with a byte 0xff after either.
    """
    # The order of code points is that of the bytes of UTF-8.
    value, hashed = _FNV_OFFSET, _joined([*chain.from_iterable(sorted(labels.items()))])
    odd = len(hashed) % 4
    for byte in hashed[:odd]:
        value = (value ^ byte) * _FNV_PRIME
    # Four at a time: no byte reads more than the lowest eight bits, so the others may be cut off later.
    fours = iter(hashed[odd:])
    for one, two, three, four in zip(fours, fours, fours, fours, strict=True):
        value = ((((value ^ one) * _FNV_PRIME ^ two) * _FNV_PRIME ^ three) * _FNV_PRIME ^ four) * _FNV_PRIME & _FNV_MASK
    return f"{value & _FNV_MASK:016x}"


def _joined(texts: Sequence[str]) -> bytes:
    """Return texts in UTF-8, with a byte 0xff after each."""
    if "".join(texts).isascii():  # Most are, and to encode them all at once takes half the time.
        return "\xff".join([*texts, ""]).encode("latin-1")
    return b"\xff".join([*[text.encode("utf-8", "surrogatepass") for text in texts], b""])


def _origin(notification: Mapping[str, object]) -> dict[str, object]:
    """Return what a person needs to find the notification again. Short: it is repeated in every report."""
    reader = Reader()
    texts = {key: reader.text(notification, key) for key in ("receiver", "groupKey", "externalURL")}
    return {"alertmanager": {key: cut(text, MAX_NAME_CHARACTERS) for key, text in texts.items() if text}}


def _truncated(notification: Mapping[str, object]) -> int:
    """Return how many alerts Alertmanager itself left out (`max_alerts`)."""
    number = notification.get("truncatedAlerts")
    return number if isinstance(number, int) and 0 < number <= MAX_INTEGER else 0


def _outcomes(alerts: Sequence[object], receipt: _Receipt, truncated: int) -> list[ErrorReport | Rejected]:
    outcomes: list[ErrorReport | Rejected] = []
    beyond = max(0, len(alerts) - MAX_ALERTS)
    # Counted once, in the first alert that can be read.
    left_out = {"alerts": truncated + beyond} if truncated + beyond else {}
    for index, alert in enumerate(alerts[:MAX_ALERTS]):
        try:
            outcomes.append(_report(alert, receipt, left_out))
            left_out = {}
        except TocsinError as error:
            outcomes.append(Rejected(index, error.refusal.message))
    if beyond:
        reason = f"{number_of(beyond, 'alert')} beyond {MAX_ALERTS:,} in one request: group_by more labels."
        outcomes.append(Rejected(MAX_ALERTS, reason, beyond))
    return outcomes


def _report(alert: object, receipt: _Receipt, left_out: Mapping[str, int]) -> ErrorReport:
    if not isinstance(alert, dict):
        raise refuse(Code.INVALID, "An alert must be a JSON object.", 'Send {"labels": {"alertname": "…"}}.')
    reader = Reader()
    labels = _texts(reader, alert, "labels")
    if not labels:
        raise refuse(Code.INVALID, "An alert must have labels.", 'Send {"labels": {"alertname": "…"}}.')
    annotations = _texts(reader, alert, "annotations")
    span = _span(reader, alert, receipt)
    fingerprint = _fingerprint(alert, labels)
    name = labels.get("alertname", "")
    report = ErrorReport(
        event_id=_event_id(fingerprint, span),
        severity=ALERT_SEVERITIES.get(labels.get("severity", "").strip().lower(), Severity.HIGH),
        error_type=name,
        message=_message(annotations) or ("" if name.strip() else _as_written(labels)),
        occurred_at=span.ends_at or receipt.received_at if span.resolved else span.starts_at,
        fingerprint=("alertmanager", fingerprint),
        service=labels.get("service") or labels.get("job", ""),
        environment=labels.get("environment") or labels.get("env", ""),
        server_name=labels.get("instance", ""),
        tags=labels,
        context=_context(alert, span, receipt.origin, annotations, reader.problems),
        signal=Signal.RESOLVE if span.resolved else None,
        expires_at=None if span.resolved else span.ends_at,
    )
    return bounded(report, received_at=receipt.received_at, left_out=left_out)


def _texts(reader: Reader, alert: Mapping[str, object], key: str) -> dict[str, str]:
    """Return labels or annotations. An empty one counts as absent, as it does for Alertmanager."""
    source = reader.mapping(alert, key)
    return {
        name: text
        for name, value in source.items()
        if (text := value if isinstance(value, str) else reader.text(source, name, f"{key}."))
    }


def _span(reader: Reader, alert: Mapping[str, object], receipt: _Receipt) -> _Span:
    """Return the span of an alert: its `status` decides (the webhook), and without one its `endsAt` (Prometheus).

    An alert whose status says that it fires does not expire: nobody repeats it before its `endsAt`.
    """
    status = alert.get("status")
    starts_at, ends_at = _instant(reader, alert, "startsAt"), _instant(reader, alert, "endsAt")
    firing = status == "firing"
    resolved = not firing and (status == "resolved" or (ends_at is not None and ends_at <= receipt.received_at))
    # An end without a beginning began there: so Alertmanager reads it.
    began = starts_at or (ends_at if resolved else None)
    # In milliseconds, for that is all that Prometheus writes of it on either way.
    mark = str((began - _EPOCH) // _MILLISECOND) if began else receipt.new_event_id()
    return _Span(began or receipt.received_at, None if firing else ends_at, resolved, mark)


def _instant(reader: Reader, alert: Mapping[str, object], key: str) -> datetime | None:
    """Return an instant; Go writes one that is not set as the first of year 1."""
    instant = reader.instant(alert, key)
    return None if instant is None or instant.year == 1 else instant


def _fingerprint(alert: Mapping[str, object], labels: Mapping[str, str]) -> str:
    given = alert.get("fingerprint")
    return given if isinstance(given, str) and _FINGERPRINT.fullmatch(given) else label_fingerprint(labels)


def _event_id(fingerprint: str, span: _Span) -> str:
    """Return the id of one firing, or of its end."""
    firing = f"{fingerprint}-{span.firing}"
    return f"{firing}-resolved" if span.resolved else firing


def _message(annotations: Mapping[str, str]) -> str:
    return next((annotations[key] for key in _SUMMARIES if annotations.get(key, "").strip()), "")


def _as_written(labels: Mapping[str, str]) -> str:
    """Return the labels in Prometheus' notation: the name of an alert that has none."""
    return "{" + ", ".join([f'{name}="{value}"' for name, value in labels.items()]) + "}"


def _context(
    alert: Mapping[str, object],
    span: _Span,
    origin: Mapping[str, object],
    annotations: Mapping[str, str],
    problems: Sequence[Mapping[str, str]],
) -> dict[str, object]:
    """Return what helps a person, fields that nobody knows included: Grafana's lead to its panels."""
    context: dict[str, object] = {
        "startsAt": span.starts_at.isoformat(),
        "endsAt": span.ends_at.isoformat() if span.ends_at and span.resolved else None,
        "unreadable": list(problems),
        **origin,
        "annotations": annotations,
        **{key: value for key, value in alert.items() if key not in _READ},
    }
    return {key: value for key, value in context.items() if value not in (None, "", {}, [])}
