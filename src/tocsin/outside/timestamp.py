"""Time-stamp authorities (RFC 3161, 3.4): one request over HTTP, one token, checked before it is kept."""

from __future__ import annotations

from tocsin.evidence import EvidenceError
from tocsin.evidence.timestamp import REQUEST_TYPE, RESPONSE_TYPE, check_answer, request, token_of
from tocsin.outside import OutsideError
from tocsin.outside.http import Http


async def stamp(http: Http, url: str, data: bytes, nonce: int) -> bytes:
    """Return the authority's token (DER) over `data`. Raises OutsideError.

    It answers this very request: our data, our nonce, a signature that verifies. Whether the authority is to be
    trusted is for the reader of the evidence to say.
    """
    said = await http.ask("POST", url, request(data, nonce), {"Content-Type": REQUEST_TYPE})
    kind = said.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if said.status != 200 or kind != RESPONSE_TYPE:
        raise OutsideError(f"it gives no time stamp: {said.said()}")
    try:
        token = token_of(said.body)
        check_answer(token, data, nonce)
    except EvidenceError as error:
        raise OutsideError(str(error)) from None
    return token
