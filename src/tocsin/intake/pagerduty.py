"""What senders of PagerDuty's Events API v2 send to `/v2/enqueue`: trigger, acknowledge and resolve.

What PagerDuty requires is required here too, and refused in its form: a sender that was set up against one works with
the other. The severity alone is not worth an alert: Alertmanager fills it from a template, sends "" where the alerts of
a group have none in common, and gives up on the answer 400 that PagerDuty has for it. Such a trigger is HIGH, and its
context says so under `unreadable`. Everything else that is not what it should be is left out; the event is taken.

Every trigger is an occurrence of the failure that its `dedup_key` names: PagerDuty knows no id of the single event.

Source of the formats: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/, and what the clients named
in the tests really send.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tocsin.domain.incident import Severity
from tocsin.domain.report import MAX_FINGERPRINT_PART_CHARACTERS, ErrorReport, Signal, bounded, cut
from tocsin.errors import Code, Refusal, TocsinError, refuse
from tocsin.intake.decoding import parse_json
from tocsin.intake.reading import SEVERITIES, Reader, instant_of, scalar_text

MAX_DEDUP_KEY_CHARACTERS = 255
"""PagerDuty's own limit (characters)."""

_ACTIONS: dict[str, Signal | None] = {
    "trigger": None,
    "acknowledge": Signal.ACKNOWLEDGE,
    "resolve": Signal.RESOLVE,
}
_SEVERITIES = {name: SEVERITIES[name] for name in ("critical", "error", "warning", "info")}
_SEVERITY_PROBLEM = f"must be one of {', '.join(_SEVERITIES)}: taken as {Severity.HIGH}"
_ROUTING_KEY = re.compile("[0-9A-Za-z_-]{32}")
# Braces too: the client's fingerprint knows a part in them that stands for the default.
_PLAIN_KEY = re.compile(rf"[^{{}}]{{1,{MAX_FINGERPRINT_PART_CHARACTERS}}}", re.DOTALL)
_TAGS = ("source", "component", "group", "class")
# The routing key opens the project's door: it never goes into what is kept.
_READ = frozenset({"routing_key", "event_action", "dedup_key", "payload"})


@dataclass(frozen=True, slots=True)
class Enqueued:
    """One event: the key of its project, the key to answer with, and what it reports."""

    routing_key: str
    dedup_key: str
    report: ErrorReport


def parse_enqueue(body: bytes, *, received_at: datetime, new_event_id: Callable[[], str]) -> Enqueued:
    """Return the event of a request.

    Args:
        body: decompressed.
        received_at: stands in where the sender does not say when (UTC).
        new_event_id: makes the id of the report, and the dedup_key of a trigger that has none.

    Raises:
        TocsinError: MALFORMED, or INVALID; `invalid` makes the answer of either.
    """
    event = parse_json(body)
    if not isinstance(event, dict):
        raise _invalid([{"field": "", "problem": "must be an object"}])
    action = _text(event, "event_action").strip().lower()
    if problems := _problems(event, action):
        raise _invalid(problems)
    dedup_key = cut(_text(event, "dedup_key"), MAX_DEDUP_KEY_CHARACTERS)
    if not dedup_key.strip():
        dedup_key = new_event_id()
    report = _report(event, _ACTIONS[action], dedup_key, received_at, new_event_id())
    return Enqueued(_text(event, "routing_key"), dedup_key, bounded(report, received_at=received_at))


def routing_key_of(body: bytes) -> str:
    """Return the key that a refused request names, as far as it can be read; "" otherwise."""
    try:
        event = parse_json(body)
    except TocsinError:
        return ""
    key = _text(event, "routing_key") if isinstance(event, dict) else ""
    return key if _ROUTING_KEY.fullmatch(key) else ""


def accepted(dedup_key: str) -> dict[str, object]:
    """Return the body of the answer 202 to an event that was stored."""
    return {"status": "success", "message": "Event processed", "dedup_key": dedup_key}


