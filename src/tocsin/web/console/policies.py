"""Policies and routes: whom an incident pages when, and which incidents follow which policy."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated
from uuid import UUID

import msgspec

from tocsin.app import accounts, on_call, policies
from tocsin.app.on_call import OnCallNow
from tocsin.app.policies import MAX_ROUTES
from tocsin.app.work import Work
from tocsin.domain.incident import Severity
from tocsin.domain.policy import MAX_REPEAT, Duty, StepReason
from tocsin.domain.policy_document import (
    PolicyDraft,
    StepDraft,
    TargetKind,
    TargetName,
    checked_lease,
    checked_name,
    checked_target,
    delay_text,
    split_targets,
)
from tocsin.web.console.page import Form, Redirected, Shown, Visit
from tocsin.web.reading import invalid, part_id

POLICIES = "/admin/policies"
ROUTES = "/admin/routes"
MAX_SUGGESTED = 200
"""People whom the fields for targets suggest; others are typed."""
Line = Annotated[str, msgspec.Meta(max_length=2000)]
Delay = Annotated[str, msgspec.Meta(max_length=60)]
Place = Annotated[int, msgspec.Meta(ge=1, le=MAX_ROUTES)]
_DELAY = re.compile(r"(?:(\d{1,4})d)?\s*(?:(\d{1,5})h)?\s*(?:(\d{1,6})m)?\s*(?:(\d{1,8})s)?")


class PolicyForm(Form):
    """A new policy, and whom it pages at once; its rules are those of the default."""

    name: Line = ""
    targets: Line = ""


class SettingsForm(Form):
    """How a policy is called, how often it goes round, and how long an acknowledgment holds (empty: for ever)."""

    name: Line | None = None
    repeat: Annotated[int, msgspec.Meta(ge=0, le=MAX_REPEAT)] = 0
    lease: Delay = ""


class RuleForm(Form):
    """When a rule fires and whom it pages: `duty:ON_CALL, user:ada@example.org, schedule:payments`."""

    reason: StepReason
    after: Delay = ""
    targets: Line = ""


class StepForm(Form):
    """A further step; where it takes the place of one, what that one is as far as the page knows."""

    after: Delay = ""
    targets: Line = ""
    was_after: Delay = ""
    was_targets: Line = ""


class RouteForm(Form):
    """Which incidents follow which policy: of a service (none: of any), of severities (none: of any)."""

    policy: Annotated[str, msgspec.Meta(max_length=36)]
    service: Line | None = None
    severity: tuple[Severity, ...] = ()
    position: Place | None = None


class MoveForm(Form):
    """Where a route is asked from now on; 1 is first."""

    position: Place


# --- policies --------------------------------------------------------------------------------------------------


async def show_all(work: Work, visit: Visit) -> Shown:
    """Show every policy, and which incidents follow which."""
    context = {
        "policies": await policies.list_policies(work, visit.actor),
        "routes": await policies.list_routes(work, visit.actor),
        "severities": [*Severity][::-1],
        "suggested": await _suggested(work, visit, await on_call.on_call_now(work, visit.actor)),
    }
    return Shown("admin_policies.html", context)


async def show(work: Work, visit: Visit) -> Shown:
    """Show a policy, its steps in words."""
    now = await on_call.on_call_now(work, visit.actor)
    reached = {f"duty:{one.duty}": one.holders for one in now.duties}
    reached |= {f"schedule:{one.schedule.name}": one.holders for one in now.schedules}
    context = {
        "policy": await policies.show_policy(work, visit.actor, _policy(visit)),
        "routes": await policies.list_routes(work, visit.actor),
        "reached": {name: [one.person.name for one in holders] for name, holders in reached.items()},
        "delay": delay_text,
        "further": StepReason.POLICY_STEP,
        "suggested": await _suggested(work, visit, now),
    }
    return Shown("admin_policy.html", context)


async def _suggested(work: Work, visit: Visit, now: OnCallNow) -> list[str]:
    """Return what a field for targets suggests."""
    people = [one.email for one in await accounts.list_users(work, visit.actor) if one.active]
    return [
        *(f"duty:{duty}" for duty in Duty),
        *(f"schedule:{one.schedule.name}" for one in now.schedules),
        *(f"user:{email}" for email in people[:MAX_SUGGESTED]),
    ]


def _policy(visit: Visit) -> UUID:
    return part_id(visit.path("policy"), "policy")


def _to_policy(policy_id: UUID) -> Redirected:
    return Redirected(f"{POLICIES}/{policy_id}")


async def add(work: Work, visit: Visit) -> Redirected:
    """Add a policy; its further steps are added on its own page."""
    form = visit.said(PolicyForm)
    targets = _targets("targets", form.targets)
    first = (StepDraft(StepReason.INCIDENT_OPENED, timedelta(), targets),) if targets else ()
    added = await policies.add_policy(work, visit.actor, PolicyDraft(checked_name(form.name), first))
    return _to_policy(added.id)


async def change(work: Work, visit: Visit) -> Redirected:
    """Change a policy's name, its rounds, and how long an acknowledgment holds."""
    form = visit.said(SettingsForm)
    lease = checked_lease(delay_of("lease", form.lease))
    name = checked_name(form.name) if form.name is not None else None
    await policies.change_terms(work, visit.actor, _policy(visit), name=name, repeat=form.repeat, lease=lease)
    return _to_policy(_policy(visit))


