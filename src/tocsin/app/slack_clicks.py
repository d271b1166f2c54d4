"""Clicks on the button of a Slack message: whoever clicks acknowledges in their own name, and the message says so.

Slack signs what it sends (docs.slack.dev, "Verifying requests from Slack"); that it was Slack is all that the signature
proves. Who clicked is a user id of Slack's, and must be somebody whom Tocsin reaches under that id.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog

from tocsin.address_guard import AddressGuard
from tocsin.app import respond
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Role
from tocsin.domain.workflow import Acknowledge
from tocsin.errors import Code, TocsinError, refuse
from tocsin.outside import OutsideError
from tocsin.outside.http import Http
from tocsin.settings import Settings
from tocsin.store import incidents, notifications

log = structlog.get_logger()

ACKNOWLEDGE = "acknowledge"
"""The action_id of the button."""
NOTES = "On it (from Slack)."
REPLIES_TO = "https://hooks.slack.com/"
"""Whatever a payload claims, answers go to Slack alone."""
REPLY_SECONDS = 10.0
MAX_AGE_SECONDS = 300
MAX_BLOCKS = 50
_VERSION = "v0"
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


class Clicker(msgspec.Struct):
    """Who clicked."""

    id: str


class Action(msgspec.Struct):
    """What was clicked."""

    action_id: str
    value: str = ""


class Original(msgspec.Struct):
    """The message in which it was."""

    blocks: list[dict[str, Any]] = []


class Payload(msgspec.Struct):
    """What Slack sends of a click (block_actions), as far as it matters here."""

    user: Clicker
    actions: list[Action] = []
    response_url: str = ""
    message: Original = msgspec.field(default_factory=Original)

    def clicked(self) -> str | None:
        """Return the value of the button that acknowledges; None if it was another one that was clicked."""
        return next((action.value for action in self.actions if action.action_id == ACKNOWLEDGE), None)


@dataclass(frozen=True, slots=True)
class Reply:
    """What Slack is told, and where it wants to hear it."""

    response_url: str
    body: dict[str, object]


def is_signed(secret: str, timestamp: str, signature: str, body: bytes, now: datetime) -> bool:
    """Tell whether Slack sent this, within the last five minutes."""
    if not _TIMESTAMP.fullmatch(timestamp) or abs(now.timestamp() - int(timestamp)) > MAX_AGE_SECONDS:
        return False
    signed = b"%s:%s:%s" % (_VERSION.encode(), timestamp.encode(), body)
    expected = f"{_VERSION}={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


async def who_clicked(work: Work, payload: Payload, notification_id: UUID) -> Actor:
    """Return who clicked; raise FORBIDDEN when nobody is reached under that Slack id."""
    found = await notifications.slack_user(work.tx, notification_id, payload.user.id)
    if found is None:
        raise refuse(
            Code.FORBIDDEN,
            "Tocsin does not know who you are in Slack.",
            "Add and verify your Slack user id as a contact method: `tocsin users contact add EMAIL slack_app ID`.",
        )
    return Actor(found.id, found.name, Role(found.role))


async def acknowledge(work: Work, actor: Actor, notification_id: UUID) -> str:
    """Acknowledge the incident of a page in somebody's name; return what came of it, in one line."""
    link = await notifications.link(work.tx, notification_id)
    if link is None:
        raise refuse(Code.NOT_FOUND, "There is no such page any more.")
    taken = await respond.acknowledge(work, actor, link.incident_id, Acknowledge(NOTES))
    return f"INC-{taken.head.number}: acknowledged by {actor.name}, {work.now:%Y-%m-%d %H:%M:%S} UTC."


async def standing_of(work: Work, notification_id: UUID) -> str:
    """Return who has the incident of a page, in one line."""
    link = await notifications.link(work.tx, notification_id)
    incident = await incidents.get(work.tx, link.incident_id) if link else None
    if incident is None or incident.acknowledged_at is None:
        return "There is nothing to acknowledge."
    who = incident.acknowledged_by_name or "somebody"
    return f"INC-{incident.number}: {who} has it, since {incident.acknowledged_at:%Y-%m-%d %H:%M:%S} UTC."


def replaced(payload: Payload, said: str) -> Reply:
    """Return the original message without its buttons, and with what came of the click."""
    kept = [block for block in payload.message.blocks[: MAX_BLOCKS - 1] if block.get("type") != "actions"]
    line = {"type": "section", "text": {"type": "plain_text", "text": said}}
    return Reply(payload.response_url, {"replace_original": True, "text": _literally(said), "blocks": [*kept, line]})


def told(payload: Payload, error: TocsinError) -> Reply:
    """Return what only who clicked is told: why it was not done."""
    said = f"{error.refusal.message} {error.refusal.hint}".strip()
    body: dict[str, object] = {"replace_original": False, "response_type": "ephemeral", "text": _literally(said)}
    return Reply(payload.response_url, body)


def _literally(text: str) -> str:
    """Return text that mrkdwn takes literally."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def reply(settings: Settings, answer: Reply) -> None:
    """Tell Slack, if it is Slack that wants to hear it. That it did not arrive is logged: what was done is done."""
    if not answer.response_url.startswith(REPLIES_TO):
        log.warning("slack.no_reply", reason=f"response_url does not begin with {REPLIES_TO}")
        return
    guard = AddressGuard(settings.webhook_allowed_networks)
    try:
        async with Http(guard, timeout_seconds=REPLY_SECONDS) as http:
            headers = {"Content-Type": "application/json; charset=utf-8"}
            answered = await http.ask("POST", answer.response_url, msgspec.json.encode(answer.body), headers)
    except OutsideError as error:
        log.error("slack.reply_failed", reason=str(error))
        return
    if not 200 <= answered.status < 300:
        log.error("slack.reply_failed", reason=answered.said())
