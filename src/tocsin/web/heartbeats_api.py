"""Heartbeats over HTTP: the check-ins of whoever has the URL, and the list for those who look after them.

A check-in may be a GET, for the smallest tool of the smallest machine can do that; its key stands in the path and opens
nothing else. Paths are not logged, so the key is not either.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from tocsin.app import heartbeats
from tocsin.app.heartbeats import HeartbeatState
from tocsin.app.work import Work
from tocsin.domain.heartbeat import MAX_NOTE_CHARACTERS, MAX_RUN_CHARACTERS, CheckIn, CheckInStatus
from tocsin.domain.incident import Severity
from tocsin.intake import Rejected
from tocsin.intake.check_in import read
from tocsin.web.documents import Body, Document, shown
from tocsin.web.endpoint import Call
from tocsin.web.reading import read_beginning

Run = Annotated[
    str,
    Meta(
        max_length=MAX_RUN_CHARACTERS,
        pattern=r"^[!-~]*$",
        description="The client's own id of the run, the same at its beginning and its end, and a new one for each: "
        "one that has just ended is taken for a repetition, which changes nothing. Needed where runs overlap.",
    ),
]


class CheckInQuery(Body):
    status: CheckInStatus = CheckInStatus.OK
    run: Run = ""


class CheckInAnswer(Document):
    heartbeat: str
    next_due_at: Annotated[datetime | None, Meta(description="When the next check-in is due; null while it is paused.")]


class HeartbeatQuery(Body):
    project: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class HeartbeatDocument(Document):
    project_id: int
    slug: str
    state: HeartbeatState
    schedule: str
    grace_seconds: int
    max_runtime_seconds: int | None
    severity: Severity
    due_at: datetime | None
    failing_since: datetime | None
    last_check_in_at: datetime | None
    check_ins: int
    created_at: datetime


class RefusalDocument(Document):
    project_id: int
    slug: str
    reason: str
    times: int
    first_at: datetime
    last_at: datetime


class HeartbeatListAnswer(Document):
    heartbeats: list[HeartbeatDocument]
    total: Annotated[
        int, Meta(description="How many there are; the list holds the first 1,000, those in trouble first.")
    ]
    refused: Annotated[list[RefusalDocument], Meta(description="Check-ins of Sentry clients that nobody could take.")]


async def check_in(call: Call) -> Response:
    """Take a check-in. The answer comes after the commit."""
    query = call.asked(CheckInQuery)
    # A job that failed with a long log has failed all the same.
    body = await read_beginning(call.request, 4 * MAX_NOTE_CHARACTERS)
    note = heartbeats.checked_note(body.decode("utf-8", "replace"))
    taken = await heartbeats.check_in(call.services.app, call.path("key"), CheckIn(query.status, query.run, note=note))
    answer = CheckInAnswer(taken.heartbeat, taken.next_due_at)
    return Response(msgspec.json.encode(answer), media_type="application/json")


async def take_monitor_check_ins(call: Call, project_id: int, payloads: Sequence[bytes]) -> list[Rejected]:
    """Take the `check_in` items of an envelope; return those that were refused, by their place among them."""
    items = [read(index, payload) for index, payload in enumerate(payloads)]
    taken = await heartbeats.check_in_monitors(call.services.app, project_id, items)
    return [one for one in taken if isinstance(one, Rejected)]


async def list_heartbeats(work: Work, call: Call) -> HeartbeatListAnswer:
    """List the heartbeats of a project, or of all."""
    found = await heartbeats.list_heartbeats(work, call.actor, call.asked(HeartbeatQuery).project)
    return HeartbeatListAnswer(
        [shown(HeartbeatDocument, one) for one in found.heartbeats],
        found.total,
        [shown(RefusalDocument, one) for one in found.refused],
    )
