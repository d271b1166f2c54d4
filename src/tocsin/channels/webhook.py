"""Webhooks: one signed POST of JSON per notification (Standard Webhooks 1.0.0)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tocsin.channels import Message, Outcome
from tocsin.channels.http import Answer, GuardedHttp, outcome_of, signed_headers

SecretFor = Callable[[str], bytes | None]
"""Returns the signing key of one webhook address, or None to send unsigned.

The specification wants a key of its own for every receiver (24 to 64 bytes), shown to it as `whsec_` + base64.
"""


class WebhookChannel:
    """Sends notifications to HTTP addresses."""

    def __init__(self, http: GuardedHttp, secret_for: SecretFor) -> None:
        self._http = http
        self._secret_for = secret_for

    async def send(self, address: str, message: Message) -> Outcome:
        """POST the message's payload to the URL `address`; see `Channel.send` and `outcome_of`."""
        body = msgspec.json.encode(message.payload, order="deterministic")
        headers = signed_headers(message, body, self._secret_for(address))
        answer = await self._http.post(address, body, headers, what="webhook")
        return outcome_of(answer, message.sent_at) if isinstance(answer, Answer) else answer
