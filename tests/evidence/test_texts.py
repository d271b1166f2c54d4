"""What people wrote: disclosed as the record commits to it, or not at all; withheld, erased, and never invented."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.support.logbook import Incident, Logbook, closed_incident, policy_text
from tocsin.domain.disclosure import commitments, disclose
from tocsin.evidence import EvidenceError
from tocsin.evidence.bundle import MAX_DISCLOSURES, Bundle, encode, parse_bundle
from tocsin.evidence.policy import parse_policy
from tocsin.evidence.texts import RecordTexts, TextState, texts_of
from tocsin.evidence.verdict import Report
from tocsin.evidence.verify import verify

SALT = bytes(range(16))


@dataclass(frozen=True, slots=True)
class Told:
    """An incident in its log: its evidence, and the policy that trusts that log."""

    bundle: Bundle
    policy: bytes

    def judged(self, bundle: Bundle | None = None) -> Report:
        return verify(parse_bundle(encode(bundle or self.bundle)), parse_policy(self.policy))


def told(incident: Incident) -> Told:
    log = Logbook()
    return Told(log.bundle(incident, log.seal((incident, len(incident.entries)))), policy_text(log))


@pytest.fixture(scope="module")
def closed() -> Told:
    """The evidence of an incident with two notes."""
    return told(closed_incident(42, notes=2))


def without(bundle: Bundle, *names: str) -> Bundle:
    """Return the bundle without the texts of these columns; without names, without any."""

    def left(disclosures: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(one for one in disclosures if names and not any(f'"{name}",' in _read(one) for name in names))

    return replace(
        bundle,
        entries=tuple(replace(entry, disclosures=left(entry.disclosures)) for entry in bundle.entries),
        details=tuple(replace(detail, disclosures=left(detail.disclosures)) for detail in bundle.details),
    )


def _read(disclosure: str) -> str:
    return urlsafe_b64decode(disclosure + "=" * (-len(disclosure) % 4)).decode()


def test_what_is_disclosed_is_told(closed: Told) -> None:
    report = closed.judged()
    assert report.proven
    said = {(text.entry, text.name): text.value for text in report.texts}
    assert said == {
        (1, "title"): "It broke — at 3 o’clock",
        (2, "ack_notes"): "On it\nand no other",
        (2, "personal"): {"notes": "On it\nand no other"},
        (4, "personal"): {"text": "Note 0"},
        (5, "personal"): {"text": "Note 1"},
        (6, "root_cause_summary"): "Too small a pool",
        (7, "resolution_summary"): "Larger now",
        (8, "lessons_learned"): "Watch it",
        (8, "follow_up_actions"): [{"title": "Do"}],
    }
    assert report.about_texts == ("9 of 9 texts are disclosed: to the letter what the record commits to.",)


def test_what_is_withheld_is_said_and_everything_else_is_proven(closed: Told) -> None:
    report = closed.judged(without(closed.bundle))
    assert report.proven
    assert {text.state for text in report.texts} == {TextState.WITHHELD}
    assert len(report.texts) == 9
    assert report.about_texts[0].startswith(
        "9 of 9 texts are withheld by whoever made this file (entry 1: one of incid"
    )
    some = closed.judged(without(closed.bundle, "ack_notes", "lessons_learned"))
    assert some.proven
    assert some.about_texts == (
        "7 of 9 texts are disclosed: to the letter what the record commits to.",
        "2 of 9 texts are withheld by whoever made this file (entry 2: ack_notes; entry 8: lessons_learned). "
        "The record commits to them: they can be shown later, and nothing else in their place.",
    )


def test_what_was_erased_is_said_with_the_entry_that_says_why() -> None:
    incident = closed_incident(42, notes=1)
    incident.erase("CLOSED", incident.details[0], "title")
    incident.erase("CLOSED", incident.entries[3], "personal")
    case = told(incident)
    report = case.judged(without(case.bundle, "title", "personal"))
    assert report.proven
    erased = [text for text in report.texts if text.state is TextState.ERASED]
    assert [(text.entry, text.table, text.name, text.erased_by) for text in erased] == [
        (1, "incidents", "title", 8),
        (4, "incident_lifecycle", "personal", 9),
    ]
    assert report.about_texts[-1] == (
        "2 of 8 texts are erased (entry 1: title; entry 4: personal): "
        "entries 8, 9 say why, and nobody can prove any more what they said."
    )
    assert "1 of 8 texts are withheld" in report.about_texts[1], "nothing says that the entry of the ack was erased"
    kept = case.judged()
    assert kept.proven, "who kept the disclosure shows what was recorded"
    assert "2 of those that are disclosed were erased meanwhile" in kept.about_texts[-1]


def swapped(details: list[dict[str, Any]]) -> None:
    first, second = details[0]["disclosures"], details[2]["disclosures"]
    details[0]["disclosures"], details[2]["disclosures"] = second, first


def put(*disclosures: str) -> Callable[[list[dict[str, Any]]], None]:
    return lambda details: details[0].update(disclosures=list(disclosures))


FORGERIES: dict[str, tuple[Callable[[list[dict[str, Any]]], None], str]] = {
    "swapped": (swapped, r"detail 1 \(incidents\): a disclosure is none of its own"),
    "changed": (put(disclose("title", "It broke — at 4 o’clock", SALT)), "a disclosure is none of its own"),
    "invented": (
        lambda details: details[0]["disclosures"].append(disclose("description", "All is well", SALT)),
        "a disclosure is none of its own",
    ),
    "twice": (lambda details: details[0]["disclosures"].extend(details[0]["disclosures"]), "discloses title twice"),
    "nonsense": (put("?"), "a disclosure is none of its own"),
    "no text": (put("a", ""), r"details\[0\].disclosures\[1\] has 0 bytes"),
    "no list": (lambda details: details[0].update(disclosures="x"), r"details\[0\].disclosures is not a list"),
    "too many": (put(*["x"] * (MAX_DISCLOSURES + 1)), "has 17 items, more than 16"),
    "too large": (put("x" * 600_000), "has 600000 bytes, not 1 to 524288"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_text_that_was_not_recorded_is_refused(closed: Told, name: str) -> None:
    forge, problem = FORGERIES[name]
    whole = json.loads(encode(closed.bundle))
    forge(whole["details"])
    with pytest.raises(EvidenceError, match=problem):
        verify(parse_bundle(json.dumps(whole).encode()), parse_policy(closed.policy))


def test_notes_that_change_places_are_refused(closed: Told) -> None:
    entries = list(closed.bundle.entries)
    for place, other in ((3, 4), (4, 3)):
        entries[place] = replace(entries[place], disclosures=closed.bundle.entries[other].disclosures)
    with pytest.raises(EvidenceError, match=r"entry 4 \(NOTE_ADDED\): a disclosure is none of its own"):
        closed.judged(replace(closed.bundle, entries=tuple(entries)))


def committed(*disclosures: str, **columns: object) -> dict[str, Any]:
    """Return an incident's record that commits to these disclosures, as a superuser could have made it."""
    return {"record": "incidents", "v": 1, "_sd": commitments(disclosures), **columns}


