"""Time stamps (RFC 3161): the request, the answer, and what a token proves as of its own time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from tocsin.evidence import EvidenceError, chain, der
from tocsin.evidence.der import Element
from tocsin.evidence.signed_data import HASHES, SignedData, hash_name, open_signed_data

REQUEST_TYPE = "application/timestamp-query"
RESPONSE_TYPE = "application/timestamp-reply"
MAX_TOKEN_BYTES = 65_536
NONCE_BYTES = 16

_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_SHA256 = next(dotted for dotted, name in HASHES.items() if name == "sha256")
_GRANTED = (0, 1)
_STATUS = {2: "rejection", 3: "waiting", 4: "revocation warning", 5: "revocation notification"}


@dataclass(frozen=True, slots=True)
class Stamp:
    """A verified time stamp: the authority says that the data existed at this time.

    Args:
        time: what the authority's clock said, in UTC.
        authority: the subject of the certificate that signed.
        trusted: the subject of the certificate of the policy that it leads to.
        serial: the token's number at this authority.
    """

    time: datetime
    authority: str
    trusted: str
    serial: int


@dataclass(frozen=True, slots=True)
class _Info:
    """TSTInfo (RFC 3161, 2.4.2), less what decides nothing."""

    hash_name: str
    imprint: bytes
    serial: int
    time: datetime
    nonce: int | None


def request(data: bytes, nonce: int) -> bytes:
    """Return the TimeStampReq (DER) for `data`: its SHA-256, the nonce, and the wish for the certificates."""
    algorithm = der.sequence(der.object_identifier(_SHA256), der.encode(der.NULL, b""))
    imprint = der.sequence(algorithm, der.encode(der.OCTET_STRING, hashlib.sha256(data).digest()))
    return der.sequence(der.integer(1), imprint, der.integer(nonce), der.encode(der.BOOLEAN, b"\xff"))


def token_of(response: bytes) -> bytes:
    """Return the token (DER) in a TimeStampResp. Raises EvidenceError with the authority's reason if there is none."""
    if len(response) > MAX_TOKEN_BYTES:
        raise EvidenceError(f"the authority's answer has {len(response)} bytes, more than {MAX_TOKEN_BYTES}")
    parts = der.parse(response, "the authority's answer").must_be(der.SEQUENCE, "TimeStampResp").children()
    status = parts[0].must_be(der.SEQUENCE, "PKIStatusInfo").children() if parts else []
    if not status:
        raise EvidenceError("the authority's answer has no status")
    code = status[0].integer("the status")
    if code not in _GRANTED:
        raise EvidenceError(f"the authority grants no time stamp: {_STATUS.get(code, code)}{_reason(status[1:])}")
    if len(parts) != 2:
        raise EvidenceError("the authority grants a time stamp and does not send it")
    return parts[1].encoded


def _reason(more: Sequence[Element]) -> str:
    texts = [
        text.content.decode("utf-8", "replace")
        for part in more
        if part.tag == der.SEQUENCE
        for text in part.children()
        if text.tag == der.UTF8_STRING
    ]
    said = " ".join(" ".join(texts).split())[:200]
    return f" ({said})" if said.isprintable() and said else ""


def check_answer(token: bytes, data: bytes, nonce: int) -> datetime:
    """Check that a token answers our request: our data, our nonce, a valid signature. Returns its time.

    Whether its authority is to be trusted is not asked here: that is for the one who reads the evidence. Raises
    EvidenceError.
    """
    signed, info = _opened(token)
    chain.check_time_stamping(signed.signer)
    _check_imprint(info, data)
    if info.nonce != nonce:
        raise EvidenceError("the token does not repeat our nonce: it may be an old one")
    return info.time


def verify_token(token: bytes, data: bytes, roots: Sequence[x509.Certificate]) -> Stamp:
    """Verify a token over `data`, at its own time, up to one of the `roots`.

    Raises EvidenceError, and UntrustedError if all is in order but the path to a root.
    """
    signed, info = _opened(token)
    _check_imprint(info, data)
    path = chain.trusted_path(signed.signer, signed.certificates, roots, info.time)
    return Stamp(info.time, chain.name(path[0]), chain.name(path[-1]), info.serial)


def _opened(token: bytes) -> tuple[SignedData, _Info]:
    if len(token) > MAX_TOKEN_BYTES:
        raise EvidenceError(f"the token has {len(token)} bytes, more than {MAX_TOKEN_BYTES}")
    signed = open_signed_data(token)
    if signed.content_type != _TST_INFO:
        raise EvidenceError("the token does not hold a time stamp")
    return signed, _info(signed.content)


def _info(content: bytes) -> _Info:
    parts = der.parse(content, "TSTInfo").must_be(der.SEQUENCE, "TSTInfo").children()
    if len(parts) < 5:
        raise EvidenceError("TSTInfo lacks a part")
    version, policy, imprint, serial, time, *more = parts
    if version.integer("the version of TSTInfo") != 1:
        raise EvidenceError("TSTInfo is of another version than 1")
    policy.object_identifier("the time stamp's policy")
    said = imprint.must_be(der.SEQUENCE, "messageImprint").children()
    if len(said) != 2:
        raise EvidenceError("messageImprint lacks a part")
    nonce = next((part.integer("the nonce") for part in more if part.tag == der.INTEGER), None)
    return _Info(
        hash_name(said[0], "messageImprint"),
        said[1].must_be(der.OCTET_STRING, "messageImprint").content,
        serial.integer("the serial number"),
        time.time("genTime"),
        nonce,
    )


def _check_imprint(info: _Info, data: bytes) -> None:
    if not hmac.compare_digest(info.imprint, hashlib.new(info.hash_name, data).digest()):
        raise EvidenceError("the token is a time stamp of something else")