def invalid(refusal: Refusal) -> dict[str, object]:
    """Return the body of the answer 400 to an event that was refused."""
    problems = refusal.details.get("errors")
    named = [_named(problem) for problem in problems if isinstance(problem, dict)] if isinstance(problems, list) else []
    return {"status": "invalid event", "message": "Event object is invalid", "errors": named or [refusal.message]}


def _named(problem: Mapping[str, str]) -> str:
    return f"'{problem['field']}' {problem['problem']}" if problem["field"] else f"The event {problem['problem']}"


def _invalid(problems: list[dict[str, str]]) -> TocsinError:
    return refuse(
        Code.INVALID,
        f"Event object is invalid: {'; '.join(_named(problem) for problem in problems)}.",
        "Correct the event and send it again.",
        errors=problems,
    )


def _problems(event: Mapping[str, object], action: str) -> list[dict[str, str]]:
    """Return what is wrong with the parts that PagerDuty requires of an action."""
    reader = Reader()
    if not _ROUTING_KEY.fullmatch(reader.text(event, "routing_key")):
        reader.problem("routing_key", "is of incorrect length (should be 32 characters)")
    if action not in _ACTIONS:
        reader.problem("event_action", "is invalid (must be one of the following: 'trigger', 'acknowledge', 'resolve')")
    dedup_key = reader.text(event, "dedup_key")
    if len(dedup_key) > MAX_DEDUP_KEY_CHARACTERS:
        reader.problem("dedup_key", f"is too long (should be at most {MAX_DEDUP_KEY_CHARACTERS} characters)")
    if action != "trigger":
        if not dedup_key.strip():
            reader.problem("dedup_key", "is missing or blank")
        return reader.problems
    payload = reader.mapping(event, "payload")
    for key in ("summary", "source"):
        if not reader.text(payload, key, "payload.").strip():
            reader.problem(f"payload.{key}", "is missing or blank")
    return reader.problems


def _report(
    event: Mapping[str, object], signal: Signal | None, dedup_key: str, received_at: datetime, event_id: str
) -> ErrorReport:
    payload = Reader().mapping(event, "payload")
    tags = {key: text for key in _TAGS if (text := _text(payload, key).strip())}
    severity = _SEVERITIES.get(_text(payload, "severity").strip().lower())
    context = _context(event, payload, dedup_key)
    if severity is None and signal is None:
        context = {"unreadable": [{"field": "payload.severity", "problem": _SEVERITY_PROBLEM}], **context}
    return ErrorReport(
        event_id=event_id,
        # Another system's word about a failure says nothing of how bad that is.
        severity=severity or (Severity.LOW if signal else Severity.HIGH),
        error_type=tags.get("class", ""),
        message=_text(payload, "summary").strip() or dedup_key,
        occurred_at=instant_of(payload.get("timestamp")) or received_at,
        fingerprint=("pagerduty", _mark(dedup_key)),
        service=tags.get("component") or tags.get("group", ""),
        server_name=tags.get("source", ""),
        tags=tags,
        context=context,
        signal=signal,
    )


def _mark(dedup_key: str) -> str:
    """Return the part of the fingerprint. A key that it would cut or reinterpret stands there by its digest."""
    if _PLAIN_KEY.fullmatch(dedup_key):
        return dedup_key
    return hashlib.sha256(dedup_key.encode("utf-8", "surrogatepass")).hexdigest()


def _context(event: Mapping[str, object], payload: Mapping[str, object], dedup_key: str) -> dict[str, object]:
    """Return what helps a person: client, client_url, links and images, and the sender's own details."""
    context = {
        "dedup_key": dedup_key,
        **{key: value for key, value in event.items() if key not in _READ},
        "custom_details": payload.get("custom_details"),
    }
    return {key: value for key, value in context.items() if value not in (None, "", {}, [])}


def _text(source: Mapping[str, object], key: str) -> str:
    """Return an optional text, or "". Those that are required were looked at before."""
    return scalar_text(source.get(key)) or ""
