"""A DSN: where a project's reports go, and the key that lets them in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

MAX_DSN_CHARACTERS = 2_048

_FORM = "http://KEY@HOST:PORT/PROJECT"
_PROJECT = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Dsn:
    """`http://KEY@HOST:PORT/PROJECT`, taken apart. `base_url` has no slash at its end; `key` stays out of `repr`."""

    base_url: str
    key: str = field(repr=False)
    project: int

    @classmethod
    def parse(cls, text: str) -> Dsn:
        """Return the parts of a DSN.

        Raises:
            ValueError: it is no DSN; the text says what is wrong and what one looks like, and repeats no key.
        """
        if len(text) > MAX_DSN_CHARACTERS:
            raise _not_a_dsn(f"it is longer than {MAX_DSN_CHARACTERS:,} characters")
        try:
            parts = urlsplit(text.strip())
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise _not_a_dsn("its host or port cannot be read") from error
        if parts.scheme not in ("http", "https"):
            raise _not_a_dsn("it must begin with http:// or https://")
        if not host:
            raise _not_a_dsn("it names no host")
        if not parts.username:
            raise _not_a_dsn("the key before the @ is missing")
        prefix, _, project = parts.path.rstrip("/").rpartition("/")
        if not _PROJECT.fullmatch(project):
            raise _not_a_dsn("the project's number after the last / is missing")
        netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        return cls(f"{parts.scheme}://{netloc}{prefix}", unquote(parts.username), int(project))


def _not_a_dsn(why: str) -> ValueError:
    return ValueError(f"This is not a DSN: {why}. A DSN looks like {_FORM}; `tocsin projects add` prints one.")