def raw(text: str) -> str:
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


GOOD_SALT = "AAECAwQFBgcICQoLDA0ODw"


@pytest.mark.parametrize(
    ("disclosure", "problem"),
    [
        (disclose("severity", "LOW", SALT), "discloses 'severity', which is no text of incidents"),
        (disclose("ack_notes", "x", SALT), "discloses 'ack_notes', which is no text of incidents"),
        (disclose("title", ["x"], SALT), "discloses 'title', which is no text"),
        (raw(f'["{GOOD_SALT}","title",null]'), "is not base64url of"),
        (raw('["short","title","x"]'), "is not base64url of"),
        (raw(f'["{GOOD_SALT}","title"]'), "is not base64url of"),
        (raw(f'["{GOOD_SALT}",1,"x"]'), "is not base64url of"),
        (raw(f'{{"{GOOD_SALT}":1}}'), "is not base64url of"),
        (raw(f'["{GOOD_SALT}","title",{{"a":1,"a":2}}]'), "a name twice"),
        (raw(f'["{GOOD_SALT}","title",1.5]'), "is not an integer"),
        (raw(f'["{GOOD_SALT}","title","\\ud800"]'), "has no canonical form"),
        (raw("[" * 100_000), "nested too deeply"),
        ("AAAAA", "is not base64url of"),
        ("a+/b", "is not base64url of"),
        ("\u20ac", "is not base64url of"),
        ("_____w", "is not UTF-8"),
    ],
)
def test_what_is_no_disclosure_is_refused_even_if_it_was_recorded(disclosure: str, problem: str) -> None:
    with pytest.raises(EvidenceError, match=problem) as refused:
        texts_of(committed(disclosure), [disclosure], {})
    assert "\n" not in str(refused.value)


TITLE, OTHER = disclose("title", "x", SALT), disclose("title", "y", SALT)