async def remove(work: Work, visit: Visit) -> Redirected:
    """Remove a policy that nothing leads to."""
    await policies.remove_policy(work, visit.actor, _policy(visit))
    return Redirected(POLICIES)


async def set_rule(work: Work, visit: Visit) -> Redirected:
    """Change when a rule of a policy fires, and whom it pages."""
    form = visit.said(RuleForm)
    if form.reason is StepReason.POLICY_STEP:
        raise invalid("reason", "must be a rule: further steps have forms of their own")
    targets = _targets("targets", form.targets)
    after = delay_of("after", form.after) if form.after.strip() else None
    await policies.set_rule(work, visit.actor, _policy(visit), form.reason, after=after, targets=targets)
    return _to_policy(_policy(visit))


async def add_step(work: Work, visit: Visit) -> Redirected:
    """Add a further step."""
    form = visit.said(StepForm)
    await policies.put_step(work, visit.actor, _policy(visit), None, _further(form.after, form.targets))
    return _to_policy(_policy(visit))


async def change_step(work: Work, visit: Visit) -> Redirected:
    """Change when a further step is taken, and whom it pages."""
    form = visit.said(StepForm)
    was, step = _further(form.was_after, form.was_targets), _further(form.after, form.targets)
    await policies.put_step(work, visit.actor, _policy(visit), was, step)
    return _to_policy(_policy(visit))


async def remove_step(work: Work, visit: Visit) -> Redirected:
    """Take a further step away."""
    form = visit.said(StepForm)
    await policies.put_step(work, visit.actor, _policy(visit), _further(form.was_after, form.was_targets), None)
    return _to_policy(_policy(visit))


def _further(after: str, targets: str) -> StepDraft:
    return StepDraft(StepReason.POLICY_STEP, delay_of("after", after), _targets("targets", targets))


def delay_of(field: str, text: str) -> timedelta:
    """Return a delay as people write it, such as `1h30m`; raise INVALID naming the field."""
    match = _DELAY.fullmatch(text.strip().lower())
    if match is None:
        raise invalid(field, "must be a delay such as 30m, 4h or 1h30m")
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _targets(field: str, text: str) -> tuple[TargetName, ...]:
    return tuple(_target(field, part) for part in split_targets(text)) if text.strip() else ()


def _target(field: str, text: str) -> TargetName:
    kind, colon, name = text.partition(":")
    if not colon or kind not in list(TargetKind):
        raise invalid(field, "must be duty:NAME, user:EMAIL or schedule:NAME, with commas between them")
    return checked_target(field, TargetKind(kind), name)


# --- routes ----------------------------------------------------------------------------------------------------


async def add_route(work: Work, visit: Visit) -> Redirected:
    """Let incidents of a service and of some severities follow a policy."""
    form = visit.said(RouteForm)
    await policies.add_route(
        work,
        visit.actor,
        part_id(form.policy, "policy"),
        service=form.service,
        severities=form.severity,
        position=form.position,
    )
    return Redirected(f"{POLICIES}#routes")


async def move_route(work: Work, visit: Visit) -> Redirected:
    """Let a route be asked earlier or later."""
    await policies.move_route(work, visit.actor, _route(visit), visit.said(MoveForm).position)
    return Redirected(f"{POLICIES}#routes")


async def remove_route(work: Work, visit: Visit) -> Redirected:
    """Remove a route; its incidents follow the next one that fits."""
    await policies.remove_route(work, visit.actor, _route(visit))
    return Redirected(f"{POLICIES}#routes")


def _route(visit: Visit) -> UUID:
    return part_id(visit.path("route"), "route")
