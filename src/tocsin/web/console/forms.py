"""Reads forms without trusting them, and knows the token that ties a form to the session it was shown in."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from tocsin.errors import Code, refuse
from tocsin.web.console.page import Form
from tocsin.web.reading import invalid_struct

MAX_FORM_BYTES = 262_144
MAX_FIELDS = 500
_PURPOSE = b"tocsin console form"
_SHAPE = r"([0-9a-f]{32})[0-9a-f]{64}"
_FORM_TYPE = "application/x-www-form-urlencoded"

F = TypeVar("F", bound=Form)


def csrf_of(session_token: str, nonce: bytes) -> str:
    """Return a token for the forms of one page that is shown in a session.

    It is made of the session's secret, so it needs no place of its own; from it nobody comes back to the secret. The
    nonce makes it another one on each page: pages are compressed, and what stays the same in them could be guessed by
    their length (BREACH).
    """
    return nonce.hex() + hmac.new(session_token.encode(), _PURPOSE + nonce, hashlib.sha256).hexdigest()


def csrf_matches(form: Form, session_token: str) -> bool:
    """Tell in constant time whether a form was shown in this session."""
    said = re.fullmatch(_SHAPE, form.csrf)
    return said is not None and hmac.compare_digest(form.csrf, csrf_of(session_token, bytes.fromhex(said[1])))


def decode_form(body: bytes, content_type: str, kind: type[F]) -> F:
    """Return a form's body as the struct that a page expects. A field that is left empty counts as not given; in a list
    it keeps its place: what stands beside it in the other lists of the form belongs to it.

    Raises:
        TocsinError: UNSUPPORTED_MEDIA_TYPE, MALFORMED, INVALID (naming the first wrong field).
    """
    if content_type.partition(";")[0].strip().lower() != _FORM_TYPE:
        raise refuse(Code.UNSUPPORTED_MEDIA_TYPE, "This page takes a form.", "Fill it in on the page itself.")
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=bool(body),
            max_num_fields=MAX_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise refuse(Code.MALFORMED, "The form cannot be read.", "Fill it in on the page itself.") from None
    lists = {
        field.encode_name for field in msgspec.structs.fields(kind) if getattr(field.type, "__origin__", None) is tuple
    }
    values: dict[str, str | list[str]] = {}
    for name, value in pairs:
        text = value.replace("\r\n", "\n")
        if name in lists:
            entry = values.setdefault(name, [])
            assert isinstance(entry, list)
            entry.append(text)
        elif text.strip():
            values[name] = text
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid_struct(error) from None
