"""`tocsin policies simulate`: who would be paged when, and why the others would not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

import typer
from rich.text import Text

from tocsin.app.simulate import Foreseen, Question, simulate
from tocsin.cli.options import AsOption, JsonOption, call_of, duration, wall_or_instant
from tocsin.cli.output import Line, instant, one_line
from tocsin.cli.running import act
from tocsin.cli.why_story import step_lines
from tocsin.domain.incident import Severity
from tocsin.domain.simulation import MAX_PLAYED, MAX_TIME

DelayOption = Annotated[str | None, typer.Option(metavar="DURATION", help="After how long somebody acknowledges it.")]


def simulate_command(
    context: typer.Context,
    incident_at: Annotated[
        str, typer.Option(metavar="TIME", help="When it opens: 2026-12-24T02:00, or with an offset.")
    ],
    severity: Annotated[Severity, typer.Option(case_sensitive=False, help="How bad it is.")],
    zone: Annotated[str, typer.Option(help="Whose clock shows a TIME without an offset.")] = "UTC",
    policy: Annotated[
        str | None, typer.Option(metavar="NAME", help="Play this policy, whichever the routes lead to.")
    ] = None,
    service: Annotated[str | None, typer.Option(help="The service that it is about.")] = None,
    project: Annotated[str | None, typer.Option(metavar="NAME", help="The project that reports it.")] = None,
    ack_after: DelayOption = None,
    ack_by: Annotated[
        str | None, typer.Option(metavar="EMAIL", help="Who does all of this; else the first who is paged.")
    ] = None,
    root_cause_after: Annotated[
        str | None, typer.Option(metavar="DURATION", help="After how long its root cause is recorded.")
    ] = None,
    close_after: Annotated[
        str | None, typer.Option(metavar="DURATION", help="After how long it is resolved and closed.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=MAX_TIME.days, help="How far to look.")] = 3,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Play an incident on a virtual clock: who would be paged when, over what, and who not and why.

    What decides is what would decide then: policies, schedules, contact methods and silences as they stand now. Nothing
    is written, nobody is paged.

    \b
    Example:
      tocsin policies simulate --incident-at 2026-12-24T02:00 --zone Europe/Vienna --severity CRITICAL
      tocsin policies simulate --incident-at 2026-12-24T02:00 --severity HIGH --service payments --ack-after 2h

    Next: `tocsin oncall forecast` tells when a step reaches nobody.
    """
    call = call_of(context)
    question = Question(
        wall_or_instant(incident_at, zone),
        severity,
        policy,
        service,
        project,
        ack_after=_delay(ack_after),
        root_cause_after=_delay(root_cause_after),
        close_after=_delay(close_after),
        ack_by=ack_by,
        days=days,
    )
    target = f"{policy or service or ''} {severity} {incident_at}".strip()
    foreseen = act(call, "policies simulate", target, lambda work, actor: simulate(work, actor, question))
    call.answer(foreseen, lambda: call.say(*_story(foreseen)))


def _delay(text: str | None) -> timedelta | None:
    return duration(text) if text is not None else None


def _story(foreseen: Foreseen) -> Iterator[Line]:
    about = f" of {one_line(foreseen.service)}" if foreseen.service else ""
    yield Text.assemble(
        "A simulation: nothing is written, nobody is paged. An incident ",
        (foreseen.severity.value, "bold"),
        f"{about} at {instant(foreseen.incident_at)} follows the policy {one_line(foreseen.policy)}.",
    )
    for step in foreseen.steps:
        yield ""
        yield from step_lines(step)
    yield ""
    if foreseen.cut_off:
        yield f"Here it stops: more than {MAX_PLAYED:,} steps are not played."
    else:
        yield f"Nothing more until {instant(foreseen.until)}."
