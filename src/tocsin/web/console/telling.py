"""Turns what was recorded into what a person reads: stacks with the own frames first, the timeline, a chart of bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from tocsin.app.look_into import MAX_IN_PERIOD, Frequency
from tocsin.app.read_incidents import EntryRow
from tocsin.domain.report import cut
from tocsin.domain.timeline import EntryKind

MAX_CONTEXT_CHARACTERS = 6_000
"""Of each part of a report's context; the whole stands in the API."""
CHART_WIDTH, CHART_HEIGHT = 480, 56
_FACTS = ("service", "environment", "release", "platform", "serverName", "logger", "culprit", "userId")
_REQUEST = ("method", "url", "query_string", "headers", "cookies", "data", "env")


# --- what failed


@dataclass(frozen=True, slots=True)
class Run:
    """Frames beside each other that are all the program's own, or all of libraries; the innermost first."""

    ours: bool
    frames: Sequence[Mapping[str, Any]]
    shown: bool
    """Whether it is unfolded to begin with."""


@dataclass(frozen=True, slots=True)
class Raised:
    """One exception of a chain, as it is shown."""

    type: str
    message: str
    handled: bool | None
    runs: Sequence[Run]


@dataclass(frozen=True, slots=True)
class Failure:
    """What a report says."""

    message: str
    trace_id: str
    facts: Mapping[str, str]
    tags: Mapping[str, str]
    exceptions: Sequence[Raised]
    request: Mapping[str, str]
    context: Mapping[str, str]
    left_out: Mapping[str, Any]


def failure_of(document: bytes) -> Failure:
    """Return what a report says. Of its exceptions the last one is what the program saw: it comes first here."""
    said: dict[str, Any] = msgspec.json.decode(document)
    context: dict[str, Any] = said.get("context") or {}
    request = context.get("request")
    notes = context.get("tocsin")
    parts = request if isinstance(request, dict) else {}
    return Failure(
        message=said.get("message") or "",
        trace_id=said.get("traceId") or "",
        facts={name: said[name] for name in _FACTS if said.get(name)},
        tags=said.get("tags") or {},
        exceptions=[_exception(one) for one in reversed(said.get("exceptions") or [])],
        request={name: _in_words(parts[name]) for name in _REQUEST if parts.get(name)},
        context={name: _in_words(part) for name, part in context.items() if name not in ("request", "tocsin")},
        left_out=(notes.get("leftOut") or {}) if isinstance(notes, dict) else {},
    )


def _exception(said: Mapping[str, Any]) -> Raised:
    frames = list(reversed(said.get("frames") or []))
    has_own = any(frame.get("inApp") for frame in frames)
    runs = [
        Run(ours, list(group), shown=ours or not (has_own or place))
        for place, (ours, group) in enumerate(groupby(frames, key=lambda frame: bool(frame.get("inApp"))))
    ]
    return Raised(said.get("type") or "", said.get("message") or "", said.get("handled"), runs)


