"""Requests to those outside: each bounded in time and size, to addresses that the guard allows, without redirects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from tocsin.address_guard import AddressGuard, AddressRefusedError, guarded_session
from tocsin.outside import OutsideError

MAX_ANSWER_BYTES = 262_144
USER_AGENT = "tocsin"


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def said(self) -> str:
        """Return the status and the start of the body as one printable line."""
        text = " ".join(self.body[:500].decode("utf-8", "replace").split())
        return f"{self.status} {''.join(letter if letter.isprintable() else '?' for letter in text)[:200]}".strip()


class Http:
    """Asks; close it when done: `async with`."""

    def __init__(
        self, guard: AddressGuard, *, timeout_seconds: float = 20.0, resolver: AbstractResolver | None = None
    ) -> None:
        self._guard = guard
        self._timeout_seconds = timeout_seconds
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Http:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(
        self, method: str, address: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Make a request and return the answer, whatever its status. Raises OutsideError if there is none in time."""
        if self._session is None:
            self._session = guarded_session(self._guard, self._resolver)
        try:
            url = self._guard.checked_url(address)
            async with asyncio.timeout(self._timeout_seconds):
                return await self._answer(self._session, method, url, body, headers or {})
        except TimeoutError:
            raise OutsideError(f"no answer within {self._timeout_seconds:g} seconds") from None
        except (AddressRefusedError, aiohttp.ClientError, aiohttp.InvalidURL, OSError) as error:
            raise OutsideError(f"not reached: {str(error) or type(error).__name__}") from None

    @staticmethod
    async def _answer(
        session: aiohttp.ClientSession, method: str, url: URL, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        said = {"User-Agent": USER_AGENT} | dict(headers)
        async with session.request(method, url, data=body, headers=said, allow_redirects=False) as response:
            content = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise OutsideError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
            return Answer(response.status, response.headers.copy(), bytes(content))
