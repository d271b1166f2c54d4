"""`tocsin policies …`: whom an incident pages when, and which policy it follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Annotated
from uuid import UUID

import typer

from tocsin.app import policies
from tocsin.app.policies import PolicyView, RouteRef, RouteView
from tocsin.app.work import Work
from tocsin.cli.options import AsOption, JsonOption, WrongUsageError, call_of, document_in, duration
from tocsin.cli.output import Call
from tocsin.cli.policy_steps import read_step, read_targets, targets_text
from tocsin.cli.running import act
from tocsin.cli.simulation import simulate_command
from tocsin.domain.access import Actor
from tocsin.domain.incident import Severity
from tocsin.domain.policy import MAX_REPEAT, Duty, StepReason
from tocsin.domain.policy_document import (
    PolicyDraft,
    TargetKind,
    TargetName,
    checked_lease,
    checked_name,
    delay_text,
    document_of,
    parse_policy,
)

FOR_EVER = "none"
"""What `--lease` says where an acknowledgment never lapses."""
Rule = Enum("Rule", {one.value: one.value for one in StepReason if one is not StepReason.POLICY_STEP})  # type: ignore[misc]  # made of the domain's list
"""The reasons of which every policy has exactly one step."""

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Whom an incident pages when.

    A policy has steps: after how long without an answer whom to page. Routes lead incidents to a policy by service and
    severity; the others follow the policy `default`.

    \b
    Example:
      tocsin policies add payments --step 0:duty:ON_CALL --step 10m:user:ana@example.org --repeat 2
      tocsin policies routes add payments --service payments

    Next: `tocsin oncall show` tells who holds the duties.
    """,
)
routes = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Which policy an incident follows.

    The first route that matches; without one, the policy `default`.

    \b
    Example:
      tocsin policies routes add payments --service payments --severity HIGH --severity CRITICAL

    Next: `tocsin policies list`.
    """,
)
commands.add_typer(routes, name="routes")
commands.command("simulate")(simulate_command)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The policy's name.")]
StepOption = Annotated[
    list[str] | None,
    typer.Option(
        "--step",
        metavar="STEP",
        help="[REASON=]DELAY:TARGET[,TARGET…]; a target is duty:DUTY, schedule:NAME or user:EMAIL. Once for each step.",
    ),
]
RepeatOption = Annotated[
    int | None,
    typer.Option(min=0, max=MAX_REPEAT, help="How many further rounds the steps that wait for an answer are played."),
]
LeaseOption = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="How long an acknowledgment holds without progress; `none` is for ever."),
]
FileOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="The policy as JSON or TOML, as `show --json` prints it; `-` is standard input."),
]
RouteArgument = Annotated[str, typer.Argument(metavar="ROUTE", help="Its place in the list, or its id.")]


@commands.command("list")
def list_(context: typer.Context, _as: AsOption = None, _json: JsonOption = False) -> None:
    """List the policies, the default first.

    \b
    Example:
      tocsin policies list

    Next: `tocsin policies show NAME` tells whom each of its steps pages.
    """
    call = call_of(context)
    found = act(call, "policies list", "", policies.list_policies)

    def tell() -> None:
        call.table(("NAME", "STEPS", "REPEAT", "LEASE", "ROUTES", "REACHES SOMEBODY"), [_row(view) for view in found])

    call.answer({"policies": [_document(view) for view in found]}, tell)


def _row(view: PolicyView) -> tuple[str, ...]:
    said = view.said
    leads = "all others" if view.is_default else str(view.routes)
    reaches = f"NOT IN {len(view.unreached)} STEPS" if view.unreached else "yes"
    return (said.name, str(len(said.steps)), str(said.repeat), _lease_text(said), leads, reaches)


def _lease_text(said: PolicyDraft) -> str:
    return delay_text(said.lease) if said.lease is not None else FOR_EVER


def _document(view: PolicyView) -> dict[str, object]:
    unreached = [{"message": one.message, "hint": one.hint} for one in view.unreached]
    facts = {"id": view.id, "isDefault": view.is_default, "routes": view.routes, "unreached": unreached}
    return document_of(view.said) | facts


@commands.command()
def show(
    context: typer.Context,
    name: NameArgument = "default",
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Show a policy. With --json it prints what `add --file` and `change --file` take.

    \b
    Example:
      tocsin policies show payments
      tocsin policies show payments --json | tocsin policies add search --file -

    Next: `tocsin policies change NAME`.
    """
    call = call_of(context)
    view = act(call, "policies show", name, lambda work, actor: policies.show_policy(work, actor, name))
    call.answer(document_of(view.said), lambda: _tell(call, view))


