"""How channels that speak HTTP do: one guarded POST, bounded in time and size, and what its answer means."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

import tocsin
from tocsin.address_guard import AddressGuard, AddressRefusedError, guarded_session
from tocsin.channels import Delivered, Message, Outcome, Rejected, Retry

MAX_REQUEST_BYTES = 256 * 1024
MAX_RESPONSE_BYTES = 4 * 1024
MAX_RETRY_AFTER_SECONDS = 3600.0

_TRY_AGAIN = frozenset({408, 425, 429})
_DELAY_SECONDS = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered. `body` is its beginning; `trouble` says why there is no more of it, if so."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: str
    trouble: str

    def __str__(self) -> str:
        return f"{self.status} {self.reason} {self.body}{self.trouble}"

    def retry_after_seconds(self, sent_at: datetime) -> float | None:
        """Return how long the receiver asks to be left alone, if it does."""
        # The receiver's own clock, if it tells it, measures the receiver's dates better than ours.
        now = _http_date(self.headers.get("Date", "")) or sent_at
        return retry_after_seconds(self.headers.get("Retry-After"), now)


class GuardedHttp:
    """Posts to addresses that the guard allows; redirects are not followed. Close it when done: `async with`.

    Redirects would go around the guard's verdict on the address that somebody approved.
    """

    def __init__(
        self, guard: AddressGuard, *, timeout_seconds: float = 10.0, resolver: AbstractResolver | None = None
    ) -> None:
        """`resolver` answers for host names, the system's by default; `guard` judges its answers."""
        self._guard = guard
        self._timeout_seconds = timeout_seconds
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> GuardedHttp:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what is still connected; a later `post` opens anew."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        if self._resolver is not None:
            await self._resolver.close()

    async def post(
        self,
        address: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        what: str,
        answer_bytes: int = MAX_RESPONSE_BYTES,
    ) -> Answer | Rejected | Retry:
        """POST JSON to the URL `address`; return the answer, or what became of it where there is none.

        `what` names in an outcome what was not sent. Of the answer's body at most `answer_bytes` are read.
        """
        if len(body) > MAX_REQUEST_BYTES:
            return Rejected(f"{what} not sent: {len(body)} bytes of JSON, at most {MAX_REQUEST_BYTES} are")
        try:
            url = self._guard.checked_url(address)
        except AddressRefusedError as refused:
            return Rejected(f"{what} not sent: {refused}")
        return await self._exchange(url, body, headers, what, answer_bytes)

    async def _exchange(
        self, url: URL, body: bytes, headers: Mapping[str, str], what: str, answer_bytes: int
    ) -> Answer | Rejected | Retry:
        peer = f"{url.host}:{url.port}"
        try:
            async with asyncio.timeout(self._timeout_seconds) as limit:
                response = await self._opened().post(
                    url, data=body, headers={**_SAID, **headers}, allow_redirects=False
                )
        except (AddressRefusedError, aiohttp.InvalidURL) as refused:
            return Rejected(f"{what} not sent: {refused}")
        except TimeoutError:
            return Retry(f"no answer from {peer} within {self._timeout_seconds:g} seconds")
        except (aiohttp.ClientError, OSError) as error:
            return Retry(f"no answer from {peer}: {str(error) or type(error).__name__}")
        try:
            start, trouble = await _read_start(response, answer_bytes, limit.when())
        finally:
            # Not released: what was not read is not waited for.
            response.close()
        return Answer(response.status, response.reason or "", response.headers, start, trouble)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = guarded_session(self._guard, self._resolver)
        return self._session


_SAID: dict[str, str] = {
    "Content-Type": "application/json",
    "User-Agent": f"tocsin/{tocsin.__version__}",
    "Accept-Encoding": "identity",
}


def outcome_of(answer: Answer, sent_at: datetime) -> Outcome:
    """Return what an answer means where the address is a person's own.

    2xx is delivered; 408, 425, 429 and 5xx are tried again, honouring Retry-After; other answers are final.
    """
    status = answer.status
    if 200 <= status < 300:
        return Delivered(str(answer))
    if 300 <= status < 400:
        target = answer.headers.get("Location", "nowhere")[:200]
        return Rejected(f"{status}: the receiver redirects to {target}; set the address to where it really is")
    if status in _TRY_AGAIN or not 400 <= status < 500:
        return Retry(str(answer), answer.retry_after_seconds(sent_at))
    return Rejected(str(answer))


def mendable(outcome: Rejected | Retry) -> Retry:
    """Return what came of a request to a URL that the operator set: a wrong one gets mended, and the page is owed."""
    return outcome if isinstance(outcome, Retry) else Retry(outcome.answer)


def signed_headers(message: Message, body: bytes, key: bytes | None) -> dict[str, str]:
    """Return the headers of Standard Webhooks 1.0.0, and the id as `Idempotency-Key`; unsigned without a key."""
    webhook_id = str(message.notification_id)
    timestamp = int(message.sent_at.timestamp())
    headers = {"Idempotency-Key": webhook_id, "webhook-id": webhook_id, "webhook-timestamp": str(timestamp)}
    if key is not None:
        headers["webhook-signature"] = signature(key, webhook_id, timestamp, body)
    return headers


def signature(key: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` of a body: v1, HMAC-SHA256 over id.timestamp.body, base64."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode("ascii")


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header (RFC 9110, 10.2.3): seconds or a date; None if absent or unreadable.

    The result is bounded to MAX_RETRY_AFTER_SECONDS: a page does not wait until tomorrow because a header says so.
    """
    text = (value or "").strip()
    if _DELAY_SECONDS.fullmatch(text):
        # More digits than any bound has; int() itself refuses thousands of them.
        return MAX_RETRY_AFTER_SECONDS if len(text) > 9 else min(float(text), MAX_RETRY_AFTER_SECONDS)
    date = _http_date(text)
    if date is None:
        return None
    return min(max((date - now) / timedelta(seconds=1), 0.0), MAX_RETRY_AFTER_SECONDS)


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


async def _read_start(response: aiohttp.ClientResponse, limit: int, deadline: float | None) -> tuple[str, str]:
    """Return the first bytes of the body as text, and what kept us from reading on.

    The status is known by now, and mostly decides alone: a 200 whose body hangs is a delivered page, and sending it
    again because of the body would page somebody twice.
    """
    start = bytearray()
    trouble = ""
    try:
        async with asyncio.timeout_at(deadline):
            while len(start) < limit:
                chunk = await response.content.read(limit - len(start))
                if not chunk:
                    break
                start += chunk
    except TimeoutError:
        trouble = " (the body did not end in time)"
    except (aiohttp.ClientError, OSError) as error:
        trouble = f" (the body broke off: {str(error) or type(error).__name__})"
    return start.decode("utf-8", "replace"), trouble