@pytest.mark.parametrize(
    ("said", "disclosures", "erased", "problem"),
    [
        (committed() | {"_sd": "x"}, [], {}, "no list of hashes"),
        (committed() | {"_sd": [1]}, [], {}, "no list of hashes"),
        (committed() | {"_sd": ["x"]}, [], {}, "no list of hashes"),
        (committed() | {"_sd": commitments([TITLE]) * 2}, [], {}, "not those of a record of its table"),
        (committed() | {"_sd": commitments([TITLE, OTHER])[::-1]}, [], {}, "not those of a record of its table"),
        (committed(TITLE, OTHER, disclose("title", "z", SALT)), [], {}, "not those of a record of its table"),
        (committed(TITLE, title="y"), [], {}, "not those of a record of its table"),
        (committed(TITLE, OTHER), [TITLE, OTHER], {}, "discloses title twice"),
        (committed(TITLE), [TITLE], {"description": 2}, "more of its texts are disclosed or erased"),
        ({"record": "incidents", "title": "x"}, [TITLE], {}, "it commits to no texts"),
        ({"record": "incidents", "title": "x"}, [], {"title": 2}, "it commits to no texts"),
        (
            {"record": "incident_escalation_acknowledgments", "_sd": commitments([TITLE])},
            [],
            {},
            "not those of a record",
        ),
    ],
)
def test_a_record_commits_to_its_own_texts_alone(
    said: dict[str, Any], disclosures: list[str], erased: dict[str, int], problem: str
) -> None:
    with pytest.raises(EvidenceError, match=problem):
        texts_of(said, disclosures, erased)


def test_a_record_from_before_holds_its_texts_itself() -> None:
    assert texts_of({"record": "incidents", "title": "x", "description": None}, [], {}).disclosed == {"title": "x"}


ACCOUNTS: dict[str, tuple[object, str]] = {
    "nothing": ({}, "does not say what it erased"),
    "no object": (None, "does not say what it erased"),
    "an empty list": ({"erased": []}, "does not say what it erased"),
    "no text": ({"erased": [{"table": "incidents", "checksum": "00" * 32, "columns": ["severity"]}]}, "is no text of"),
    "no table": ({"erased": [{"table": "users", "checksum": "00" * 32, "columns": ["name"]}]}, "is no text of the rec"),
    "no columns": ({"erased": [{"table": "incidents", "checksum": "00" * 32, "columns": []}]}, "is no text of the rec"),
    "strange": ({"erased": [{"table": "incidents", "checksum": "x", "columns": [{}]}]}, "is no text of the record"),
    "nobody's": (
        {"erased": [{"table": "incidents", "checksum": "00" * 32, "columns": ["title"]}]},
        "that is not there",
    ),
}


@pytest.mark.parametrize("name", ACCOUNTS)
def test_an_account_that_names_no_text_is_refused(name: str) -> None:
    account, problem = ACCOUNTS[name]
    incident = closed_incident(1)
    incident.entry("PERSONAL_DATA_ERASED", "CLOSED", "CLOSED", metadata=account)
    with pytest.raises(EvidenceError, match=problem):
        told(incident).judged()


def test_reports_that_were_erased_are_no_texts_of_the_record() -> None:
    incident = closed_incident(1)
    account = {"erased": [{"table": "audit_logs", "all": True}], "reason": "Asked", "request": None}
    incident.entry("PERSONAL_DATA_ERASED", "CLOSED", "CLOSED", metadata=account)
    assert told(incident).judged().proven


@pytest.mark.parametrize(
    ("texts", "may"),
    [
        (RecordTexts("incident_resolution", {"lessons_learned": "x", "follow_up_actions": [1]}, {}, 1), True),
        (RecordTexts("incident_resolution", {"lessons_learned": "x", "follow_up_actions": []}, {}, 1), False),
        (RecordTexts("incident_resolution", {"lessons_learned": "x"}, {"follow_up_actions": 9}, 1), True),
        (RecordTexts("incident_resolution", {}, {}, 3), True),
        (RecordTexts("incident_resolution", {}, {}, 2), False),
        (RecordTexts("incident_resolution", {"resolution_summary": "x", "lessons_learned": "x"}, {}, 0), False),
    ],
)
def test_an_incident_closes_at_once_only_with_lessons_and_follow_ups(texts: RecordTexts, *, may: bool) -> None:
    assert texts.may_have("resolution_summary", "lessons_learned", "follow_up_actions") is may


def test_closed_at_once_is_proven_with_and_without_its_texts() -> None:
    incident = closed_incident(3)
    at_once = Incident(3, incident.entries[:4], incident.details[:3], salts=100)
    actor = incident.details[1].columns["ack_by_user_id"]
    said = {"resolution_summary": "Over", "lessons_learned": "Watch", "follow_up_actions": [{"title": "Do"}]}
    resolved = at_once.detail("incident_resolution", resolved_by_user_id=actor, **said)
    at_once.entry("RESOLVED", "INVESTIGATING", "RESOLVED", resolved)
    at_once.entry("CLOSED", "RESOLVED", "CLOSED")
    case = told(at_once)
    assert case.judged().proven
    assert case.judged(without(case.bundle)).proven
    assert case.judged().texts[-1].value == [{"title": "Do"}]
