"""Push to phones by ntfy (docs.ntfy.sh/publish): published as JSON at the root of the topic's server."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from tocsin.channels import Message, Outcome, Rejected, clean_line
from tocsin.channels.http import Answer, GuardedHttp, outcome_of

MAX_MESSAGE_BYTES = 3800
"""ntfy turns a message of more than 4,096 bytes into an attached file, which nobody reads on a lock screen."""
_TITLE_CHARACTERS = 200
_PRIORITIES = {"CRITICAL": 5, "HIGH": 4, "MEDIUM": 3, "LOW": 2}
_TAGS = {"CRITICAL": "rotating_light", "HIGH": "warning", "MEDIUM": "large_orange_diamond", "LOW": "bell"}


@dataclass(frozen=True, slots=True)
class Topic:
    """Where a topic is published, and with which Authorization."""

    root: str
    name: str
    authorization: str | None

    @classmethod
    def of(cls, address: str) -> Topic | None:
        """Read `https://[USER:PASSWORD@ or TOKEN@]HOST/TOPIC[?auth=…]`; None if it is none of it."""
        try:
            parts = urlsplit(address)
            user, password = unquote(parts.username or ""), unquote(parts.password or "")
        except ValueError:
            return None
        path, _, name = parts.path.rpartition("/")
        if not name:
            return None
        authorization = _authorization(user, password) or _decoded(parse_qs(parts.query).get("auth", [""])[0])
        return cls(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}/", name, authorization)


class NtfyChannel:
    """Sends notifications to ntfy topics."""

    def __init__(self, http: GuardedHttp) -> None:
        self._http = http

    async def send(self, address: str, message: Message) -> Outcome:
        """Publish the message; see `Channel.send` and `outcome_of`.

        401 and 403 are final like other refusals: the token is a part of the address.
        """
        topic = Topic.of(address)
        if topic is None:
            return Rejected("ntfy message not sent: its address is not an ntfy topic's URL")
        headers = {"Authorization": topic.authorization} if topic.authorization else {}
        answer = await self._http.post(topic.root, _body(topic, message), headers, what="ntfy message")
        return outcome_of(answer, message.sent_at) if isinstance(answer, Answer) else answer


def _body(topic: Topic, message: Message) -> bytes:
    document: dict[str, object] = {
        "topic": topic.name,
        "title": clean_line(message.subject, _TITLE_CHARACTERS),
        "message": _cut(message.text),
        "priority": _PRIORITIES.get(message.severity, 3),
        "tags": [_TAGS.get(message.severity, "bell")],
        # From ntfy 2.16 on a second copy with the same id takes the place of the first; older servers ignore it.
        "sequence_id": str(message.notification_id),
    }
    if message.url:
        document["click"] = message.url
    if message.acknowledge_url:
        document["actions"] = [
            {"action": "view", "label": "Acknowledge", "url": message.acknowledge_url, "clear": True}
        ]
    return msgspec.json.encode(document)


def _cut(text: str) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return text
    return encoded[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore") + "…"


def _authorization(user: str, password: str) -> str | None:
    if user and password:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    token = user or password
    return f"Bearer {token}" if token and token.isascii() and token.isprintable() else None


def _decoded(auth: str) -> str | None:
    """Return the Authorization header that ntfy's `auth` parameter encodes: Base64 for URLs, padded or not.

    Sent as a header, for what is in a URL ends up in logs.
    """
    try:
        header = base64.b64decode(auth.rstrip("=") + "=" * (-len(auth.rstrip("=")) % 4), altchars=b"-_").decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return header if header.isprintable() and header.startswith(("Basic ", "Bearer ")) else None
