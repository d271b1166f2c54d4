"""Foresight over HTTP: an incident played on a virtual clock, and when in the days to come a step reaches nobody."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from tocsin.app import coverage
from tocsin.app.simulate import Question, simulate
from tocsin.app.work import Work
from tocsin.domain.coverage import DEFAULT_DAYS, MAX_DAYS, Reached
from tocsin.domain.incident import Severity
from tocsin.domain.policy import StepReason
from tocsin.domain.simulation import MAX_PLAYED, MAX_TIME
from tocsin.web.documents import Body, Document, Email, Instant, StepStoryDocument, shown, step_story
from tocsin.web.endpoint import Call
from tocsin.web.policies_api import ServiceName
from tocsin.web.reading import believable

_LONGEST = int(MAX_TIME.total_seconds()) - 1
Delay = Annotated[int, Meta(ge=0, le=_LONGEST, description="Seconds after the incident opened; null: it is not done.")]


class SimulationBody(Body):
    """An incident to imagine. Nothing is written, nobody is paged."""

    incident_at: Instant
    severity: Severity
    policy_id: Annotated[UUID, Meta(description="Play this policy; null: the one that the routes lead to.")] | None = (
        None
    )
    service: ServiceName | None = None
    project_id: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    ack_after_seconds: Delay | None = None
    root_cause_after_seconds: Delay | None = None
    close_after_seconds: Delay | None = None
    ack_by: Annotated[Email, Meta(description="Who does all of this; null: the first who is paged.")] | None = None
    days: Annotated[int, Meta(ge=1, le=MAX_TIME.days, description="How far to look.")] = 3


class ForeseenAnswer(Document):
    policy: str
    incident_at: datetime
    severity: Severity
    service: str | None
    until: datetime
    steps: list[StepStoryDocument]
    cut_off: Annotated[bool, Meta(description=f"More than {MAX_PLAYED:,} steps are not played.")]


class ForecastQuery(Body):
    days: Annotated[int, Meta(ge=1, le=MAX_DAYS, description="How far to look.")] = DEFAULT_DAYS


class WeaknessDocument(Document):
    """From one instant until another a step reaches nobody, or only over contact methods that nobody verified."""

    policy: str
    reason: StepReason
    after_seconds: int
    starts_at: datetime
    ends_at: datetime
    reached: Reached
    why: str


class HardToReachDocument(Document):
    """Somebody who may be paged, and what is not well about how they are reached."""

    name: str
    problem: str


class ForecastAnswer(Document):
    starts_at: datetime
    ends_at: datetime
    policies: Annotated[list[str], Meta(description="Every policy that an incident may follow.")]
    weaknesses: list[WeaknessDocument]
    people: list[HardToReachDocument]


async def foresee(work: Work, call: Call) -> ForeseenAnswer:
    """Play an incident on a virtual clock."""
    body = call.said(SimulationBody)
    question = Question(
        believable("incidentAt", body.incident_at) or body.incident_at,
        body.severity,
        body.policy_id,
        body.service,
        body.project_id,
        ack_after=_delay(body.ack_after_seconds),
        root_cause_after=_delay(body.root_cause_after_seconds),
        close_after=_delay(body.close_after_seconds),
        ack_by=body.ack_by,
        days=body.days,
    )
    found = await simulate(work, call.actor, question)
    return shown(ForeseenAnswer, found, steps=[step_story(step) for step in found.steps])


def _delay(seconds: int | None) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds is not None else None


async def forecast(work: Work, call: Call) -> ForecastAnswer:
    """Tell when in the days to come which step reaches nobody."""
    found = await coverage.forecast(work, call.actor, call.asked(ForecastQuery).days)
    weaknesses = [
        shown(WeaknessDocument, one, after_seconds=int(one.after.total_seconds())) for one in found.weaknesses
    ]
    return shown(
        ForecastAnswer,
        found,
        weaknesses=weaknesses,
        people=[shown(HardToReachDocument, one) for one in found.people],
    )
