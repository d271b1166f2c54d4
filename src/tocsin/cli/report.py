"""`tocsin report`: an error from a shell, straight into the database or over HTTP with a project's key."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import typer

from tocsin import clock, ids
from tocsin.app.report_locally import report_locally
from tocsin.cli.options import JsonOption, WrongUsageError, call_of
from tocsin.cli.output import Call
from tocsin.cli.running import application, run
from tocsin.domain.arrival import Arrival
from tocsin.domain.deduplication import Outcome
from tocsin.domain.incident import Severity
from tocsin.errors import Code, Refusal, TocsinError, refuse
from tocsin.intake import Rejected, native

MAX_INPUT_BYTES = 20_000_000
HTTP_SECONDS = 30.0
MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one report. `incident` names the incident that it opened or joined."""

    index: int
    outcome: str
    event_id: str | None = None
    incident: str | None = None
    reason: str | None = None


REJECTED = "rejected"


def report(
    context: typer.Context,
    severity: Annotated[Severity | None, typer.Option(case_sensitive=False, help="How bad it is.")] = None,
    error_type: Annotated[
        str | None, typer.Option("--type", help="The kind of error, as a program would name it.")
    ] = None,
    message: Annotated[str | None, typer.Option(help="What went wrong.")] = None,
    service: Annotated[str, typer.Option(help="Which service it happened in.")] = "",
    environment: Annotated[str, typer.Option(help="Such as production.")] = "",
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag; give it once for each.")] = None,
    project: Annotated[int, typer.Option(min=1, max=MAX_ID, help="The project, when it goes to the database.")] = 1,
    url: Annotated[
        str | None, typer.Option(help="Send it to this server instead of the database; needs --key.")
    ] = None,
    key: Annotated[str | None, typer.Option(envvar="TOCSIN_KEY", help="The project's intake key, for --url.")] = None,
    _json: JsonOption = False,
) -> None:
    """Report an error from a shell.

    By options, or as JSON on standard input (an object, an array, or one per line). HIGH and CRITICAL errors open
    an incident, or join the one of the same failure. Exit 1 if any was rejected.

    \b
    Example:
      tocsin report --severity HIGH --type BackupFailed --message "disk full on db-1" --tag host=db-1
      tocsin report --url https://tocsin.example.org --key $KEY < errors.ndjson

    Next: `tocsin incidents list --open`.
    """
    call = call_of(context)
    body = _body(severity, error_type, message, service, environment, tag)
    told = _send(url, key, body) if url else run(_record(call, project, body))
    call.answer({"reports": told}, lambda: _tell(call, told))
    if any(one.outcome == REJECTED for one in told):
        raise typer.Exit(1)


def _body(
    severity: Severity | None,
    error_type: str | None,
    message: str | None,
    service: str,
    environment: str,
    tag: Sequence[str] | None,
) -> bytes:
    if severity is None and error_type is None and message is None:
        return _standard_input()
    if severity is None or not (error_type or message):
        raise WrongUsageError("A report needs --severity, and --type or --message (or both).")
    parts: dict[str, object] = {"severity": severity.value, "platform": "shell", "tags": _tags(tag)}
    texts = {"type": error_type, "message": message, "service": service, "environment": environment}
    return msgspec.json.encode(parts | {name: text for name, text in texts.items() if text})


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        raise WrongUsageError("Say what to report: --severity, --type, --message; or JSON on standard input.")
    body = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    if len(body) > MAX_INPUT_BYTES:
        raise refuse(
            Code.TOO_LARGE,
            f"More than {MAX_INPUT_BYTES:,} bytes came in.",
            "Send it in several calls, such as `split -l`.",
        )
    return body


def _tags(given: Sequence[str] | None) -> dict[str, str]:
    tags = {}
    for item in given or ():
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise WrongUsageError(f"--tag {item!r} is not KEY=VALUE.")
        tags[name] = value
    return tags


async def _record(call: Call, project: int, body: bytes) -> list[Told]:
    items = native.parse(body, "", received_at=clock.system_clock(), new_event_id=lambda: ids.new_id().hex)
    reports = [item.whole() for item in items if isinstance(item, Arrival)]
    async with application(call) as app:
        taken = iter(await report_locally(app, project, reports))
    told = []
    for index, item in enumerate(items):
        if isinstance(item, Rejected):
            told.append(Told(index, REJECTED, reason=item.reason))
            continue
        one = next(taken)
        incident = f"INC-{one.incident_number}" if one.incident_number is not None else None
        told.append(Told(index, one.outcome.value, one.event_id, incident))
    return told


def _send(url: str, key: str | None, body: bytes) -> list[Told]:
    if not key:
        raise WrongUsageError("Sending to a server needs the project's key: --key, or TOCSIN_KEY.")
    return run(_post(url.rstrip("/"), key, body))


async def _post(url: str, key: str, body: bytes) -> list[Told]:
    import aiohttp  # noqa: PLC0415  # a third of a second that only this way of reporting needs

    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=HTTP_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{url}/api/v1/errors", data=body, headers=headers, allow_redirects=False) as response,
        ):
            return _answered(url, response.status, await response.read())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise refuse(
            Code.UNAVAILABLE,
            f"{url} cannot be reached: {str(error) or type(error).__name__}.",
            "Nothing may have been recorded; check --url and try again.",
        ) from None


def _answered(url: str, status: int, body: bytes) -> list[Told]:
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        answer = None
    if status >= 300 or not isinstance(answer, dict):
        raise _refused(url, status, answer)
    rejected = [Told(item["index"], REJECTED, reason=item["reason"]) for item in answer["rejected"]]
    places = (
        index for index in range(len(answer["accepted"]) + len(rejected)) if index not in {r.index for r in rejected}
    )
    accepted = [
        Told(index, Outcome(item["outcome"]).value, item["eventId"], item["incidentId"])
        for index, item in zip(places, answer["accepted"], strict=True)
    ]
    return sorted([*accepted, *rejected], key=lambda one: one.index)


def _refused(url: str, status: int, problem: object) -> TocsinError:
    if isinstance(problem, dict) and problem.get("code") in {code.value for code in Code}:
        return TocsinError(Refusal(Code(problem["code"]), str(problem.get("detail", "")), str(problem.get("hint", ""))))
    return refuse(Code.UNAVAILABLE, f"{url} answers {status}, and not as a Tocsin does.", "Check --url.")


def _tell(call: Call, told: Sequence[Told]) -> None:
    for one in told:
        if one.outcome == REJECTED:
            call.note(f"rejected report {one.index + 1}: {one.reason}")
        else:
            call.say(f"{one.outcome} {one.incident or one.event_id}")
