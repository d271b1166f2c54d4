"""Time stamps by a real authority (`openssl ts`): asked for, verified, attacked, and checked by openssl again."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.authority import Authority, make_authority, openssl
from tocsin.evidence import EvidenceError, der
from tocsin.evidence.chain import trusted_path
from tocsin.evidence.timestamp import MAX_TOKEN_BYTES, check_answer, request, token_of, verify_token

DATA = b"example.org/log\n7\nroot\n"
NONCE = 0xFEDCBA98765432100123456789ABCDEF


@pytest.fixture(scope="module")
def token(authority: Authority) -> bytes:
    return token_of(authority.reply(request(DATA, NONCE)))


def test_a_token_of_a_real_authority_verifies_and_says_when_and_by_whom(authority: Authority, token: bytes) -> None:
    stamp = verify_token(token, DATA, [authority.root])
    assert abs(stamp.time - datetime.now(UTC)) < timedelta(minutes=1)
    assert (stamp.authority, stamp.trusted) == ("CN=Test Time Stamps", "CN=Test Root")
    assert check_answer(token, DATA, NONCE) == stamp.time


@pytest.mark.parametrize("ess", ["sha1", "sha256", "sha512"])
def test_rsa_and_every_way_to_name_the_signers_certificate_verify(tmp_path: Path, ess: str) -> None:
    other = make_authority(tmp_path, rsa_keys=True, ess=ess)
    token = token_of(other.reply(request(DATA, 1)))
    assert verify_token(token, DATA, [other.root]).serial > 0


def test_openssl_accepts_our_request_and_the_token_as_we_keep_it(
    authority: Authority, token: bytes, tmp_path: Path
) -> None:
    (tmp_path / "query").write_bytes(request(DATA, NONCE))
    shown = openssl("ts", "-query", "-in", str(tmp_path / "query"), "-text").stdout.decode()
    assert f"Nonce: 0x{NONCE:X}" in shown
    assert "Certificate required: yes" in shown
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "token").write_bytes(token)
    verified = openssl(
        *("ts", "-verify", "-token_in", "-in", str(tmp_path / "token"), "-data", str(tmp_path / "data")),
        *("-CAfile", str(authority.folder / "root.pem")),
    )
    assert b"Verification: OK" in verified.stdout


@pytest.mark.slow
def test_a_token_outlives_its_authoritys_certificate(tmp_path: Path) -> None:
    brief = make_authority(tmp_path, valid=timedelta(seconds=2))
    token = token_of(brief.reply(request(DATA, NONCE)))
    leaf = x509.load_pem_x509_certificate((tmp_path / "authority.pem").read_bytes())
    while datetime.now(UTC) <= leaf.not_valid_after_utc + timedelta(seconds=1):
        time.sleep(0.1)
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "token").write_bytes(token)
    said = openssl(
        *("ts", "-verify", "-token_in", "-in", str(tmp_path / "token"), "-data", str(tmp_path / "data")),
        *("-CAfile", str(tmp_path / "root.pem")),
        check=False,
    )
    assert b"certificate has expired" in said.stderr
    assert verify_token(token, DATA, [brief.root]).time <= leaf.not_valid_after_utc


def test_a_certificate_that_was_not_valid_when_it_stamped_does_not_count(tmp_path: Path) -> None:
    late = make_authority(tmp_path, valid=timedelta(seconds=-60))
    token = token_of(late.reply(request(DATA, NONCE)))
    with pytest.raises(EvidenceError, match="leads to none that the policy names"):
        verify_token(token, DATA, [late.root])


def test_another_text_another_root_and_another_nonce_are_refused(
    authority: Authority, token: bytes, tmp_path: Path
) -> None:
    with pytest.raises(EvidenceError, match="something else"):
        verify_token(token, DATA + b".", [authority.root])
    with pytest.raises(EvidenceError, match="leads to none that the policy names"):
        verify_token(token, DATA, [make_authority(tmp_path).root])
    with pytest.raises(EvidenceError, match="leads to none that the policy names"):
        verify_token(token, DATA, [])
    with pytest.raises(EvidenceError, match="nonce"):
        check_answer(token, DATA, NONCE + 1)


@pytest.mark.parametrize(
    ("purposes", "critical"),
    [
        ((ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING), True),
        ((ExtendedKeyUsageOID.TIME_STAMPING,), False),
        ((ExtendedKeyUsageOID.CODE_SIGNING,), True),
    ],
)
def test_a_certificate_that_is_not_for_time_stamps_alone_does_not_count(
    tmp_path: Path, purposes: tuple[x509.ObjectIdentifier, ...], critical: bool
) -> None:
    # openssl refuses to stamp with such a certificate, so it is judged by itself.
    made = make_authority(tmp_path, purposes=purposes, critical=critical)
    leaf = x509.load_pem_x509_certificate((tmp_path / "authority.pem").read_bytes())
    with pytest.raises(EvidenceError, match="not one for time stamps alone"):
        trusted_path(leaf, [], [made.root, leaf], datetime.now(UTC))


def test_who_is_no_authority_cannot_issue(tmp_path: Path, authority: Authority, token: bytes) -> None:
    leaf = x509.load_pem_x509_certificate((authority.folder / "authority.pem").read_bytes())
    assert verify_token(token, DATA, [leaf]).trusted == "CN=Test Time Stamps", "it may be trusted by itself"
    below = make_authority(tmp_path, issuer=authority)
    with pytest.raises(EvidenceError, match="leads to none"):
        verify_token(token_of(below.reply(request(DATA, NONCE))), DATA, [authority.root])


@pytest.mark.slow
def test_no_changed_byte_of_a_token_goes_unnoticed(authority: Authority, token: bytes) -> None:
    for place in range(len(token)):
        for bit in (0x01, 0x80):
            changed = bytearray(token)
            changed[place] ^= bit
            with pytest.raises(EvidenceError):
                verify_token(bytes(changed), DATA, [authority.root])


def test_cut_and_random_bytes_give_one_line(authority: Authority, token: bytes) -> None:
    for length in range(0, len(token), 7):
        with pytest.raises(EvidenceError) as refused:
            verify_token(token[:length], DATA, [authority.root])
        assert "\n" not in str(refused.value)
    chance = random.Random(7)
    for _ in range(2_000):
        data = bytearray(token)
        for _ in range(chance.randint(1, 20)):
            data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
        if data == token:
            continue
        with pytest.raises(EvidenceError):
            verify_token(bytes(data), DATA, [authority.root])
    with pytest.raises(EvidenceError, match="more than"):
        verify_token(bytes(MAX_TOKEN_BYTES + 1), DATA, [authority.root])


def test_an_authority_that_refuses_is_quoted(authority: Authority) -> None:
    broken = der.sequence(der.integer(1))
    with pytest.raises(EvidenceError, match=r"grants no time stamp: rejection \("):
        token_of(authority.reply(broken))
    with pytest.raises(EvidenceError):
        token_of(b"<html>not found</html>")


def test_der_has_one_form_for_each_value() -> None:
    for data in (b"\x30\x81\x01\x00", b"\x30\x80\x00\x00", b"\x1f\x01\x00", b"\x02\x01", b"\x30\x00\x00", b"\x30"):
        with pytest.raises(EvidenceError):
            der.parse(data, "it")
    for data in (b"\x02\x02\x00\x01", b"\x02\x02\xff\x80", b"\x02\x00"):
        with pytest.raises(EvidenceError):
            der.parse(data, "it").integer("it")
    with pytest.raises(EvidenceError):
        der.parse(b"\x06\x02\x80\x01", "it").object_identifier("it")


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255, 256, 2**64, 2**127])
def test_integers_come_back(value: int) -> None:
    assert der.parse(der.integer(value), "it").integer("it") == value


@pytest.mark.parametrize("dotted", ["1.2.840.113549.1.9.16.1.4", "2.16.840.1.101.3.4.2.1", "2.999.3", "0.9"])
def test_object_identifiers_come_back(dotted: str) -> None:
    assert der.parse(der.object_identifier(dotted), "it").object_identifier("it") == dotted


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [(b"20260301030000Z", 0), (b"20260301030000.5Z", 500_000), (b"20260301030000.123456789Z", 123_456)],
)
def test_times_are_read_as_the_rfc_writes_them(text: bytes, microsecond: int) -> None:
    read = der.parse(der.encode(der.GENERALIZED_TIME, text), "it").time("it")
    assert read == datetime(2026, 3, 1, 3, 0, 0, microsecond, tzinfo=UTC)


@pytest.mark.parametrize("text", [b"20260301030000", b"2026030103Z", b"20260301030000.50Z", b"20261301030000Z", b"x"])
def test_times_in_another_form_are_refused(text: bytes) -> None:
    with pytest.raises(EvidenceError):
        der.parse(der.encode(der.GENERALIZED_TIME, text), "it").time("it")
