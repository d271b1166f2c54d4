"""`tocsin oncall forecast`: when in the days to come a step of a policy reaches nobody."""

from __future__ import annotations

from typing import Annotated

import typer

from tocsin.app.coverage import Forecast, Thin, forecast
from tocsin.cli.options import AsOption, JsonOption, call_of
from tocsin.cli.output import Call, instant
from tocsin.cli.running import act
from tocsin.domain.coverage import DEFAULT_DAYS, MAX_DAYS
from tocsin.domain.plural import number_of
from tocsin.domain.policy_document import delay_text

DaysOption = Annotated[int, typer.Option(min=1, max=MAX_DAYS, help="How far to look.")]


def forecast_command(
    context: typer.Context, days: DaysOption = DEFAULT_DAYS, _as: AsOption = None, _json: JsonOption = False
) -> None:
    """Tell when in the days to come a step reaches nobody.

    Every policy that an incident may follow is looked at. UNVERIFIED is a step that reaches people only over contact
    methods that nobody verified. Below stands who may be paged and is hard to reach.

    \b
    Example:
      tocsin oncall forecast --days 30

    Next: `tocsin schedules override add` fills a gap; `tocsin users contact verify` verifies a contact method.
    """
    call = call_of(context)
    found = act(call, "oncall forecast", str(days), lambda work, actor: forecast(work, actor, days))
    call.answer(found, lambda: _tell(call, found))


def _tell(call: Call, found: Forecast) -> None:
    if found.weaknesses:
        call.table(("FROM", "UNTIL", "POLICY", "STEP", "REACHES", "WHY"), [_row(one) for one in found.weaknesses])
    else:
        names = number_of(len(found.policies), "policy", "policies")
        call.say(f"Every step of {names} reaches somebody until {instant(found.ends_at)}.")
    if found.people:
        call.say("")
        call.table(("WHO", "HARD TO REACH"), [(one.name, one.problem) for one in found.people])


def _row(one: Thin) -> tuple[str, ...]:
    step = f"{one.reason} after {delay_text(one.after)}" if one.after else str(one.reason)
    return (instant(one.starts_at), instant(one.ends_at), one.policy, step, one.reached, one.why)
