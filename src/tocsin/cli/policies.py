"""`tocsin policies …`: when it gets louder, and towards whom."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from tocsin.app import accounts
from tocsin.app.work import Work
from tocsin.cli.options import AsOption, JsonOption, call_of, duration, duration_text
from tocsin.cli.running import act
from tocsin.domain.access import Actor
from tocsin.domain.escalation import DEFAULT_RULES, EscalationRule
from tocsin.domain.incident import EscalationReason
from tocsin.domain.policy import Duty

TimedReason = Enum("TimedReason", {rule.reason.value: rule.reason.value for rule in DEFAULT_RULES})  # type: ignore[misc]  # made of the domain's list
"""The reasons that fire by the clock; the others have no rule to change."""

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""When it gets louder.

    The escalation rules: after how long without an answer whom to page.

    \b
    Example:
      tocsin policies set NO_ACK_1HR --after 30m --duty ON_CALL

    Next: `tocsin oncall show` tells who holds the duties.
    """,
)


@commands.command("list")
def list_(context: typer.Context, _as: AsOption = None, _json: JsonOption = False) -> None:
    """List the rules in force. The first alert goes to the on-call at once and has no rule.

    \b
    Example:
      tocsin policies list

    Next: `tocsin policies set REASON --after DURATION --duty DUTY`.
    """
    call = call_of(context)
    rules = act(call, "policies list", "", accounts.list_rules)
    rows = [(rule.reason.value, duration_text(rule.after), rule.duty.value) for rule in rules]
    call.answer({"rules": [_document(rule) for rule in rules]}, lambda: call.table(("REASON", "AFTER", "PAGES"), rows))


@commands.command("set")
def set_(
    context: typer.Context,
    reason: Annotated[TimedReason, typer.Argument(case_sensitive=False, help="Which rule.")],
    after: Annotated[str, typer.Option(metavar="DURATION", help="30s, 15m, 2h, 1d, or 1h30m.")],
    duty: Annotated[Duty, typer.Option(case_sensitive=False, help="Whom it pages.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Change when a rule fires and whom it pages. Open incidents follow at the next sweep, within five minutes.

    \b
    Example:
      tocsin policies set NO_ACK_1HR --after 30m --duty ON_CALL

    Next: `tocsin policies list`.
    """
    call, delay = call_of(context), duration(after)

    async def operate(work: Work, actor: Actor) -> EscalationRule:
        return await accounts.set_rule(work, actor, EscalationReason(reason.value), after=delay, duty=duty)

    rule = act(call, "policies set", f"{reason.value} {after} {duty.value}", operate)
    words = f"{rule.reason.value} pages {rule.duty.value} after {duration_text(rule.after)}."
    call.answer({"rule": _document(rule)}, lambda: call.say(words))


def _document(rule: EscalationRule) -> dict[str, object]:
    return {"reason": rule.reason, "afterSeconds": int(rule.after.total_seconds()), "duty": rule.duty}
