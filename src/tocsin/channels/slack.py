"""Slack's incoming webhooks, and the blocks that its messages are made of (Block Kit).

Everything that a report's author may have written is plain text here: mrkdwn would let it mention a whole channel.
"""

from __future__ import annotations

import msgspec

from tocsin.channels import Message, Outcome, clean_line
from tocsin.channels.http import Answer, GuardedHttp, outcome_of

ACKNOWLEDGE = "acknowledge"
"""The action_id of the button that Slack sends back to us when it is clicked."""

# Block Kit's own limits; what exceeds one makes Slack refuse the whole message as invalid_blocks.
_HEADER_CHARACTERS = 150
_SECTION_CHARACTERS = 3000
_URL_CHARACTERS = 3000
_FALLBACK_CHARACTERS = 300

_SIGNS = {"CRITICAL": ":rotating_light:", "HIGH": ":warning:", "MEDIUM": ":large_yellow_circle:", "LOW": ":bell:"}


class SlackChannel:
    """Sends notifications to Slack's incoming webhooks: the address is the webhook's URL."""

    def __init__(self, http: GuardedHttp) -> None:
        self._http = http

    async def send(self, address: str, message: Message) -> Outcome:
        """POST the message to the webhook; see `Channel.send` and `outcome_of`.

        Slack answers 200 `ok`, 429 with Retry-After, and 400, 403, 404 or 410 with a word (no_service,
        channel_is_archived, invalid_payload) for what will not change by itself.
        """
        body = msgspec.json.encode(content(message))
        answer = await self._http.post(address, body, {}, what="Slack message")
        return outcome_of(answer, message.sent_at) if isinstance(answer, Answer) else answer


def content(message: Message, *, interactive: bool = False) -> dict[str, object]:
    """Return `text` (what a phone's notification shows) and `blocks` of a message.

    `interactive`: a click on Acknowledge comes back to us; else the button opens the acknowledge link.
    """
    header = f"{_SIGNS.get(message.severity, ':bell:')} {message.subject}"
    blocks: list[dict[str, object]] = [
        {"type": "header", "text": _plain(clean_line(header, _HEADER_CHARACTERS))},
        *_facts(message),
        {"type": "section", "text": _plain(_cut(message.text, _SECTION_CHARACTERS) or "…")},
    ]
    buttons = _buttons(message, interactive=interactive)
    if buttons:
        blocks.append({"type": "actions", "elements": buttons})
    return {"text": _escaped(clean_line(message.subject, _FALLBACK_CHARACTERS)), "blocks": blocks}


def _facts(message: Message) -> list[dict[str, object]]:
    if message.incident_number is None:
        return []
    words = [f"Severity: {message.severity}", f"INC-{message.incident_number}"]
    return [{"type": "section", "fields": [_plain(word) for word in words]}]


def _buttons(message: Message, *, interactive: bool) -> list[dict[str, object]]:
    buttons: list[dict[str, object]] = []
    if interactive and message.incident_number is not None:
        identity = {"action_id": ACKNOWLEDGE, "value": str(message.notification_id)}
        buttons.append(_button("Acknowledge") | identity | {"style": "primary"})
    elif 0 < len(message.acknowledge_url) <= _URL_CHARACTERS:
        opens = {"action_id": "acknowledge_link", "url": message.acknowledge_url}
        buttons.append(_button("Acknowledge") | opens | {"style": "primary"})
    if 0 < len(message.url) <= _URL_CHARACTERS:
        buttons.append(_button("Open") | {"action_id": "open_link", "url": message.url})
    return buttons


def _button(text: str) -> dict[str, object]:
    return {"type": "button", "text": _plain(text)}


def _plain(text: str) -> dict[str, object]:
    return {"type": "plain_text", "text": text, "emoji": True}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _escaped(text: str) -> str:
    """Return text that mrkdwn takes literally: three characters start everything that Slack would act on."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
