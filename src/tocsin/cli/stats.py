"""`tocsin stats`: what incidents teach together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec
import typer

from tocsin.app import learning
from tocsin.app.learning import DEFAULT_WEEKS, MAX_WEEKS, Learned, Response
from tocsin.cli.options import AsOption, JsonOption, call_of
from tocsin.cli.output import Call, age, instant
from tocsin.cli.running import act
from tocsin.domain.disclosure import ERASED
from tocsin.web.learning_api import answer


def stats(
    context: typer.Context,
    weeks: Annotated[
        int, typer.Option(min=1, max=MAX_WEEKS, help="How many weeks, the present one among them.")
    ] = DEFAULT_WEEKS,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Show how long answers and repairs take, and what comes back.

    Counted every 5 minutes by a worker; a median is exact to 2.5 %. By week: with --json.

    \b
    Example:
      tocsin stats --weeks 4

    Next: `tocsin follow-ups list --overdue` shows what was promised against it.
    """
    call = call_of(context)
    found = act(call, "stats", str(weeks), lambda work, actor: learning.learned(work, actor, weeks))
    call.answer(msgspec.json.decode(msgspec.json.encode(answer(found))), lambda: _tell(call, found))


def _tell(call: Call, found: Learned) -> None:
    if found.counted_at is None:
        call.note("Nothing is counted yet: a worker does so every 5 minutes. `tocsin up` and `tocsin worker` are ones.")
        return
    headers = ("TIME TO", "OF", "NUMBER", "MEDIAN", "P90", "MEAN")
    call.table(headers, [*_rows(found)])
    causes = [(category, f"{number:,}") for category, number in found.causes.items() if number]
    if causes:
        call.say("")
        call.table(("ROOT CAUSE", "NUMBER"), causes)
    if found.recurring:
        call.say("")
        rows = [(f"{one.times:,}", f"INC-{one.number}", one.status, one.title or ERASED) for one in found.recurring]
        call.table(("CAME BACK", "LATEST", "STATUS", "FAILURE"), rows)
    call.note(f"Since {found.since}, counted at {instant(found.counted_at)}.")


def _rows(found: Learned) -> Iterable[tuple[str, ...]]:
    for what, whole, parts in (
        ("acknowledge", found.acknowledged, (found.acknowledged_by_severity, found.acknowledged_by_service)),
        ("resolve", found.resolved, (found.resolved_by_severity, found.resolved_by_service)),
    ):
        if whole is not None:
            yield _row(what, "all", whole)
        for by_name in parts:
            yield from (_row(what, one.name or "(no service)", one) for one in by_name)


def _row(what: str, name: str, one: Response) -> tuple[str, ...]:
    return (what, name, f"{one.number:,}", age(one.median), age(one.p90), age(one.mean))