def _in_words(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return cut(text, MAX_CONTEXT_CHARACTERS)


# --- the timeline


@dataclass(frozen=True, slots=True)
class Told:
    """One entry of a timeline: what happened, in a few words, and the texts that were written with it."""

    what: str
    texts: Sequence[str]
    tone: str


_WHAT = {
    EntryKind.REPORTED: "Opened",
    EntryKind.ACKNOWLEDGED: "Took it",
    EntryKind.INVESTIGATION_STARTED: "Began to look for the cause",
    EntryKind.ROOT_CAUSE_RECORDED: "Recorded the root cause",
    EntryKind.RESOLVED: "Resolved it",
    EntryKind.CLOSED: "Closed it",
    EntryKind.ESCALATED: "Made it louder",
    EntryKind.ESCALATION_ACKNOWLEDGED: "Said that the escalation arrived",
    EntryKind.SEVERITY_CHANGED: "Changed the severity",
    EntryKind.NOTE_ADDED: "Added a note",
    EntryKind.SESSIONS_BLOCKED: "Blocked the sessions of everybody who cannot acknowledge",
    EntryKind.SIGNAL_RECEIVED: "Another system spoke of it",
    EntryKind.PERSONAL_DATA_ERASED: "Erased personal data",
    EntryKind.ACKNOWLEDGMENT_LAPSED: "The acknowledgment does not count any more: nothing was heard since",
    EntryKind.PAGES_HELD: "Pages are held back",
}
_LOUD = frozenset({EntryKind.ESCALATED, EntryKind.ACKNOWLEDGMENT_LAPSED, EntryKind.SESSIONS_BLOCKED})
_DONE = frozenset({EntryKind.RESOLVED, EntryKind.CLOSED})
_REASONS = {
    "NO_ACK_1HR": "nobody acknowledged in time",
    "NO_ACK_4HR": "still nobody acknowledged",
    "NO_ROOT_CAUSE_24HR": "no root cause was recorded in time",
    "POLICY_STEP": "still nobody acknowledged",
    "MANUAL_ESCALATION": "somebody asked for help",
    "SEVERITY_ESCALATED": "it got worse",
}
_SIGNALS = {"acknowledge": "it says that somebody has it there", "resolve": "it says that it is over"}
_TEXTS = ("notes", "text", "reason")


def told(entry: EntryRow) -> Told:
    """Return an entry in words."""
    kind, said = EntryKind(entry.event_type), entry.metadata
    more = _more(kind, said)
    texts = [str(said[name]) for name in _TEXTS if said.get(name) and str(said[name]) not in _REASONS]
    tone = "loud" if kind in _LOUD else "done" if kind in _DONE else ""
    return Told(_WHAT[kind] + (f": {more}" if more else ""), texts, tone)


def _more(kind: EntryKind, said: Mapping[str, Any]) -> str:
    facts = _MORE.get(kind)
    return facts(said) if facts else ""


def _louder(said: Mapping[str, Any]) -> str:
    reason = _REASONS.get(str(said.get("reason")), str(said.get("reason") or ""))
    step = str(said.get("step") or "").partition("/")[0].partition(".")
    place = f", step {int(step[2]) + 1} of round {int(step[0]) + 1}" if step[0].isdecimal() else ""
    policy = f" (policy {said['policy']}{place})" if said.get("policy") else ""
    return f"{reason}{policy}, to {said.get('to') or 'nobody who could be reached'}"


def _erased(item: Mapping[str, Any]) -> str:
    if item.get("table") == "audit_logs":
        return "reports"
    return ", ".join(str(name).replace("_", " ") for name in item.get("columns") or [])


def _clock(text: object) -> str:
    try:
        return datetime.fromisoformat(str(text)).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return "its end"


def _held(said: Mapping[str, Any]) -> str:
    by = "a maintenance window" if said.get("kind") == "MAINTENANCE" else "a silence"
    return f"{by} until {_clock(said.get('until'))}"


_MORE: dict[EntryKind, Callable[[Mapping[str, Any]], str]] = {
    EntryKind.REPORTED: lambda said: f"service {said['service']}" if said.get("service") else "",
    EntryKind.ROOT_CAUSE_RECORDED: lambda said: str(said.get("category") or "").replace("_", " ").lower(),
    EntryKind.SEVERITY_CHANGED: lambda said: f"{said.get('from')} → {said.get('to')}",
    EntryKind.SIGNAL_RECEIVED: lambda said: _SIGNALS.get(str(said.get("signal")), ""),
    EntryKind.ESCALATED: _louder,
    EntryKind.PAGES_HELD: _held,
    EntryKind.ACKNOWLEDGMENT_LAPSED: lambda said: f"policy {said['policy']}" if said.get("policy") else "",
    EntryKind.PERSONAL_DATA_ERASED: lambda said: ", ".join(
        dict.fromkeys(_erased(item) for item in said.get("erased") or [])
    ),
}
"""What the facts of an entry add to its few words."""


# --- how often


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart, in the chart's own units, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    since: datetime
    reports: int
    cut_off: bool


def bars_of(often: Frequency) -> list[Bar]:
    """Return the bars of a chart, the highest as high as the chart; a period with reports has one to be seen."""
    highest = max(*often.reports, 1)
    width = CHART_WIDTH / len(often.reports)
    bars = []
    for place, reports in enumerate(often.reports):
        height = max(round(CHART_HEIGHT * reports / highest, 1), 2) if reports else 0
        since = often.since + place * often.width
        bars.append(
            Bar(
                round(place * width, 1),
                CHART_HEIGHT - height,
                round(max(width - 1, 1), 1),
                height,
                since,
                reports,
                reports >= MAX_IN_PERIOD,
            )
        )
    return bars
