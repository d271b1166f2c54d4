"""Policies and routes over HTTP: whom an incident pages when, and which policy it follows."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from tocsin.app import policies
from tocsin.app.policies import PolicyView, RouteView
from tocsin.app.work import Work
from tocsin.domain.incident import Severity
from tocsin.domain.policy import (
    DEFAULT_LEASE,
    MAX_DELAY,
    MAX_LEASE,
    MAX_NAME_CHARACTERS,
    MAX_REPEAT,
    MAX_SERVICE_CHARACTERS,
    MAX_STEPS,
    MAX_TARGETS,
    Duty,
    StepReason,
)
from tocsin.domain.policy_document import MAX_TARGET_CHARACTERS, document_of, parse_policy
from tocsin.web.documents import Body, Document, shown
from tocsin.web.endpoint import Call
from tocsin.web.reading import part_id


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


# The domain checks the names, with messages for people; here their limits are only declared for the documentation.
_LINE = r"^[ -~]*[!-~][ -~]*$"
TargetText = Annotated[
    str, Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_TARGET_CHARACTERS, "pattern": _LINE})
]
PolicyName = Annotated[
    str, Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_NAME_CHARACTERS, "pattern": _LINE})
]
ServiceName = Annotated[
    str,
    Meta(
        extra_json_schema={"minLength": 1, "maxLength": MAX_SERVICE_CHARACTERS, "pattern": _LINE},
        description="Spelled exactly so; null: any.",
    ),
]
Severities = Annotated[list[Severity], Meta(min_length=1, max_length=len(Severity), description="Null: any.")]


class TargetBody(Body, omit_defaults=True):
    """Whom a step is for: exactly one of the three."""

    user: Annotated[TargetText, Meta(description="A user's e-mail.")] | None = None
    schedule: Annotated[TargetText, Meta(description="A schedule's name.")] | None = None
    duty: Duty | None = None


class StepBody(Body, omit_defaults=True):
    """One step. Without a reason 0 seconds is INCIDENT_OPENED, anything later POLICY_STEP."""

    targets: Annotated[list[TargetBody], Meta(min_length=1, max_length=MAX_TARGETS)]
    after_seconds: Annotated[int, Meta(ge=0, le=_seconds(MAX_DELAY))] = 0
    reason: StepReason | None = None


class PolicyBody(Body):
    name: PolicyName
    steps: Annotated[list[StepBody], Meta(max_length=MAX_STEPS)] = msgspec.field(default_factory=list)
    repeat: Annotated[int, Meta(ge=0, le=MAX_REPEAT)] = 0
    lease_seconds: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=_seconds(MAX_LEASE),
                description="How long an acknowledgment holds without progress: from 60; 0 or null: for ever.",
            ),
        ]
        | None
    ) = _seconds(DEFAULT_LEASE)


class RouteBody(Body):
    policy_id: UUID
    service: ServiceName | None = None
    severities: Severities | None = None
    position: Annotated[int, Meta(ge=1, description="Where it is asked: 1 is first; null: last.")] | None = None


class MoveBody(Body):
    position: Annotated[int, Meta(ge=1, description="Where it is asked from now on: 1 is first.")]


class TargetDocument(Document, omit_defaults=True):
    """Whom a step is for: exactly one of the three."""

    user: str | None = None
    schedule: str | None = None
    duty: Duty | None = None


class StepDocument(Document):
    reason: StepReason
    after_seconds: int
    targets: list[TargetDocument]


class UnreachedDocument(Document):
    """A step that reaches nobody: what is wrong, and what to do about it."""

    message: str
    hint: str


class PolicyDocument(Document):
    id: UUID
    is_default: bool
    name: str
    repeat: int
    lease_seconds: int | None
    steps: list[StepDocument]
    routes: Annotated[int, Meta(description="How many routes lead to it.")]
    unreached: list[UnreachedDocument]


class PolicyAnswer(Document):
    policy: PolicyDocument


class PolicyListAnswer(Document):
    policies: list[PolicyDocument]


class RouteDocument(Document):
    id: UUID
    position: int
    service: str | None
    severities: list[Severity] | None
    policy_id: UUID
    policy: Annotated[str, Meta(description="The policy's name.")]


class RouteAnswer(Document):
    route: RouteDocument


class RouteListAnswer(Document):
    routes: list[RouteDocument]


class RemovedAnswer(Document):
    removed: bool = True


async def list_policies(work: Work, call: Call) -> PolicyListAnswer:
    """List every policy, the default first."""
    return PolicyListAnswer([_policy(view) for view in await policies.list_policies(work, call.actor)])


async def show_policy(work: Work, call: Call) -> PolicyAnswer:
    """Show one policy."""
    return PolicyAnswer(_policy(await policies.show_policy(work, call.actor, _policy_id(call))))


async def add_policy(work: Work, call: Call) -> PolicyAnswer:
    """Add a policy."""
    draft = parse_policy(msgspec.to_builtins(call.said(PolicyBody)))
    return PolicyAnswer(_policy(await policies.add_policy(work, call.actor, draft)))


async def change_policy(work: Work, call: Call) -> PolicyAnswer:
    """Let a policy be what is said now."""
    draft = parse_policy(msgspec.to_builtins(call.said(PolicyBody)))
    return PolicyAnswer(_policy(await policies.change_policy(work, call.actor, _policy_id(call), draft)))


async def remove_policy(work: Work, call: Call) -> RemovedAnswer:
    """Remove a policy."""
    await policies.remove_policy(work, call.actor, _policy_id(call))
    return RemovedAnswer()


def _policy_id(call: Call) -> UUID:
    return part_id(call.path("policyId"), "policy")


def _policy(view: PolicyView) -> PolicyDocument:
    unreached = [shown(UnreachedDocument, one) for one in view.unreached]
    facts = {"id": view.id, "isDefault": view.is_default, "routes": view.routes, "unreached": unreached}
    return msgspec.convert(document_of(view.said) | facts, PolicyDocument)


async def list_routes(work: Work, call: Call) -> RouteListAnswer:
    """List the routes in the order in which they are asked."""
    return RouteListAnswer([_route(view) for view in await policies.list_routes(work, call.actor)])


async def add_route(work: Work, call: Call) -> RouteAnswer:
    """Lead incidents to a policy."""
    body = call.said(RouteBody)
    view = await policies.add_route(
        work,
        call.actor,
        body.policy_id,
        service=body.service,
        severities=body.severities,
        position=body.position,
    )
    return RouteAnswer(_route(view))


async def move_route(work: Work, call: Call) -> RouteAnswer:
    """Let a route be asked at another place."""
    position = call.said(MoveBody).position
    return RouteAnswer(_route(await policies.move_route(work, call.actor, _route_id(call), position)))


async def remove_route(work: Work, call: Call) -> RemovedAnswer:
    """Remove a route."""
    await policies.remove_route(work, call.actor, _route_id(call))
    return RemovedAnswer()


def _route_id(call: Call) -> UUID:
    return part_id(call.path("routeId"), "route")


def _route(view: RouteView) -> RouteDocument:
    return shown(RouteDocument, view, severities=list(view.severities) if view.severities is not None else None)
