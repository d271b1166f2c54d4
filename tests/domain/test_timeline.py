"""Canonical bytes are RFC 8785, checksums RFC 6962: golden values, because what is stored must verify for ever."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain import sealing
from tocsin.domain.incident import Severity
from tocsin.domain.sealing import Sealed
from tocsin.domain.timeline import (
    PERSONAL,
    EntryKind,
    leaf_hash,
    split_particulars,
    time_text,
    whole_particulars,
)

AT = datetime(2026, 3, 1, 3, 4, 5, 6, tzinfo=UTC)
ROW: dict[str, object] = {
    "id": UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    "number": 42,
    "title": 'Käse \u2028 "quoted" \x07',
    "severity": Severity.HIGH,
    "created_by_system": True,
    "recurrence_of": None,
    "nonce": bytes(range(4)),
    "metadata": {"z": [1, "two", None], "a": {"é": False}},
    "event_at": AT,
}


def seal(table: str, columns: Mapping[str, object]) -> Sealed:
    """Seal with salts that are known."""
    salts = itertools.count()
    return sealing.seal(table, columns, lambda: next(salts).to_bytes(16))


def test_a_row_s_canonical_bytes_are_these_for_ever() -> None:
    sealed = seal("incident_escalation_acknowledgments", ROW)
    assert sealed.canonical.decode() == (
        '{"created_by_system":true,"event_at":"2026-03-01T03:04:05.000006Z",'
        '"id":"01890a5d-ac96-774b-bcce-b302099a8057","metadata":{"a":{"é":false},"z":[1,"two",null]},'
        '"nonce":"\\\\x00010203","number":42,"record":"incident_escalation_acknowledgments",'
        '"recurrence_of":null,"severity":"HIGH","title":"Käse \u2028 \\"quoted\\" \\u0007","v":1}'
    )
    assert sealed.checksum == hashlib.sha256(b"\x00" + sealed.canonical).digest()
    assert sealed.checksum.hex() == "03aef01c7ec0a976a47d55db55c0fd987aa5ce6d6a3e294aab04a0b002158c17"


def test_of_a_text_the_canonical_bytes_hold_the_commitment_alone() -> None:
    sealed = seal("incidents", {"id": 1, "title": "Käse", "description": "x"})
    assert sealed.canonical.decode() == (
        '{"_sd":["Unq9w9duaHCNdceeBWmHmIR6JPWRS4OHbOL0yirWgmA","hcEA0APOODHliJFeNPaP90b2SygwQJX_FnJ1JerWVzE"],'
        '"id":1,"record":"incidents","v":1}'
    )
    assert sealed.disclosures == (
        "WyJBQUFBQUFBQUFBQUFBQUFBQUFBQUFBIiwidGl0bGUiLCJLw6RzZSJd",
        "WyJBQUFBQUFBQUFBQUFBQUFBQUFBQUFRIiwiZGVzY3JpcHRpb24iLCJ4Il0",
    )
    assert sealed.disclosed == {"title": "Käse", "description": "x"}


@pytest.mark.parametrize("kind", EntryKind)
def test_what_an_entry_says_is_parted_and_put_together_again(kind: EntryKind) -> None:
    said = dict.fromkeys(PERSONAL.get(kind, ()), "of a person") | {"fact": "of a machine"}
    facts, personal = split_particulars(kind, said)
    assert facts == {"fact": "of a machine"}
    assert facts | whole_particulars(kind, personal) == said
    assert whole_particulars(kind, None) == dict.fromkeys(PERSONAL.get(kind, ()))


@pytest.mark.parametrize(
    ("leaf", "digest"),
    [
        # RFC 6962, 2.1: the hash of an empty leaf, and the first leaves of the reference implementation's tree.
        ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        ("00", "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"),
        ("10", "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7"),
        ("2021", "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7"),
    ],
)
def test_leaf_hashes_are_those_of_rfc_6962(leaf: str, digest: str) -> None:
    assert leaf_hash(bytes.fromhex(leaf)).hex() == digest


def test_keys_are_sorted_as_utf_16_as_rfc_8785_says() -> None:
    # RFC 8785, 3.2.3: its own example of sorting.
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    said = json.loads(seal("x", {"metadata": dict.fromkeys(keys, 1)}).canonical, object_pairs_hook=list)
    metadata = dict(said)["metadata"]
    assert [key for key, _ in metadata] == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_every_character_is_written_as_rfc_8785_says() -> None:
    for start in range(0, 0x110000, 0x1000):
        text = "".join(map(chr, range(start, start + 0x1000))).encode("utf-8", "ignore").decode()
        sealed = seal("x", {"metadata": text})
        assert sealed.canonical == rfc8785.dumps({"metadata": text, "record": "x", "v": 1})


@pytest.mark.parametrize("value", [1.0, float("nan"), {"a": [0.5]}, [1e300], 2**53, -(2**53), "\ud800"])
def test_what_has_no_canonical_form_is_not_sealed(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # which one is a matter of the value
        seal("incident_lifecycle", {"metadata": value})


@pytest.mark.parametrize("value", [object(), {1, 2}, complex(1, 2), timedelta(1)])
def test_what_is_not_json_is_not_sealed(value: object) -> None:
    with pytest.raises(TypeError):
        seal("incident_lifecycle", {"metadata": value})


def test_times_are_utc_with_six_decimals_in_every_year() -> None:
    assert time_text(AT) == "2026-03-01T03:04:05.000006Z"
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    assert time_text(datetime(2026, 3, 1, tzinfo=elsewhere)) == "2026-02-28T18:30:00.000000Z"
    assert time_text(datetime(33, 4, 3, tzinfo=UTC)) == "0033-04-03T00:00:00.000000Z"
    with pytest.raises(ValueError, match="zone"):
        time_text(datetime(2026, 3, 1))  # noqa: DTZ001  # naive on purpose


@given(st.datetimes(timezones=st.timezones(), min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)))  # noqa: DTZ001
def test_a_time_reads_back_as_the_same_instant(instant: datetime) -> None:
    assert datetime.fromisoformat(time_text(instant)) == instant.astimezone(UTC)


storable = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | storable,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(storable, inner, max_size=3),
    max_leaves=12,
)


@given(plain)
def test_canonical_bytes_are_what_the_reference_writes_and_read_back_equal(value: Any) -> None:
    sealed = seal("incident_lifecycle", {"metadata": value, "personal": None})
    document = {"metadata": value, "record": "incident_lifecycle", "v": 1, "_sd": []}
    assert json.loads(sealed.canonical) == document
    assert sealed.canonical == rfc8785.dumps(document)
    reordered = json.loads(json.dumps(document, sort_keys=True))
    assert rfc8785.dumps(reordered) == sealed.canonical


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), plain, min_size=2))
def test_the_order_of_columns_makes_no_difference_and_every_value_does(columns: dict[str, Any]) -> None:
    sealed = seal("x", columns)
    assert seal("x", dict(reversed(columns.items()))).checksum == sealed.checksum
    for name, value in columns.items():
        assert seal("x", columns | {name: [value]}).checksum != sealed.checksum
    assert seal("y", columns).checksum != sealed.checksum