def _tell(call: Call, view: PolicyView) -> None:
    said = view.said
    rows = [(delay_text(step.after), step.reason.value, targets_text(step.targets)) for step in said.steps]
    call.table(("AFTER", "REASON", "PAGES"), rows)
    call.say(f"Further rounds while nobody answers: {said.repeat}. An acknowledgment holds for: {_lease_text(said)}.")
    for one in view.unreached:
        call.note(f"{one.message} {one.hint}")


@commands.command()
def add(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Its name; else the one that the file says.")
    ] = None,
    step: StepOption = None,
    repeat: RepeatOption = None,
    lease: LeaseOption = None,
    file: FileOption = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Add a policy. What its steps do not name is as in the default: the first alert and the three rules.

    A step without a reason pages at once (0), or while nobody has acknowledged. A policy with a step that reaches
    nobody is refused.

    \b
    Example:
      tocsin policies add payments --step 0:duty:ON_CALL --step 10m:schedule:payments \\
        --step NO_ACK_4HR=2h:duty:SUPERVISOR,user:ana@example.org --repeat 2 --lease 2h
      tocsin policies add --file payments.toml

    Next: `tocsin policies routes add NAME` leads incidents to it.
    """
    call = call_of(context)
    base = _in_file(file, name) if file is not None else PolicyDraft(_named(name), ())
    draft = _changed(base, step, repeat, lease)
    view = act(call, "policies add", draft.name, lambda work, actor: policies.add_policy(work, actor, draft))

    def tell() -> None:
        call.say(f"The policy {view.said.name} is there. No incident follows it until a route leads to it.")
        _tell(call, view)

    call.answer(_document(view), tell)


def _named(name: str | None) -> str:
    if name is None:
        raise WrongUsageError("Say its NAME, or give a file with --file.")
    return checked_name(name)


def _in_file(file: str, name: str | None) -> PolicyDraft:
    document = document_in(file)
    if name is not None and isinstance(document, dict):
        document = document | {"name": name}
    return parse_policy(document)


def _changed(base: PolicyDraft, step: Sequence[str] | None, repeat: int | None, lease: str | None) -> PolicyDraft:
    """Return a policy with what the options say in the place of what it said."""
    draft = replace(base, steps=tuple(read_step(text) for text in step)) if step else base
    draft = replace(draft, repeat=repeat) if repeat is not None else draft
    if lease is None:
        return draft
    return replace(draft, lease=None if lease.lower() == FOR_EVER else checked_lease(duration(lease)))


@commands.command()
def change(
    context: typer.Context,
    name: NameArgument,
    rename: Annotated[str | None, typer.Option(metavar="NAME", help="What it is called from now on.")] = None,
    step: StepOption = None,
    repeat: RepeatOption = None,
    lease: LeaseOption = None,
    file: FileOption = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Change a policy. What no option says stays; --step replaces all steps, --file everything.

    Open incidents follow at their next look, within five minutes.

    \b
    Example:
      tocsin policies change payments --step 0:duty:ON_CALL --step 5m:schedule:payments
      tocsin policies change payments --repeat 3 --lease none

    Next: `tocsin policies show NAME`.
    """
    call = call_of(context)
    if not any((rename, step, repeat is not None, lease, file)):
        raise WrongUsageError("Say what to change: --step, --repeat, --lease, --rename or --file.")
    given = _in_file(file, rename) if file is not None else None

    async def operate(work: Work, actor: Actor) -> PolicyView:
        base = given or (await policies.show_policy(work, actor, name)).said
        draft = _changed(replace(base, name=checked_name(rename)) if rename else base, step, repeat, lease)
        return await policies.change_policy(work, actor, name, draft)

    view = act(call, "policies change", name, operate)
    call.answer(_document(view), lambda: _tell(call, view))


