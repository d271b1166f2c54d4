"""One request to the server: a connection that is kept open, and what an answer means for what was sent."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import http.client

ERRORS_PATH = "/api/v1/errors"
MAX_ANSWER_BYTES = 1_048_576
MAX_RETRY_AFTER_SECONDS = 300.0
"""How long a server may keep us away at a time."""


class Verdict(Enum):
    """What becomes of a request after its answer."""

    DONE = "the server has it"
    BUSY = "later: the server is busy or not there"
    BROKEN = "later: the server failed, perhaps at this one request only"
    LOCKED = "later: somebody must repair the key or the address"
    NEVER = "the server will never take it"


@dataclass(frozen=True)
class Answer:
    """An answer of the server. `retry_after_seconds` is None where it does not say."""

    status: int
    body: bytes = b""
    retry_after_seconds: float | None = None
    path: str = ""
    content_type: str = ""

    @property
    def verdict(self) -> Verdict:
        """Return what becomes of the request. What nobody foresaw is kept: an answer of a proxy must lose nothing."""
        if 200 <= self.status < 300:
            return Verdict.DONE if self._is_tocsins() else Verdict.LOCKED
        if self.status in {400, 413, 415, 422}:
            return Verdict.NEVER if self._is_for_programs() else Verdict.BROKEN
        if self.status in {408, 425, 429, 502, 503, 504}:
            return Verdict.BUSY
        return Verdict.BROKEN if self.status >= 500 else Verdict.LOCKED

    @property
    def reason(self) -> str:
        """Return the answer in one short line: the status and the beginning of what it says."""
        text = " ".join(self.body[:1_000].decode("utf-8", "replace").split())
        is_strange = self.status < 300 and not self._is_tocsins()
        said = "no answer of Tocsin's, but that of a proxy or of another program: " if is_strange else ""
        return f"{self.status} {said}{text[:300]}".strip()

    def _is_tocsins(self) -> bool:
        """Return whether a good answer is one that Tocsin gives: a page on which one should sign in has taken nothing.

        It is not read to its end, for that may have been cut off.
        """
        if urlsplit(self.path).path == ERRORS_PATH:
            return self.body.lstrip().startswith(b"{") and b'"accepted"' in self.body
        return self.status == 204 or self._is_for_programs()

    def _is_for_programs(self) -> bool:
        """Return whether this is no page: a page is a proxy's, which may be set otherwise tomorrow."""
        is_protobuf = self.content_type.partition(";")[0].strip() == "application/x-protobuf"
        return is_protobuf or self.body.lstrip().startswith(b"{")

    def rejected(self) -> dict[int, str]:
        """Return why the server refused single reports of an accepted request, by their place in it."""
        if b'"rejected"' not in self.body:
            return {}
        try:
            document = json.loads(self.body)
            return {int(item["index"]): str(item.get("reason", "")) for item in document["rejected"]}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}


_IN_URL = re.compile(r"[\x21-\x7e]*")
_IN_HEADER = re.compile(r"[\x20-\x7e]*")


def unusable(url: str, headers: Iterable[tuple[str, str]]) -> str:
    """Return why no request to this address can ever be made, "" if one can. It repeats no header: that is the key."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        host.encode("idna")  # as it is done before a name is looked up
    except UnicodeError:
        return f"there can be no host {host!r}"
    if re.search(r"[\s\x00-\x20\x7f]", host):
        return f"there can be no host {host!r}"
    if not _IN_URL.fullmatch(parts.path):
        return f"no URL can have the path {parts.path!r}"
    if not all(_IN_HEADER.fullmatch(value) for _, value in headers):
        return "the key has a character that no key has, such as an ellipsis or the end of a line"
    return ""


class Connection:
    """A connection to one server, kept open between requests. For one thread only."""

    def __init__(self, base_url: str, timeout_seconds: float) -> None:
        """Name the server; nothing is opened yet. TLS trusts the system's authorities, or SSL_CERT_FILE."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("The server's address must look like http://HOST:PORT or https://HOST.")
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._open: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send one request and return its answer.

        Raises:
            OSError: there is no answer. The server may have the request all the same.
            ValueError: HTTP cannot carry the path or a header; nothing was sent.
        """
        import http.client

        reused = self._open is not None
        try:
            try:
                return self._exchange(path, body, headers)
            except (ConnectionError, http.client.BadStatusLine):
                # The server may close an idle connection just when we use it: that says nothing about the server.
                if not reused:
                    raise
                self.close()
                return self._exchange(path, body, headers)
        except http.client.InvalidURL as error:
            self.close()
            raise ValueError(str(error)) from error
        except http.client.HTTPException as error:
            self.close()
            raise OSError(f"the answer is not HTTP: {error!r}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def forget(self) -> None:
        """Let go of the parent process's connection after a fork, without a word to the server."""
        left, self._open = self._open, None
        if left is not None and left.sock is not None and (handle := left.sock.detach()) >= 0:
            os.close(handle)

    def _exchange(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = self._open = self._open or self._connect()
        connection.request("POST", self._prefix + path, body, dict(headers))
        response = connection.getresponse()
        text = response.read(MAX_ANSWER_BYTES)
        if response.read(1):
            self.close()
        retry_after = _retry_after(response.getheader("Retry-After"))
        return Answer(response.status, text, retry_after, path, response.getheader("Content-Type", ""))

    def _connect(self) -> http.client.HTTPConnection:
        import http.client

        if self._scheme == "http":
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_seconds)
        import ssl

        context = ssl.create_default_context()
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_seconds, context=context)


def _retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header. One with a date is not read: it depends on two clocks."""
    if text is None or not text.strip().isdecimal():
        return None
    return min(float(text), MAX_RETRY_AFTER_SECONDS)
