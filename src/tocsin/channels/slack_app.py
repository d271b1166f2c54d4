"""Slack by a bot of one's own (chat.postMessage): to a channel or a person, with a button that acknowledges."""

from __future__ import annotations

import msgspec

from tocsin.channels import Delivered, Message, Outcome, Rejected, Retry
from tocsin.channels.http import Answer, GuardedHttp, mendable
from tocsin.channels.slack import content

_MAX_ANSWER_BYTES = 256 * 1024  # Slack repeats the whole message

# What will not change for this message or this address until a person writes another one. Everything else is tried
# again: what passes by itself, and what the operator mends (a token that was revoked, a scope that is missing),
# for the page is still owed then.
_FINAL = frozenset(
    {
        "cannot_dm_bot",
        "channel_not_found",
        "channel_type_not_supported",
        "invalid_arguments",
        "invalid_blocks",
        "invalid_blocks_format",
        "invalid_metadata_format",
        "invalid_metadata_schema",
        "is_archived",
        "is_inactive",
        "messages_tab_disabled",
        "metadata_too_large",
        "msg_blocks_too_long",
        "msg_too_long",
        "no_text",
        "not_in_channel",
        "restricted_action",
        "restricted_action_non_threadable_channel",
        "restricted_action_read_only_channel",
        "user_disabled",
        "user_not_found",
    }
)


class SlackAppChannel:
    """Sends notifications as a Slack bot: the address is the id of a channel or a member."""

    def __init__(self, http: GuardedHttp, api_url: str, token: str, *, interactive: bool) -> None:
        """`interactive`: clicks come back to us, signed, so the button may acknowledge by itself."""
        self._http = http
        self._url = f"{api_url.rstrip('/')}/chat.postMessage"
        self._token = token
        self._interactive = interactive

    async def send(self, address: str, message: Message) -> Outcome:
        """Post the message; see `Channel.send`. `client_msg_id` and the metadata name it on every attempt.

        Slack documents client_msg_id only in errors about duplicates, and not that it drops the second copy: the
        metadata, which is documented, is what a reader recognises one by.
        """
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json; charset=utf-8"}
        body = msgspec.json.encode(self._request(address, message))
        answer = await self._http.post(self._url, body, headers, what="Slack message", answer_bytes=_MAX_ANSWER_BYTES)
        return self._outcome(answer, message) if isinstance(answer, Answer) else mendable(answer)

    def _request(self, address: str, message: Message) -> dict[str, object]:
        notification_id = str(message.notification_id)
        return {
            "channel": address,
            "unfurl_links": False,
            "client_msg_id": notification_id,
            "metadata": {"event_type": "tocsin_page", "event_payload": {"notification_id": notification_id}},
            **content(message, interactive=self._interactive),
        }

    @staticmethod
    def _outcome(answer: Answer, message: Message) -> Outcome:
        said = _read(answer.body) if 200 <= answer.status < 300 else None
        if said is None:
            # Not even a 404 is about the message: it is the address of Slack's API, which the operator set.
            return Retry(f"Slack answers {answer}", answer.retry_after_seconds(message.sent_at))
        if said.ok:
            return Delivered(f"{answer.status} ok {said.channel} {said.ts}")
        if said.error in _FINAL:
            return Rejected(f"Slack refuses the message: {said.error}")
        needed = f" (the scope {said.needed} is missing)" if said.needed else ""
        return Retry(f"Slack answers {said.error}{needed}", answer.retry_after_seconds(message.sent_at))


class _Said(msgspec.Struct):
    """What is read of Slack's answer."""

    ok: bool
    error: str = "no reason"
    needed: str = ""
    channel: str = ""
    ts: str = ""


def _read(body: str) -> _Said | None:
    try:
        return msgspec.json.decode(body, type=_Said)
    except (msgspec.DecodeError, RecursionError):
        return None
