"""`tocsin export` and `tocsin verify FILE`: evidence out, evidence checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tocsin.app.acting import acting
from tocsin.app.export_evidence import export_vouched_evidence
from tocsin.app.timeline import IncidentRef
from tocsin.cli.files import hand_out
from tocsin.cli.options import AsOption, IncidentArgument, JsonOption, call_of, incident_ref
from tocsin.cli.output import Call, one_line, styled
from tocsin.cli.running import application, record, run, text_of
from tocsin.errors import Code, refuse
from tocsin.evidence import EvidenceError
from tocsin.evidence.bundle import MAX_BUNDLE_BYTES, parse_bundle
from tocsin.evidence.policy import MAX_POLICY_BYTES, parse_policy
from tocsin.evidence.texts import TextState
from tocsin.evidence.verdict import Report
from tocsin.evidence.verify import verify

STDIN = "-"
MAX_TEXTS_SHOWN = 100
MAX_TEXT_CHARACTERS = 300


def export(
    context: typer.Context,
    incident: IncidentArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; without it, to stdout.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, max=300, metavar="SECONDS", help="For witnesses and time stamps, if configured.")
    ] = 10.0,
    without_texts: Annotated[
        bool, typer.Option("--without-texts", help="Leave out what people wrote; the rest is proven all the same.")
    ] = False,
    _json: JsonOption = False,
    _as: AsOption = None,
) -> None:
    """Write the evidence of an incident.

    It is one JSON file that others can check without this server. In it are all entries and what they name, byte for
    byte, the texts that these commit to, their proofs in the log, and who vouches for the log.

    \b
    Example:
      tocsin export 42 --output inc-42.json
      tocsin export 42 --without-texts --output inc-42.json

    Next: give it to whoever asks, with docs/explanation/checking-evidence.md; `tocsin verify FILE --policy P`.
    """
    call = call_of(context)
    data = run(_export(call, incident_ref(incident), wait, with_texts=not without_texts))
    hand_out(call, data, output, f" Check it: tocsin verify {output}")


async def _export(call: Call, ref: IncidentRef, seconds: float, *, with_texts: bool) -> bytes:
    async with application(call) as app:
        async with app.work() as work:
            actor = await acting(work, call.actor_email)
            await record(work, actor, "incidents.export", text_of(ref), 0, "OK")
        return await export_vouched_evidence(app, actor, ref, seconds, with_texts=with_texts)


def verify_file(call: Call, file: str, policy: Path | None) -> bool:
    """Verify a bundle and say what it proves; return whether that is everything that the policy asks for."""
    data = _read(0 if file == STDIN else file, file, MAX_BUNDLE_BYTES)
    rules = _read(policy, str(policy), MAX_POLICY_BYTES) if policy is not None else None
    try:
        trusted = parse_policy(rules) if rules is not None else None
    except EvidenceError as error:
        hint = "Write it as docs/reference/evidence-bundle.md describes a policy; it is another file than the evidence."
        raise refuse(Code.INVALID, f"{policy} is no policy: {error}.", hint) from None
    try:
        report = verify(parse_bundle(data), trusted)
    except EvidenceError as error:
        hint = "Ask for the file again, on another way; if it stays so, the record was tampered with."
        raise refuse(Code.INVALID, f"BROKEN: {file} proves nothing: {error}.", hint) from None
    call.answer(_document(report), lambda: _tell(call, report))
    return report.proven


def _read(source: str | Path | int, name: str, most: int) -> bytes:
    try:
        with open(source, "rb", closefd=not isinstance(source, int)) as opened:
            data = opened.read(most + 1)
    except OSError as error:
        raise refuse(Code.INVALID, f"Cannot read {name}: {error.strerror}.", "Name a file that is there.") from None
    if len(data) > most:
        raise refuse(Code.TOO_LARGE, f"{name} has more than {most:,} bytes.", "No bundle and no policy is as large.")
    return data


def _document(report: Report) -> dict[str, object]:
    return {
        "proven": report.proven,
        "headline": report.headline,
        "origin": report.origin,
        "incident": report.number,
        "entries": report.entries,
        "checkpointSize": report.size,
        "shown": report.shown,
        "missing": report.missing,
        "texts": report.texts,
        "aboutTexts": report.about_texts,
        "neverProven": report.never,
    }


def _tell(call: Call, report: Report) -> None:
    call.say(styled(report.headline, "bold green" if report.proven else "bold yellow"), "", "What holds:")
    call.say(*(f"  {line}" for line in report.shown))
    if report.missing:
        call.say("", "What is missing:" if not report.proven else "What could be stronger:")
        call.say(*(f"  {line}" for line in report.missing))
    if report.texts:
        call.say("", "What people wrote:", *(f"  {line}" for line in report.about_texts), *_disclosed(report))
    call.say("", "What no file can prove:", *(f"  {line}" for line in report.never))


def _disclosed(report: Report) -> Iterator[str]:
    """Yield the texts that are disclosed, a line each."""
    texts = [text for text in report.texts if text.state is TextState.DISCLOSED]
    for text in texts[:MAX_TEXTS_SHOWN]:
        said = one_line(_plain(text.value))
        more = "…" if len(said) > MAX_TEXT_CHARACTERS else ""
        yield f"    entry {text.entry} ({text.kind}) {text.name}: {said[:MAX_TEXT_CHARACTERS]}{more}"
    if len(texts) > MAX_TEXTS_SHOWN:
        yield f"    … {len(texts) - MAX_TEXTS_SHOWN:,} more; --json has them all"


def _plain(value: object) -> str:
    """Return what a text says, be it text or JSON, as people read it."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items() if item is not None)
    return "; ".join(map(_plain, value)) if isinstance(value, list) else str(value)
