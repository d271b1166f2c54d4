"""From a certificate to one that is trusted, as of an instant (RFC 5280, 6.1, the part that time stamps need).

The instant is the time stamp's own: an authority whose certificate has expired since still vouches for what it
stamped while it was valid. Revocation is not looked up: that would take a network, and today's answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from tocsin.evidence import EvidenceError, der

MAX_DEPTH = 6
"""Certificates between the authority's and the trusted one, at most."""
MAX_SIGNATURES = 64
"""Signatures of certificates checked for one chain, at most."""

_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
"""Critical extensions that may be there: these are heeded, or (policies) narrow only what is not asked for."""
_UNREADABLE = (
    ValueError,
    TypeError,
    NotImplementedError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)
"""What `cryptography` raises for certificates that it cannot make sense of."""


class UntrustedError(EvidenceError):
    """A certificate that is in order, and leads to none that the reader trusts."""


def certificate(encoded: bytes, what: str) -> x509.Certificate:
    """Return the certificate in DER. Raises EvidenceError naming `what` it should be."""
    try:
        with warnings.catch_warnings():
            # What RFC 5280 forbids and `cryptography` still reads, such as a negative serial number.
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            loaded = x509.load_der_x509_certificate(encoded)
            # Read once here, so that what is broken inside shows now and not in the middle of a decision.
            loaded.extensions, loaded.subject, loaded.issuer, loaded.public_key()
    except _UNREADABLE as error:
        raise EvidenceError(f"{what} is not a certificate that can be read: {_one_line(error)}") from None
    signature = der.parse(encoded, what).children()[-1].content
    if not signature or signature[0] != 0:
        # `cryptography` drops the count of unused bits: two encodings would be one certificate.
        raise EvidenceError(f"{what} is not in DER: its signature is no whole number of bytes")
    return loaded


def trusted_path(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], at: datetime
) -> list[x509.Certificate]:
    """Return the certificates from `leaf` to one of `roots`, all valid at the instant. Raises UntrustedError."""
    check_time_stamping(leaf)
    path = _path([leaf], others, roots, at, [MAX_SIGNATURES])
    if path is None:
        when = f"{at:%Y-%m-%d %H:%M} UTC"
        raise UntrustedError(f"the certificate of {name(leaf)} leads to none that the policy names, valid at {when}")
    return path


def _path(
    path: list[x509.Certificate],
    others: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    at: datetime,
    budget: list[int],
) -> list[x509.Certificate] | None:
    last = path[-1]
    if not _valid(last, at):
        return None
    if last in roots:
        return path
    if len(path) > MAX_DEPTH:
        return None
    for issuer in (*roots, *others):
        if issuer in path or issuer.subject != last.issuer or not _may_issue(issuer, len(path) - 1):
            continue
        if budget[0] == 0:
            return None
        budget[0] -= 1
        if _issued(issuer, last) and (found := _path([*path, issuer], others, roots, at, budget)):
            return found
    return None


def _valid(one: x509.Certificate, at: datetime) -> bool:
    within = one.not_valid_before_utc <= at <= one.not_valid_after_utc
    return within and all(extension.oid in _UNDERSTOOD for extension in one.extensions if extension.critical)


def _may_issue(issuer: x509.Certificate, authorities_below: int) -> bool:
    """Tell whether it is an authority, and one for a chain with so many other authorities below it."""
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    try:
        signs = issuer.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        signs = True
    room = constraints.path_length is None or authorities_below <= constraints.path_length
    return constraints.ca and signs and room


def _issued(issuer: x509.Certificate, below: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_UNREADABLE):
        return False
    return True


def check_time_stamping(leaf: x509.Certificate) -> None:
    """Raise EvidenceError unless the certificate is for time stamps and for nothing else (RFC 3161, 2.3)."""
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        usage = None
    if usage is None or not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise EvidenceError(f"the certificate of {name(leaf)} is not one for time stamps alone")


def name(one: x509.Certificate) -> str:
    """Return the subject as one short, printable line."""
    text = one.subject.rfc4514_string()
    return "".join(character if character.isprintable() else "?" for character in text)[:200] or "nobody"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
