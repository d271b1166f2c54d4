"""A text is committed to, not written down: it can be shown, it can be erased, and it cannot be guessed."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given

from tests.domain.test_timeline import plain
from tocsin.domain import disclosure
from tocsin.domain.disclosure import DisclosureError, commitment, commitments, disclose, read
from tocsin.domain.sealing import seal

SALT = bytes(range(16))


def test_commitments_are_those_of_rfc_9901() -> None:
    # RFC 9901, 4.2.1 and 4.2.3: its own example of a disclosure and of its digest.
    example = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"
    assert commitment(example) == "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0"
    assert (read(example).name, read(example).value) == ("family_name", "Möbius")


@given(plain.filter(lambda value: value is not None))
def test_what_was_disclosed_reads_back(value: Any) -> None:
    made = disclose("title", value, SALT)
    assert read(made) == disclosure.Disclosure("AAECAwQFBgcICQoLDA0ODw", "title", value)
    assert "=" not in made


def test_a_guess_cannot_be_confirmed_without_the_salt() -> None:
    row = {"id": 1, "title": "ana@example.org cannot sign in", "description": ""}
    salts = iter([SALT, SALT[::-1]])
    sealed = seal("incidents", row, lambda: next(salts))
    said = sealed.canonical.decode()
    assert "ana" not in said
    guesses = [f'["title","{row["title"]}"]', f'"{row["title"]}"', row["title"], f'["","title","{row["title"]}"]']
    for guess in guesses:
        for form in (str(guess).encode(), urlsafe_b64encode(str(guess).encode()).rstrip(b"=")):
            hashed = hashlib.sha256(form).digest()
            assert urlsafe_b64encode(hashed).rstrip(b"=").decode() not in said
            assert hashed.hex() not in said
    # The same text twice is committed to in two ways: equal texts do not show either.
    assert commitment(disclose("title", "x", SALT)) != commitment(disclose("title", "x", SALT[::-1]))


@pytest.mark.parametrize(
    "nonsense",
    ["", "!", "WyJh", "e30", "W10", "WyJhIiwiYiJd", "WzEsImIiLDJd", "WyJhIiwyLDNd", "WyJhIiwiYiIsbnVsbF0", "\u20ac"],
)
def test_what_is_no_disclosure_is_refused(nonsense: str) -> None:
    with pytest.raises(DisclosureError):
        read(nonsense)


def test_a_salt_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        disclose("title", "x", b"short")


TITLE, NOTES = disclose("title", "It burns", SALT), disclose("description", "Badly", SALT[::-1])
BOTH = {"title": "It burns", "description": "Badly"}
COMMITTED = commitments([TITLE, NOTES])


@pytest.mark.parametrize(
    ("values", "disclosures", "erased", "wrong"),
    [
        (BOTH, [TITLE, NOTES], [], []),
        (BOTH, [NOTES, TITLE], [], []),
        ({"title": None, "description": "Badly"}, [NOTES], ["title"], []),
        ({"title": None, "description": None}, [], ["description", "title"], []),
        ({"title": "It rains", "description": "Badly"}, [TITLE, NOTES], [], ["title"]),
        ({"title": None, "description": "Badly"}, [TITLE, NOTES], [], ["title"]),
        (BOTH, [NOTES], [], ["disclosures", "title"]),
        ({"title": None, "description": "Badly"}, [NOTES], [], ["disclosures"]),
        (BOTH, [TITLE, TITLE, NOTES], [], ["disclosures"]),
        (BOTH, [TITLE, NOTES, "x"], [], ["disclosures"]),
        (BOTH, [disclose("title", "It burns", SALT[::-1]), NOTES], [], ["disclosures", "title"]),
        (BOTH, [NOTES], ["title"], ["title"]),
        (BOTH, [TITLE, NOTES], ["title"], ["erased"]),
        ({"title": None, "description": "Badly"}, [NOTES], ["title", "title"], ["erased"]),
        ({"title": None, "description": "Badly"}, [NOTES], ["number"], ["erased"]),
    ],
)
def test_every_text_needs_its_disclosure_and_every_commitment_its_text(
    values: dict[str, object], disclosures: list[str], erased: list[str], wrong: list[str]
) -> None:
    assert disclosure.changed(values, disclosures, erased, COMMITTED) == wrong
