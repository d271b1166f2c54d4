"""Policies and routes as people manage them: whom an incident pages when, and which policy it follows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from tocsin.app.policy_reach import require_reach
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.incident import Severity
from tocsin.domain.policy import (
    MAX_SERVICE_CHARACTERS,
    Duty,
    Policies,
    Policy,
    Route,
    Step,
    StepReason,
    Target,
    checked_line,
    checked_steps,
    never_asked,
)
from tocsin.domain.policy_document import PolicyDraft, StepDraft, TargetKind, TargetName
from tocsin.domain.policy_reach import Directory, Unreached, unreachable
from tocsin.errors import Code, refuse
from tocsin.store import policies, users

MAX_POLICIES = 200
MAX_ROUTES = 1_000

PolicyRef = UUID | str
"""A policy by its id or its name; "" is the default."""
RouteRef = UUID | int
"""A route by its id, or by its place: 1 is asked first."""


@dataclass(frozen=True, slots=True)
class PolicyView:
    """A policy as people see it: in names, with how many routes lead to it, and with its steps that reach nobody."""

    id: UUID
    is_default: bool
    said: PolicyDraft
    routes: int
    unreached: tuple[Unreached, ...]


@dataclass(frozen=True, slots=True)
class RouteView:
    """A route as people see it. What is None is any; `position` 1 is asked first."""

    id: UUID
    position: int
    service: str | None
    severities: tuple[Severity, ...] | None
    policy_id: UUID
    policy: str


# --- policies --------------------------------------------------------------------------------------------------


async def list_policies(work: Work, actor: Actor) -> list[PolicyView]:
    """Return every policy, the default first."""
    require(actor, Permission.READ)
    known, directory = await policies.load(work.tx), await policies.directory(work.tx, work.now)
    return [_view(known, policy, directory) for policy in known.policies.values()]


async def show_policy(work: Work, actor: Actor, ref: PolicyRef) -> PolicyView:
    """Return one policy; raise NOT_FOUND."""
    require(actor, Permission.READ)
    known = await policies.load(work.tx)
    return await _viewed(work, policy_of(known, ref).id)


async def _viewed(work: Work, policy_id: UUID) -> PolicyView:
    known = await policies.load(work.tx)
    return _view(known, known.policies[policy_id], await policies.directory(work.tx, work.now))


def _view(known: Policies, policy: Policy, directory: Directory) -> PolicyView:
    steps = tuple(
        StepDraft(step.reason, step.after, tuple(_named(target, directory) for target in step.targets))
        for step in policy.steps
    )
    return PolicyView(
        policy.id,
        policy.id == known.default_id,
        PolicyDraft(policy.name, steps, policy.repeat, policy.lease),
        sum(route.policy_id == policy.id for route in known.routes),
        unreachable([policy], directory),
    )


def _named(target: Target, directory: Directory) -> TargetName:
    if target.user_id is not None:
        return TargetName(TargetKind.USER, directory.people[target.user_id].email)
    if target.schedule_id is not None:
        return TargetName(TargetKind.SCHEDULE, directory.schedules[target.schedule_id].name)
    return TargetName(TargetKind.DUTY, str(target.duty))


def policy_of(known: Policies, ref: PolicyRef) -> Policy:
    """Return a policy by its id or its name; raise NOT_FOUND."""
    if ref == "":
        return known.default
    by_id = known.policies.get(ref) if isinstance(ref, UUID) else None
    named = (policy for policy in known.policies.values() if policy.name.lower() == str(ref).strip().lower())
    policy = by_id or next(named, None)
    if policy is None:
        raise refuse(Code.NOT_FOUND, f"There is no policy {str(ref)[:100]}.", "List them: `tocsin policies list`.")
    return policy


async def _to_change(work: Work, actor: Actor) -> Policies:
    """Return the policies, locked: nobody else changes them, or whom they reach, until this is committed."""
    require(actor, Permission.ADMINISTER)
    await users.lock(work.tx)
    await policies.lock(work.tx)
    return await policies.load(work.tx)


async def add_policy(work: Work, actor: Actor, draft: PolicyDraft) -> PolicyView:
    """Add a policy. Raises INVALID where it reaches nobody, CONFLICT where its name is taken."""
    known = await _to_change(work, actor)
    if len(known.policies) >= MAX_POLICIES:
        raise refuse(
            Code.CONFLICT,
            f"There are {MAX_POLICIES} policies, as many as there may be.",
            "Remove one that is not needed: `tocsin policies remove NAME`.",
        )
    policy_id = work.new_id()
    _require_free(known, draft.name, policy_id)
    await policies.insert(work.tx, await _resolved(work, policy_id, draft), work.now)
    await require_reach(work, policy_id)
    return await _viewed(work, policy_id)


async def change_policy(work: Work, actor: Actor, ref: PolicyRef, draft: PolicyDraft) -> PolicyView:
    """Let a policy be what is said now. Open incidents follow at their next look.

    Raises INVALID where it reaches nobody, CONFLICT where its name is taken or the default would have another one.
    """
    known = await _to_change(work, actor)
    policy = policy_of(known, ref)
    if policy.id == known.default_id and draft.name != policy.name:
        raise refuse(
            Code.CONFLICT,
            f"The policy {policy.name} keeps its name: incidents follow it where no route leads elsewhere.",
            "Add another policy, and a route to it: `tocsin policies routes add NAME`.",
        )
    _require_free(known, draft.name, policy.id)
    await policies.change(work.tx, await _resolved(work, policy.id, draft))
    await require_reach(work, policy.id)
    return await _viewed(work, policy.id)


def _require_free(known: Policies, name: str, policy_id: UUID) -> None:
    if any(policy.name.lower() == name.lower() and policy.id != policy_id for policy in known.policies.values()):
        hint = f"Look at it: `tocsin policies show {name}`; change it: `tocsin policies change {name}`."
        raise refuse(Code.CONFLICT, f"There is a policy {name} already.", hint)


async def _resolved(work: Work, policy_id: UUID, draft: PolicyDraft) -> Policy:
    """Return the policy with ids in the place of names; raise INVALID for a name that nobody has."""
    steps = [
        Step(step.reason, step.after, await _targets(work, f"steps[{index}].targets", step.targets))
        for index, step in enumerate(draft.steps)
    ]
    return Policy(policy_id, draft.name, checked_steps(steps), draft.repeat, draft.lease)


async def _targets(work: Work, field: str, names: Sequence[TargetName]) -> tuple[Target, ...]:
    return tuple(dict.fromkeys([await _target(work, field, name) for name in names]))


async def _target(work: Work, field: str, target: TargetName) -> Target:
    match target.kind:
        case TargetKind.DUTY:
            return Target(duty=Duty(target.name))
        case TargetKind.USER:
            user = await users.by_email(work.tx, target.name)
            if user is not None:
                return Target(user_id=user.id)
        case TargetKind.SCHEDULE:
            schedule_id = await policies.schedule_by_name(work.tx, target.name)
            if schedule_id is not None:
                return Target(schedule_id=schedule_id)
    problem = f"there is no {target.kind} {target.name}"
    hint = f"See who or what there is: `tocsin {target.kind}s list`."
    raise refuse(Code.INVALID, f"The policy pages {target}, but {problem}.", hint, errors=[_error(field, problem)])


def _error(field: str, problem: str) -> dict[str, str]:
    return {"field": field, "problem": problem}


async def set_rule(
    work: Work,
    actor: Actor,
    ref: PolicyRef,
    reason: StepReason,
    *,
    after: timedelta | None = None,
    targets: Sequence[TargetName] = (),
) -> PolicyView:
    """Change when one rule of a policy fires, whom it pages, or both; what is not said stays.

    Raises INVALID where the rule would reach nobody. What other steps reach does not stand in the way.
    """
    known = await _to_change(work, actor)
    policy = policy_of(known, ref)
    rule = policy.step_of(reason)
    new = Step(
        reason,
        after if after is not None else rule.after,
        await _targets(work, "targets", targets) if targets else rule.targets,
    )
    steps = checked_steps([new if step is rule else step for step in policy.steps])
    await policies.change(work.tx, replace(policy, steps=steps))
    if targets:
        await require_reach(work, policy.id, reason)
    return await _viewed(work, policy.id)


async def change_terms(
    work: Work, actor: Actor, ref: PolicyRef, *, name: str | None, repeat: int, lease: timedelta | None
) -> PolicyView:
    """Change a policy's name (None: it stays), its rounds, and how long an acknowledgment holds; its steps stay.

    Raises what `change_policy` raises.
    """
    known = await _to_change(work, actor)
    said = (await _viewed(work, policy_of(known, ref).id)).said
    terms = replace(said, name=said.name if name is None else name, repeat=repeat, lease=lease)
    return await change_policy(work, actor, ref, terms)


async def put_step(
    work: Work, actor: Actor, ref: PolicyRef, was: StepDraft | None, step: StepDraft | None
) -> PolicyView:
    """Put a further step in the place of one that was, or add it (`was` is None), or take that one away.

    Raises CONFLICT where there is no such step any more, and what `change_policy` raises.
    """
    known = await _to_change(work, actor)
    policy = policy_of(known, ref)
    said = (await _viewed(work, policy.id)).said
    steps = list(said.steps)
    if was is not None:
        if was not in steps:
            raise refuse(
                Code.CONFLICT,
                f"The policy {policy.name} has no such step any more: somebody has changed it meanwhile.",
                "Look at its steps as they are now, and do it again if it is still right.",
            )
        steps.remove(was)
    if step is not None:
        steps.append(step)
    return await change_policy(work, actor, policy.id, replace(said, steps=tuple(steps)))


async def remove_policy(work: Work, actor: Actor, ref: PolicyRef) -> None:
    """Remove a policy; raise CONFLICT for the default, and for one that a route leads to."""
    known = await _to_change(work, actor)
    policy = policy_of(known, ref)
    if policy.id == known.default_id:
        raise refuse(
            Code.CONFLICT,
            f"The policy {policy.name} stays: incidents follow it where no route leads elsewhere.",
            f"Change it: `tocsin policies change {policy.name}`.",
        )
    places = [place for place, route in enumerate(known.routes, 1) if route.policy_id == policy.id]
    if places:
        raise refuse(
            Code.CONFLICT,
            f"The policy {policy.name} is in use: the route at place {', '.join(map(str, places[:5]))} leads to it.",
            f"Remove it first: `tocsin policies routes remove {places[0]}`.",
        )
    await policies.remove(work.tx, policy.id)


# --- routes ----------------------------------------------------------------------------------------------------


async def list_routes(work: Work, actor: Actor) -> list[RouteView]:
    """Return the routes in the order in which they are asked."""
    require(actor, Permission.READ)
    return _route_views(await policies.load(work.tx))


def _route_views(known: Policies) -> list[RouteView]:
    return [
        RouteView(
            route.id,
            place,
            route.service,
            tuple(one for one in Severity if one in route.severities) if route.severities is not None else None,
            route.policy_id,
            known.policies[route.policy_id].name,
        )
        for place, route in enumerate(known.routes, 1)
    ]


async def add_route(
    work: Work,
    actor: Actor,
    policy: PolicyRef,
    *,
    service: str | None = None,
    severities: Collection[Severity] | None = None,
    position: int | None = None,
) -> RouteView:
    """Let incidents of a service and of these severities (None: any) follow a policy; without a position, asked last.

    Raises INVALID where the policy has a step that reaches nobody, CONFLICT where a route would never be asked.
    """
    known = await _to_change(work, actor)
    if len(known.routes) >= MAX_ROUTES:
        raise refuse(Code.CONFLICT, f"There are {MAX_ROUTES} routes, as many as there may be.", _ROUTES_HINT)
    named = checked_line("service", service, MAX_SERVICE_CHARACTERS) if service is not None else None
    chosen = frozenset(severities) if severities else None
    route = Route(work.new_id(), named, chosen, policy_of(known, policy).id)
    await require_reach(work, route.policy_id)
    await _put(work, known, route, position)
    return await _viewed_route(work, route.id)


_ROUTES_HINT = "See them: `tocsin policies routes list`."


async def move_route(work: Work, actor: Actor, ref: RouteRef, position: int) -> RouteView:
    """Let a route be asked at another place; raise NOT_FOUND, or CONFLICT where a route would never be asked."""
    known = await _to_change(work, actor)
    route = _found_route(known, ref)
    await _put(work, known, route, position)
    return await _viewed_route(work, route.id)


async def remove_route(work: Work, actor: Actor, ref: RouteRef) -> RouteView:
    """Remove a route and return it; raise NOT_FOUND."""
    known = await _to_change(work, actor)
    route = _found_route(known, ref)
    await policies.put_routes(work.tx, [other for other in known.routes if other.id != route.id])
    return _only(_route_views(known), route.id)


async def _viewed_route(work: Work, route_id: UUID) -> RouteView:
    return _only(_route_views(await policies.load(work.tx)), route_id)


def _only(views: Sequence[RouteView], route_id: UUID) -> RouteView:
    return next(view for view in views if view.id == route_id)


def _found_route(known: Policies, ref: RouteRef) -> Route:
    found = next((route for place, route in enumerate(known.routes, 1) if ref in (place, route.id)), None)
    if found is None:
        raise refuse(Code.NOT_FOUND, f"There is no route {ref}.", _ROUTES_HINT)
    return found


async def _put(work: Work, known: Policies, route: Route, position: int | None) -> None:
    """Write the routes with this one at a place (None: the last)."""
    routes = [other for other in known.routes if other.id != route.id]
    place = position if position is not None else len(routes) + 1
    if not 1 <= place <= len(routes) + 1:
        problem = f"must be a place from 1 to {len(routes) + 1}"
        raise refuse(Code.INVALID, f"The position {problem}.", _ROUTES_HINT, errors=[_error("position", problem)])
    routes.insert(place - 1, route)
    _require_asked(known, routes)
    await policies.put_routes(work.tx, routes)


def _require_asked(known: Policies, routes: Sequence[Route]) -> None:
    """Raise CONFLICT where a route stands behind another one that takes everything that it would."""
    if (pair := never_asked(routes)) is None:
        return
    behind, before = (_route_text(known, route) for route in pair)
    raise refuse(
        Code.CONFLICT,
        f"The route for {behind} would never be asked: the one for {before} stands before it and takes them all.",
        "Put the narrower one first: `--position`, or `tocsin policies routes move`.",
    )


def _route_text(known: Policies, route: Route) -> str:
    severities = ", ".join(one for one in Severity if one in (route.severities or ())) or "any severity"
    service = f"service {route.service}" if route.service is not None else "any service"
    return f"{service} and {severities} to {known.policies[route.policy_id].name}"
