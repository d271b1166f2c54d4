"""CMS SignedData with one signer and signed attributes (RFC 5652, 5), as far as a time-stamp token has it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tocsin.evidence import EvidenceError, der
from tocsin.evidence.chain import certificate
from tocsin.evidence.der import Element

SIGNED_DATA = "1.2.840.113549.1.7.2"
MAX_CERTIFICATES = 16

_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
_SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"

HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
"""The hash functions that count. SHA-1 does not: whoever can make it collide could have two texts under one stamp."""
_ALGORITHMS: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_NULL = b"\x05\x00"
_RSA = "1.2.840.113549.1.1.1"
_RSA_PSS = "1.2.840.113549.1.1.10"
_ED25519 = "1.3.101.112"
_WITH_HASH = {
    "1.2.840.113549.1.1.11": ("rsa", "sha256"),
    "1.2.840.113549.1.1.12": ("rsa", "sha384"),
    "1.2.840.113549.1.1.13": ("rsa", "sha512"),
    "1.2.840.10045.4.3.2": ("ec", "sha256"),
    "1.2.840.10045.4.3.3": ("ec", "sha384"),
    "1.2.840.10045.4.3.4": ("ec", "sha512"),
}


@dataclass(frozen=True, slots=True)
class SignedData:
    """What was signed (its type and bytes), by whom, and the certificates that came with it."""

    content_type: str
    content: bytes
    signer: x509.Certificate
    certificates: Sequence[x509.Certificate]


@dataclass(frozen=True, slots=True)
class _SignerInfo:
    identifier: Element
    hash_name: str
    signed_attributes: Element
    algorithm: Element
    signature: bytes


def open_signed_data(token: bytes) -> SignedData:
    """Return what a SignedData holds after its signature has been verified. Raises EvidenceError.

    The signature is the signer's, over the content, and names the signer's certificate (ESSCertID); whether that
    certificate is to be trusted is another question.
    """
    outer = der.parse(token, "the token").must_be(der.SEQUENCE, "the token").children()
    if len(outer) != 2 or outer[0].object_identifier("the token's type") != SIGNED_DATA:
        raise EvidenceError("the token is not CMS SignedData")
    (inner,) = _exactly(outer[1].must_be(der.context(0), "the token's content").children(), 1, "the token's content")
    parts = inner.must_be(der.SEQUENCE, "SignedData").children()
    if len(parts) < 4 or parts[0].integer("the version of SignedData") not in (3, 4, 5):
        raise EvidenceError("SignedData lacks a part, or is of another version")
    content_type, content = _encapsulated(parts[2])
    certificates = [one for part in parts[3:-1] if part.tag == der.context(0) for one in _certificates(part)]
    (info,) = _exactly(parts[-1].must_be(der.SET, "signerInfos").children(), 1, "signerInfos")
    signer_info = _signer_info(info)
    announced = parts[1].must_be(der.SET, "digestAlgorithms").children()
    if signer_info.hash_name not in [hash_name(one, "a digest") for one in announced]:
        raise EvidenceError("the signer's digest is not among those of SignedData")
    signer = _signer(signer_info.identifier, certificates)
    _check_attributes(signer_info, content_type, content, signer)
    _check_signature(signer_info, signer)
    return SignedData(content_type, content, signer, certificates)


def _exactly(elements: list[Element], number: int, what: str) -> list[Element]:
    if len(elements) != number:
        raise EvidenceError(f"{what}: {len(elements)} values, not {number}")
    return elements


def _encapsulated(part: Element) -> tuple[str, bytes]:
    kind, explicit = _exactly(part.must_be(der.SEQUENCE, "encapContentInfo").children(), 2, "encapContentInfo")
    (octets,) = _exactly(explicit.must_be(der.context(0), "eContent").children(), 1, "eContent")
    return kind.object_identifier("eContentType"), octets.must_be(der.OCTET_STRING, "eContent").content


def _certificates(part: Element) -> list[x509.Certificate]:
    found = part.children()
    if len(found) > MAX_CERTIFICATES:
        raise EvidenceError(f"the token brings {len(found)} certificates, more than {MAX_CERTIFICATES}")
    return [certificate(one.encoded, "a certificate in the token") for one in found]


def _signer_info(info: Element) -> _SignerInfo:
    parts = info.must_be(der.SEQUENCE, "SignerInfo").children()
    if len(parts) not in (6, 7) or parts[3].tag != der.context(0):
        raise EvidenceError("SignerInfo has no signed attributes, or lacks a part")
    if parts[0].integer("the version of SignerInfo") not in (1, 3):
        raise EvidenceError("SignerInfo is of another version")
    signature = parts[5].must_be(der.OCTET_STRING, "the signature").content
    return _SignerInfo(parts[1], hash_name(parts[2], "the signer's digest"), parts[3], parts[4], signature)


def hash_name(identifier: Element, what: str) -> str:
    """Return the hash function of an AlgorithmIdentifier. Raises EvidenceError for one that does not count."""
    parts = identifier.must_be(der.SEQUENCE, what).children()
    dotted = parts[0].object_identifier(what) if parts else "nothing"
    if dotted not in HASHES or len(parts) > 2 or any(part.encoded != _NULL for part in parts[1:]):
        raise EvidenceError(f"{what} is made with {dotted}; SHA-256, SHA-384 and SHA-512 count")
    return HASHES[dotted]


def _signer(identifier: Element, certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """Return the certificate that a SignerIdentifier names (RFC 5652, 5.3)."""
    if identifier.tag == der.SEQUENCE:
        issuer, serial = _exactly(identifier.children(), 2, "the signer's identifier")
        number = serial.integer("the signer's serial number")
        found = [
            one for one in certificates if one.serial_number == number and one.issuer.public_bytes() == issuer.encoded
        ]
    else:
        wanted = identifier.must_be(der.context(0, constructed=False), "the signer's identifier").content
        found = [one for one in certificates if _key_identifier(one) == wanted]
    if not found:
        raise EvidenceError("the token does not bring its signer's certificate (ask for it with certReq)")
    return found[0]


def _key_identifier(one: x509.Certificate) -> bytes | None:
    try:
        return one.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None


def _check_attributes(info: _SignerInfo, content_type: str, content: bytes, signer: x509.Certificate) -> None:
    """Hold the signed attributes against what they are about (RFC 5652, 5.3 and 11; RFC 5035, 5)."""
    values: dict[str, Element] = {}
    for attribute in info.signed_attributes.children():
        kind, members = _exactly(attribute.must_be(der.SEQUENCE, "an attribute").children(), 2, "an attribute")
        dotted = kind.object_identifier("an attribute's type")
        if dotted in values:
            raise EvidenceError(f"the signed attribute {dotted} is there twice")
        (values[dotted],) = _exactly(members.must_be(der.SET, "an attribute's values").children(), 1, "an attribute")
    if not {_CONTENT_TYPE, _MESSAGE_DIGEST} <= values.keys():
        raise EvidenceError("the signed attributes lack the content's type or digest")
    if values[_CONTENT_TYPE].object_identifier("the signed content type") != content_type:
        raise EvidenceError("the signed attributes are about content of another type")
    said = values[_MESSAGE_DIGEST].must_be(der.OCTET_STRING, "the signed digest").content
    if not hmac.compare_digest(said, hashlib.new(info.hash_name, content).digest()):
        raise EvidenceError("the signed digest is not that of the content")
    _check_signing_certificate(values, signer)


def _check_signing_certificate(values: dict[str, Element], signer: x509.Certificate) -> None:
    """Check that the signature names its own certificate, so that no other with the same key can be slipped in."""
    encoded = signer.public_bytes(Encoding.DER)
    named = [values[kind] for kind in (_SIGNING_CERTIFICATE, _SIGNING_CERTIFICATE_V2) if kind in values]
    if not named:
        raise EvidenceError("the signed attributes do not name the signer's certificate")
    for kind, default in ((_SIGNING_CERTIFICATE, "sha1"), (_SIGNING_CERTIFICATE_V2, "sha256")):
        if kind not in values:
            continue
        lists = values[kind].must_be(der.SEQUENCE, "SigningCertificate").children()
        first = lists[0].must_be(der.SEQUENCE, "the certificates' ids").children()[:1] if lists else []
        parts = first[0].must_be(der.SEQUENCE, "ESSCertID").children() if first else []
        hashed_with = default
        if kind == _SIGNING_CERTIFICATE_V2 and parts and parts[0].tag == der.SEQUENCE:
            hashed_with = hash_name(parts.pop(0), "ESSCertIDv2")
        said = parts[0].must_be(der.OCTET_STRING, "the certificate's hash").content if parts else b""
        # SHA-1 is what RFC 2634 has; here a second preimage of a given certificate would be needed, not a collision.
        if not hmac.compare_digest(said, hashlib.new(hashed_with, encoded, usedforsecurity=False).digest()):
            raise EvidenceError("the signed attributes name another certificate than the signer's")


def _check_signature(info: _SignerInfo, signer: x509.Certificate) -> None:
    # RFC 5652, 5.4: signed is the SET OF, not the implicit tag under which the attributes travel.
    signed = der.encode(der.SET, info.signed_attributes.content)
    parts = info.algorithm.must_be(der.SEQUENCE, "the signature's algorithm").children()
    dotted = parts[0].object_identifier("the signature's algorithm") if parts else "nothing"
    if dotted != _RSA_PSS and any(part.encoded != _NULL for part in parts[1:]):
        raise EvidenceError("the signature's algorithm has parameters that it does not take")
    key = signer.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and _kind(dotted) == "rsa":
            key.verify(info.signature, signed, padding.PKCS1v15(), _signed_hash(dotted, info))
        elif isinstance(key, rsa.RSAPublicKey) and dotted == _RSA_PSS:
            algorithm = _ALGORITHMS[info.hash_name]
            pss = padding.PSS(mgf=padding.MGF1(algorithm), salt_length=padding.PSS.AUTO)
            key.verify(info.signature, signed, pss, algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and _kind(dotted) == "ec":
            key.verify(info.signature, signed, ec.ECDSA(_signed_hash(dotted, info)))
        elif isinstance(key, ed25519.Ed25519PublicKey) and dotted == _ED25519:
            key.verify(info.signature, signed)
        else:
            raise EvidenceError(f"the token is signed with {dotted}, which does not count")
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as error:
        if isinstance(error, EvidenceError):
            raise
        raise EvidenceError("the token's signature does not verify") from None


def _kind(dotted: str) -> str:
    return "rsa" if dotted == _RSA else _WITH_HASH.get(dotted, ("", ""))[0]


def _signed_hash(dotted: str, info: _SignerInfo) -> hashes.HashAlgorithm:
    return _ALGORITHMS[_WITH_HASH[dotted][1] if dotted in _WITH_HASH else info.hash_name]
