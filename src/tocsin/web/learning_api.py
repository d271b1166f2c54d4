"""What incidents teach together, over HTTP."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated

from msgspec import Meta

from tocsin.app import learning
from tocsin.app.learning import DEFAULT_WEEKS, MAX_WEEKS, Learned, RecurringRow, Response, Week
from tocsin.app.work import Work
from tocsin.domain.incident import RootCauseCategory, Status
from tocsin.web.documents import Body, Document, Erasable
from tocsin.web.endpoint import Call

Seconds = Annotated[float, Meta(description="Seconds.")]
About = Annotated[float, Meta(description="Seconds, exact to 2.5 %.")]


class LearningQuery(Body):
    weeks: Annotated[int, Meta(ge=1, le=MAX_WEEKS, description="How many weeks, the present one among them.")] = (
        DEFAULT_WEEKS
    )


class ResponseDocument(Document):
    """How long something took, of the incidents in which it was done within the period."""

    number: int
    mean_seconds: Seconds
    median_seconds: About
    p90_seconds: About


class NamedResponseDocument(ResponseDocument):
    name: Annotated[str, Meta(description="A severity, or a service (empty: none).")]


class WeekDocument(Document):
    week: Annotated[date, Meta(description="Its Monday (UTC).")]
    opened: int
    came_back: Annotated[int, Meta(description="Those of them whose failure had an incident before.")]
    acknowledged: ResponseDocument | None
    resolved: ResponseDocument | None
    causes: dict[RootCauseCategory, int]


class RecurringDocument(Document):
    times: Annotated[int, Meta(description="How often it came back, among the latest 10,000 recurrences.")]
    project_name: str
    title: Erasable
    number: Annotated[int, Meta(description="Its latest incident.")]
    status: Status
    created_at: datetime
    chain: Annotated[list[int], Meta(description="Its latest incidents, the oldest first.")]
    category: RootCauseCategory | None


class LearningAnswer(Document):
    since: Annotated[date, Meta(description="The Monday (UTC) from which on it is counted.")]
    counted_at: Annotated[datetime | None, Meta(description="As of when; null: not counted yet.")]
    acknowledged: ResponseDocument | None
    resolved: ResponseDocument | None
    acknowledged_by_severity: list[NamedResponseDocument]
    resolved_by_severity: list[NamedResponseDocument]
    acknowledged_by_service: list[NamedResponseDocument]
    resolved_by_service: list[NamedResponseDocument]
    weeks: list[WeekDocument]
    causes: dict[RootCauseCategory, int]
    recurring: list[RecurringDocument]


async def show(work: Work, call: Call) -> LearningAnswer:
    """Show how long it takes to answer and to mend, why it happens, and what comes back."""
    return answer(await learning.learned(work, call.actor, call.asked(LearningQuery).weeks, call.services.figures))


def answer(found: Learned) -> LearningAnswer:
    """Return the figures as answers show them."""
    return LearningAnswer(
        found.since,
        found.counted_at,
        _response(found.acknowledged),
        _response(found.resolved),
        [_named(one) for one in found.acknowledged_by_severity],
        [_named(one) for one in found.resolved_by_severity],
        [_named(one) for one in found.acknowledged_by_service],
        [_named(one) for one in found.resolved_by_service],
        [_week(week) for week in found.weeks],
        found.causes,
        [_recurring(one) for one in found.recurring],
    )


def _response(one: Response | None) -> ResponseDocument | None:
    return ResponseDocument(one.number, _seconds(one.mean), _seconds(one.median), _seconds(one.p90)) if one else None


def _named(one: Response) -> NamedResponseDocument:
    return NamedResponseDocument(one.number, _seconds(one.mean), _seconds(one.median), _seconds(one.p90), one.name)


def _seconds(duration: timedelta) -> float:
    return round(duration.total_seconds(), 1)


def _week(one: Week) -> WeekDocument:
    return WeekDocument(
        one.week, one.opened, one.came_back, _response(one.acknowledged), _response(one.resolved), one.causes
    )


def _recurring(one: RecurringRow) -> RecurringDocument:
    return RecurringDocument(
        one.times,
        one.project_name,
        one.title,
        one.number,
        Status(one.status),
        one.created_at,
        one.chain,
        RootCauseCategory(one.category) if one.category else None,
    )
