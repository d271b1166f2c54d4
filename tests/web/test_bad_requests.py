"""Whatever a client sends, it is told what is wrong, and it never gets a 500."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conftest import ADMIN_TOKEN
from tests.web.conftest import Live, rows

pytestmark = pytest.mark.anyio

UNKNOWN_ID = "0196f3a0-7c3e-7c3e-8c3e-0123456789ab"
JSON = {"Content-Type": "application/json"}
BODIES = [
    (b"{", 400),
    (b'{"notes":"a"}x', 400),
    (b"\xff", 400),
    (b'{"notes":"\xff"}', 400),
    (b'{"notes":"\\ud800"}', 400),
    (b'{"notes":"a\x00b"}', 400),
    (b"\xef\xbb\xbf{}", 400),
    (b'{"notes":"a\\u0000b"}', 422),
    (b'{"notes":""}', 422),
    (b'{"notes":"  \\n "}', 422),
    (b'{"notes":null}', 422),
    (b'{"notes":' + b"9" * 5_000 + b"}", 422),
    (b'{"notes":1e999}', 422),
    (b'{"notes":{}}', 422),
    (b'{"notes":"a","nots":"b"}', 422),
    (b'{"notes":' + b"[" * 100_000, 422),
    (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422),
    (b"[]", 422),
    (b"null", 422),
    (b"", 422),
    (b'{"notes":"' + b"x" * 10_001 + b'"}', 422),
    (b'{"notes":"' + b"x" * 1_048_576 + b'"}', 413),
]

WRONG_FIELDS: list[tuple[str, dict[str, Any], str]] = [
    ("root-cause", {"summary": "s", "category": "GREMLINS", "remediationSteps": "r"}, "category"),
    ("root-cause", {"summary": "s", "category": "UNKNOWN"}, "remediationSteps"),
    (
        "root-cause",
        {"summary": "s", "category": "UNKNOWN", "remediationSteps": "r", "verifiedAt": "now"},
        "verifiedAt",
    ),
    (
        "root-cause",
        {"summary": "s", "category": "UNKNOWN", "remediationSteps": "r", "verifiedAt": "9999-12-31T23:59:59-14:00"},
        "verifiedAt",
    ),
    (
        "root-cause",
        {"summary": "s", "category": "UNKNOWN", "remediationSteps": "r", "verifiedAt": "0001-01-01T00:00:00+14:00"},
        "verifiedAt",
    ),
    ("resolve", {"resolutionSummary": "s", "followUpActions": [1]}, "followUpActions[0]"),
    (
        "resolve",
        {"resolutionSummary": "s", "followUpActions": [{"title": "x", "who": "y"}]},
        "followUpActions[0].who",
    ),
    ("resolve", {"resolutionSummary": "s", "followUpActions": ["a\u0000b"]}, "followUpActions"),
    ("resolve", {"resolutionSummary": "s", "followUpActions": ["x"] * 51}, "followUpActions"),
    ("close", {"lessonsLearned": 5}, "lessonsLearned"),
    ("notes", {"text": "\u0000"}, "text"),
    ("escalate", {"to": "nobody@example.org", "reason": "r"}, "to"),
    ("escalate", {"to": "a\u0000@example.org", "reason": "r"}, "to"),
    ("escalate", {"to": "not an address", "reason": "r"}, "to"),
    ("severity", {"severity": "WORST", "reason": "r"}, "severity"),
    ("severity", {"severity": "LOW", "reason": " "}, "reason"),
]
WRONG_OPENINGS: list[dict[str, Any]] = [
    {"severity": "HIGH", "title": ""},
    {"severity": "HIGH", "title": "two\nlines"},
    {"severity": "HIGH", "title": "x" * 201},
    {"severity": "HIGH", "title": "a\u0000"},
    {"severity": "HIGH", "title": "t", "description": "x" * 10_001},
    {"severity": "HIGH", "title": "t", "errorId": "7"},
    {"title": "t"},
]
WRONG_QUERIES = [
    "limit=0",
    "limit=201",
    "limit=x",
    "limit=1&limit=2",
    "limit=" + "9" * 5_000,
    "offset=-1",
    "offset=10001",
    "cursor=0",
    "cursor=99999999999999999999",
    "status=DONE",
    "severity=high",
    "createdAfter=yesterday",
    "createdAfter=2026-01-01T00:00:00",
    "createdAfter=0001-01-01T00:00:00%2B14:00",
    "stat=open",
    "status=%00",
    "createdBefore=9999-12-31T23:59:59-14:00",
    "%00=1",
    "limit=%FF",
]
WRONG_REFS = [
    "0",
    "-1",
    "1.5",
    "99",
    "INC-",
    "INC-99",
    "9" * 30,
    "9" * 5_000,
    "x",
    "%00",
    "%F0%9F%94%94",
    "1%20",
    "1;2",
    "..%2Fstats",
    UNKNOWN_ID,
    UNKNOWN_ID.replace("-", ""),
    "{1}",
    "stats%00",
    "'",
    "%C3%28",
]
RAW_REQUESTS: list[tuple[bytes, set[int]]] = [
    (b"GET /api/incidents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n", {401}),
    (b"GET /api/incidents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer\r\n\r\n", {401}),
    (b"GET /api/incidents HTTP/1.1\r\nHost: x\r\nCookie: tocsin_session=\xe9\xff; =;\r\n\r\n", {401}),
    (b"GET /api/incidents HTTP/1.1\r\nHost: x\r\nUser-Agent: \xff\xfe\xe9\r\n\r\n", {401}),
    (b"GET /api/incidents/%ed%a0%80 HTTP/1.1\r\nHost: x\r\n\r\n", {401}),
    (b"POST /api/auth/sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n", {400, 413}),
    (b"BREW /api/incidents HTTP/1.1\r\nHost: x\r\n\r\n", {400, 405}),
    (b"TRACE /api/incidents HTTP/1.1\r\nHost: x\r\n\r\n", {405}),
    (b"GET http://x/api/incidents HTTP/1.1\r\nHost: x\r\n\r\n", {401, 404}),
    (b"garbage\r\n\r\n", {400}),
]


async def test_a_bad_body_is_refused_with_the_status_that_fits(live: Live) -> None:
    number = (await live.open_incident())["number"]
    for body, status in BODIES:
        path = f"/api/incidents/{number}/acknowledge"
        answer = await live.call("POST", path, token=ADMIN_TOKEN, data=body, headers=JSON)
        assert answer.status == status, (body[:40], answer.body)
        assert answer.code
        if status == 422:
            assert answer.json["errors"]


async def test_a_misspelt_field_is_named_instead_of_lost(live: Live) -> None:
    number = (await live.open_incident())["number"]
    answer = await live.post(f"/api/incidents/{number}/resolve", {"resolutionSummary": "ok", "lessonLearned": "x"})
    assert answer.json["errors"] == [{"field": "lessonLearned", "problem": "is not known here"}]


async def test_the_wrong_field_is_named(live: Live) -> None:
    number = (await live.open_incident())["number"]
    for step, body, at in WRONG_FIELDS:
        answer = await live.post(f"/api/incidents/{number}/{step}", body)
        assert (answer.status, answer.code) == (422, "INVALID"), (step, body, answer.body)
        assert answer.json["errors"][0]["field"] == at


async def test_an_incident_is_not_opened_with_what_is_not_valid(live: Live) -> None:
    for body in WRONG_OPENINGS:
        assert (await live.post("/api/incidents", body)).code == "INVALID", body
    assert await rows(live.app, b"SELECT count(*) FROM incidents") == [(0,)]


async def test_a_query_that_makes_no_sense_is_refused(live: Live) -> None:
    for query in WRONG_QUERIES:
        answer = await live.get(f"/api/incidents?{query}")
        assert (answer.status, answer.code) == (422, "INVALID"), (query, answer.body)


async def test_an_incident_that_is_none_is_not_found(live: Live) -> None:
    await live.open_incident()
    for ref in WRONG_REFS:
        answer = await live.get(f"/api/incidents/{ref}")
        assert (answer.status, answer.code) == (404, "NOT_FOUND"), ref
        acted = await live.post(f"/api/admin/incidents/{ref}/notes", {"text": "x"})
        assert acted.status == 404, ref


async def test_only_json_is_taken_for_json(live: Live) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "", "json", "application/xml"):
        headers = {"Content-Type": content_type}
        answer = await live.call("POST", "/api/incidents", token=ADMIN_TOKEN, data=b"{}", headers=headers)
        assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE"), content_type


async def test_json_may_have_parameters_and_a_suffix(live: Live) -> None:
    for content_type in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.tocsin+json"):
        answer = await live.call(
            "POST", "/api/incidents", token=ADMIN_TOKEN, data=b"{}", headers={"Content-Type": content_type}
        )
        assert answer.code == "INVALID"


async def test_an_odd_e_mail_signs_nobody_in(live: Live) -> None:
    for email in ["a\u0000@b.c", "x", "@", "a@" + "b" * 300, "ä@ö.de", "a@b\n"]:
        answer = await live.call("POST", "/api/auth/sign-in", json={"email": email, "password": "\u0000"})
        assert answer.status in (401, 422), email


async def _raw(live: Live, request: bytes) -> bytes:
    host, _, port = live.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    try:
        async with asyncio.timeout(10):
            return await reader.readuntil(b"\r\n")
    finally:
        writer.close()
        await writer.wait_closed()


async def test_raw_bytes_on_the_wire_are_never_a_failure_of_ours(live: Live) -> None:
    for request, statuses in RAW_REQUESTS:
        line = await _raw(live, request)
        assert int(line.split()[1]) in statuses, (request, line)


async def test_a_client_that_goes_away_while_it_sends_is_no_incident(live: Live) -> None:
    host, _, port = live.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /api/auth/sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await live.get("/healthz")).status == 200
    assert (await live.get("/api/incidents")).json["incidents"] == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=x", "limit: must be a whole number, not text."),
        ("limit=0", "limit: must be at least 1."),
        ("limit=99999", "limit: must be at most "),
        ("severity=LOUD", "severity[0]: 'LOUD' is none of the values that it can have."),
    ],
)
async def test_a_parameter_that_is_wrong_says_what_it_must_be(live: Live, query: str, said: str) -> None:
    answer = await live.get(f"/api/incidents?{query}")
    assert (answer.status, answer.code) == (422, "INVALID")
    assert answer.json["detail"].startswith(said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"title": 7, "severity": "HIGH"}, "title: must be text, not a whole number."),
        ({"title": [], "severity": "HIGH"}, "title: must be text, not a list."),
        ({"title": None, "severity": "HIGH"}, "title: must be text, not null."),
        ({"title": "t", "severity": "LOUD"}, "severity: 'LOUD' is none of the values that it can have."),
        ([], "The request: must be an object, not a list."),
    ],
)
async def test_a_field_that_is_wrong_says_what_it_must_be(live: Live, body: object, said: str) -> None:
    answer = await live.post("/api/incidents", body)
    assert (answer.status, answer.json["detail"]) == (422, said)
