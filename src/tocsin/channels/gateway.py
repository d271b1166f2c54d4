"""SMS and voice by a gateway of the operator's: one signed POST for each message; docs/reference/gateway.md tells how.

Who sells SMS and calls differs by country and by year. A gateway is thirty lines that know one of them.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from tocsin.channels import Delivered, Message, Outcome, Rejected, Retry, clean_line
from tocsin.channels.http import Answer, GuardedHttp, mendable, signed_headers

MAX_SMS_CHARACTERS = 320
MAX_SPOKEN_CHARACTERS = 600
_SPOKEN_TITLE_CHARACTERS = 200

# What the gateway says of this message. All other refusals are about the gateway itself, which the operator mends.
_FINAL = frozenset({400, 410, 413, 422})
_LONG_NUMBER = re.compile(r"[0-9]{4,}", re.ASCII)


class Kind(StrEnum):
    """How the gateway is to reach somebody; also the names of the channels."""

    SMS = "sms"
    VOICE = "voice"


class GatewayChannel:
    """Sends notifications to phone numbers (E.164) by the gateway."""

    def __init__(self, http: GuardedHttp, url: str, key: bytes, kind: Kind) -> None:
        self._http = http
        self._url = url
        self._key = key
        self._kind = kind

    async def send(self, address: str, message: Message) -> Outcome:
        """Hand the message to the gateway; see `Channel.send`. 2xx: it answers for the message from then on."""
        body = msgspec.json.encode(self._request(address, message), order="deterministic")
        answer = await self._http.post(
            self._url, body, signed_headers(message, body, self._key), what=f"{self._kind.value} message"
        )
        if not isinstance(answer, Answer):
            return mendable(answer)
        if 200 <= answer.status < 300:
            return Delivered(str(answer))
        if answer.status in _FINAL:
            return Rejected(f"the gateway refuses it: {answer}")
        return Retry(f"the gateway answers {answer}", answer.retry_after_seconds(message.sent_at))

    def _request(self, address: str, message: Message) -> dict[str, object]:
        text = short_text(message) if self._kind is Kind.SMS else spoken_text(message)
        incident = {"number": message.incident_number, "severity": message.severity, "url": message.url}
        return {
            "id": str(message.notification_id),
            "kind": self._kind.value,
            "to": address,
            "text": text,
            "incident": incident if message.incident_number is not None else None,
        }


def short_text(message: Message) -> str:
    """Return what an SMS says: the subject, and the acknowledge link whole or not at all."""
    link = message.acknowledge_url or message.url
    room = MAX_SMS_CHARACTERS - len(link) - 1
    if not link or room < MAX_SMS_CHARACTERS // 3:
        return clean_line(message.subject, MAX_SMS_CHARACTERS)
    return f"{clean_line(message.subject, room)} {link}"


def spoken_text(message: Message) -> str:
    """Return what a voice says: the incident's number digit by digit, and once more at the end."""
    if message.incident_number is None:
        return clean_line(f"This is Tocsin. {_by_digit(message.subject)}", MAX_SPOKEN_CHARACTERS)
    number = _spelled(str(message.incident_number))
    title = clean_line(message.title, _SPOKEN_TITLE_CHARACTERS)
    sentence = (
        f"This is Tocsin. {message.severity.capitalize()} incident number {number}: {title}. "
        f"I repeat: incident number {number}. Please acknowledge it."
    )
    return clean_line(sentence, MAX_SPOKEN_CHARACTERS)


def _by_digit(text: str) -> str:
    return _LONG_NUMBER.sub(lambda number: _spelled(number[0]), text)


def _spelled(digits: str) -> str:
    return ", ".join(digits)