@commands.command("set")
def set_(
    context: typer.Context,
    reason: Annotated[Rule, typer.Argument(case_sensitive=False, help="Which rule.")],
    after: Annotated[str | None, typer.Option(metavar="DURATION", help="When: 30s, 15m, 2h, 1d, or 1h30m.")] = None,
    duty: Annotated[Duty | None, typer.Option(case_sensitive=False, help="Whom it pages: who holds a duty.")] = None,
    to: Annotated[
        str | None, typer.Option(metavar="TARGET[,TARGET…]", help="Or whom: duty:DUTY, schedule:NAME, user:EMAIL.")
    ] = None,
    policy: Annotated[str, typer.Option(metavar="NAME", help="Of which policy.")] = "default",
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Change when one rule fires, or whom it pages. Open incidents follow at their next look, within five minutes.

    Every policy has each of these rules once. INCIDENT_OPENED is the first alert, which goes out at once.

    \b
    Example:
      tocsin policies set NO_ACK_1HR --after 30m --duty ON_CALL

    Next: `tocsin policies show NAME`.
    """
    call = call_of(context)
    if (after is None and duty is None and to is None) or (duty is not None and to is not None):
        raise WrongUsageError("Say when with --after, or whom with either --duty or --to, or both.")
    delay = duration(after) if after is not None else None
    targets = read_targets(to) if to is not None else (TargetName(TargetKind.DUTY, duty.value),) if duty else ()
    which = StepReason(reason.value)

    async def operate(work: Work, actor: Actor) -> PolicyView:
        return await policies.set_rule(work, actor, policy, which, after=delay, targets=targets)

    view = act(call, "policies set", f"{policy} {which} {after or ''} {targets_text(targets)}".strip(), operate)
    rule = next(step for step in view.said.steps if step.reason is which)
    document = document_of(replace(view.said, steps=(rule,)))["steps"]
    assert isinstance(document, list), "a policy's steps are a list"
    words = f"{which} of {view.said.name} pages {targets_text(rule.targets)} after {delay_text(rule.after)}."
    call.answer({"policy": view.said.name, "rule": document[0]}, lambda: call.say(words))


@commands.command()
def remove(context: typer.Context, name: NameArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """Remove a policy. The default stays, and so does one that a route leads to.

    \b
    Example:
      tocsin policies remove payments

    Next: `tocsin policies list`.
    """
    call = call_of(context)
    act(call, "policies remove", name, lambda work, actor: policies.remove_policy(work, actor, name))
    call.answer({"name": name, "removed": True}, lambda: call.say(f"The policy {name} is removed."))


# --- routes ----------------------------------------------------------------------------------------------------


@routes.command("list")
def list_routes(context: typer.Context, _as: AsOption = None, _json: JsonOption = False) -> None:
    """List the routes in the order in which they are asked.

    \b
    Example:
      tocsin policies routes list

    Next: `tocsin policies routes add NAME`.
    """
    call = call_of(context)
    found = act(call, "policies routes list", "", policies.list_routes)

    def tell() -> None:
        rows = [(str(one.position), *_matches(one), one.policy) for one in found]
        call.table(("PLACE", "SERVICE", "SEVERITIES", "POLICY"), [*rows, ("last", "any", "any", "default")])

    call.answer({"routes": found}, tell)


def _matches(route: RouteView) -> tuple[str, str]:
    return route.service or "any", ", ".join(route.severities) if route.severities else "any"


@routes.command("add")
def add_route(
    context: typer.Context,
    policy: NameArgument,
    service: Annotated[str | None, typer.Option(help="Only incidents of this service, spelled exactly so.")] = None,
    severity: Annotated[
        list[Severity] | None, typer.Option(case_sensitive=False, help="Only this current severity; may be repeated.")
    ] = None,
    position: Annotated[
        int | None, typer.Option(metavar="PLACE", min=1, help="Where it is asked: 1 is first; else last.")
    ] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Lead incidents to a policy. A route is refused behind one that takes all of its incidents.

    The service of an incident is that of the report which opened it; without one, the project's name.

    \b
    Example:
      tocsin policies routes add payments --service payments --severity HIGH --severity CRITICAL

    Next: `tocsin policies routes list`.
    """
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> RouteView:
        return await policies.add_route(work, actor, policy, service=service, severities=severity, position=position)

    _tell_route(call, act(call, "policies routes add", policy, operate))


def _tell_route(call: Call, route: RouteView) -> None:
    service, severities = _matches(route)
    words = f"Asked at place {route.position}: service {service}, severity {severities} follows {route.policy}."
    call.answer({"route": route}, lambda: call.say(words))


@routes.command("move")
def move_route(
    context: typer.Context,
    route: RouteArgument,
    position: Annotated[int, typer.Argument(metavar="PLACE", min=1, help="Where it is asked from now on: 1 is first.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Let a route be asked at another place.

    \b
    Example:
      tocsin policies routes move 3 1

    Next: `tocsin policies routes list`.
    """
    call, ref = call_of(context), _route_ref(route)
    moved = act(
        call, "policies routes move", route, lambda work, actor: policies.move_route(work, actor, ref, position)
    )
    _tell_route(call, moved)


@routes.command("remove")
def remove_route(context: typer.Context, route: RouteArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """Remove a route; its incidents follow the next one that matches.

    \b
    Example:
      tocsin policies routes remove 2

    Next: `tocsin policies routes list`.
    """
    call, ref = call_of(context), _route_ref(route)
    removed = act(call, "policies routes remove", route, lambda work, actor: policies.remove_route(work, actor, ref))
    words = f"The route of {' and '.join(_matches(removed))} to {removed.policy} is removed."
    call.answer({"route": removed, "removed": True}, lambda: call.say(words))


def _route_ref(text: str) -> RouteRef:
    if text.isascii() and text.isdigit() and len(text) <= 4:
        return int(text)
    try:
        return UUID(text)
    except ValueError:
        raise WrongUsageError(f"{text!r} is neither a place in the list nor the id of a route.") from None
