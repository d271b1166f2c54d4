"""Slack's interactions: a click on the button of a message acknowledges. Answered at once; the message follows."""

from __future__ import annotations

from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from starlette.background import BackgroundTask
from starlette.responses import Response

from tocsin.app import slack_clicks
from tocsin.app.slack_clicks import Payload, Reply
from tocsin.errors import Code, TocsinError, refuse
from tocsin.web.endpoint import Call
from tocsin.web.reading import header_of, read_body

SLACK = "slack"
"""The credential in the access log."""
FORM = "application/x-www-form-urlencoded"
MAX_BYTES = 262_144


async def interact(call: Call) -> Response:
    """Take a click. Slack shows a failure for every answer but 200, so refusals go to who clicked as a reply."""
    secret = call.services.app.settings.slack_signing_secret
    if secret is None:
        raise refuse(
            Code.NOT_FOUND,
            f"There is nothing at {call.request.url.path}.",
            "Set TOCSIN_SLACK_SIGNING_SECRET to let Slack call back.",
        )
    body = await read_body(call.request, MAX_BYTES)
    timestamp = header_of(call.request, b"x-slack-request-timestamp") or ""
    signature = header_of(call.request, b"x-slack-signature") or ""
    if not slack_clicks.is_signed(secret.get_secret_value(), timestamp, signature, body, call.services.app.clock()):
        raise refuse(
            Code.UNAUTHORIZED,
            "This is not signed by Slack, or more than five minutes old.",
            "TOCSIN_SLACK_SIGNING_SECRET is the signing secret of your Slack app; compare the clocks.",
        )
    call.exchange.credential = SLACK
    payload = _read(body)
    value = payload.clicked()
    if value is None:
        return Response(status_code=200)
    answer = await _acknowledged(call, payload, value)
    return Response(status_code=200, background=BackgroundTask(slack_clicks.reply, call.services.app.settings, answer))


async def _acknowledged(call: Call, payload: Payload, value: str) -> Reply:
    app = call.services.app
    try:
        notification_id = _page(value)
        async with app.work() as work:
            actor = await slack_clicks.who_clicked(work, payload, notification_id)
        call.exchange.user_id = actor.user_id
        async with app.work() as work:
            return slack_clicks.replaced(payload, await slack_clicks.acknowledge(work, actor, notification_id))
    except TocsinError as error:
        call.exchange.outcome = error.refusal.code.value
        if error.refusal.code is not Code.ALREADY_ACKNOWLEDGED:
            return slack_clicks.told(payload, error)
    async with app.work() as work:
        return slack_clicks.replaced(payload, await slack_clicks.standing_of(work, notification_id))


def _page(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise refuse(Code.NOT_FOUND, "There is no such page any more.") from None


def _read(body: bytes) -> Payload:
    try:
        fields = dict(parse_qsl(body.decode("ascii"), encoding="utf-8", errors="strict", max_num_fields=10))
        return msgspec.json.decode(fields["payload"], type=Payload)
    except (ValueError, KeyError, RecursionError, msgspec.DecodeError):
        raise refuse(
            Code.MALFORMED, "This is no interaction of Slack's.", "The form's field `payload` holds JSON with `user`."
        ) from None
