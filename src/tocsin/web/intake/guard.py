"""What the session guards of reporting applications ask: does a critical incident block sessions now?"""

from __future__ import annotations

import hashlib

import msgspec
from starlette.responses import Response

from tocsin.app.session_blocks import blocking_incident
from tocsin.domain.incident import Severity
from tocsin.web.documents import BlockingDocument, SessionBlockAnswer
from tocsin.web.endpoint import Call
from tocsin.web.intake.door import key_of, project_of


async def session_block(call: Call) -> Response:
    """Say whether sessions are blocked; 304 when that is what the guard knows already."""
    await project_of(call, key_of(call.request))
    async with call.services.app.work() as work:
        block = await blocking_incident(work)
    incident = BlockingDocument(block.number, Severity.CRITICAL, block.since) if block else None
    body = msgspec.json.encode(SessionBlockAnswer(incident is not None, incident))
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if call.request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")
