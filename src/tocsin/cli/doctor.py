"""`tocsin doctor`: what is wrong or risky here, and what to do about it. It gathers the facts; `checks` judges them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import typer

from tocsin import bootstrap
from tocsin.app import schema
from tocsin.app.inspection import inspect
from tocsin.cli.checks import CHECKS, Facts, Finding, Level
from tocsin.cli.options import JsonOption, call_of
from tocsin.cli.output import Call, one_line
from tocsin.cli.running import database, run
from tocsin.domain.plural import number_of
from tocsin.errors import TocsinError
from tocsin.settings import Settings, load_settings

SMTP_SECONDS = 5.0
_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


def doctor(context: typer.Context, _json: JsonOption = False) -> None:
    """Say what is wrong or risky here.

    Each finding says what to do about it. Exit 1 if anything is wrong.

    \b
    Example:
      tocsin doctor

    Next: do what stands behind the arrows, and run it again.
    """
    call = call_of(context)
    findings = run(_examine(call))
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    document = {"healthy": not counts[Level.PROBLEM], "findings": findings}
    call.answer(document, lambda: _tell(call, findings, counts))
    if counts[Level.PROBLEM]:
        raise typer.Exit(1)


def _tell(call: Call, findings: list[Finding], counts: dict[Level, int]) -> None:
    for finding in findings:
        call.say_marked(f"{finding.level.value:<8}", _STYLES[finding.level], one_line(finding.message))
        if finding.level is not Level.OK and finding.hint:
            call.say(f"         → {one_line(finding.hint)}")
    call.say("", f"{number_of(counts[Level.PROBLEM], 'problem')}, {number_of(counts[Level.WARNING], 'warning')}.")


async def _examine(call: Call) -> list[Finding]:
    try:
        settings = load_settings()
    except TocsinError as error:
        return [Finding("settings", Level.PROBLEM, error.refusal.message, error.refusal.hint)]
    facts = await _facts_of_mail(Facts(settings, free_bytes=_free_bytes(settings)))
    try:
        facts = await _facts_of_database(call, facts)
    except TocsinError as error:
        facts = replace(facts, unreachable=error.refusal)
    return [finding for check in CHECKS for finding in check(facts)]


async def _facts_of_database(call: Call, facts: Facts) -> Facts:
    async with database(call, facts.settings) as sources:
        if pending := await schema.pending(sources.application):
            return replace(facts, pending=tuple(pending))
        async with bootstrap.wired(sources, facts.settings) as app:
            return replace(facts, inspection=await inspect(app))


async def _facts_of_mail(facts: Facts) -> Facts:
    settings = facts.settings
    if not settings.smtp_host:
        return facts
    import aiosmtplib  # noqa: PLC0415  # only this check needs it

    client = aiosmtplib.SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        use_tls=settings.smtp_security == "tls",
        start_tls=settings.smtp_security == "starttls",
        timeout=SMTP_SECONDS,
    )
    try:
        await client.connect()
        answer = await client.ehlo()
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        return replace(facts, smtp_fault=str(error) or type(error).__name__)
    finally:
        client.close()
    return replace(facts, smtp_answer=f"{answer.code} {answer.message.splitlines()[0] if answer.message else ''}")


def _free_bytes(settings: Settings) -> int | None:
    if settings.database_url is not None:
        return None
    place: Path = settings.data_dir.expanduser().resolve()
    existing = next(parent for parent in (place, *place.parents) if parent.exists())
    return shutil.disk_usage(existing).free
