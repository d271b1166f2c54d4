"""What a hostile client writes, and reports of it in every protocol of the intake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from tests.conftest import INTAKE_KEY
from tests.web.conftest import Live

MARK = "hacked"
"""No element and no attribute of ours has it in its name: where one in a page's tree has, a text has broken out."""

PAYLOADS = (
    "<script>window.__hacked=1</script><hacked-tag>",
    '"><hacked-tag data-hacked onclick=window.__hacked=1>',
    "'><hacked-tag data-hacked>",
    "' data-hacked='1' onmouseover='window.__hacked=1",
    '" data-hacked autofocus onfocus="window.__hacked=1',
    "` data-hacked onerror=window.__hacked=1 `<hacked-tag>`",
    " data-hacked=1 onload=window.__hacked=1 ",
    "<img src=x data-hacked onerror=window.__hacked=1>",
    "<img src=//evil.example/hacked.png>",
    "<svg data-hacked onload=window.__hacked=1><animate onbegin=window.__hacked=1>",
    "<math><mi data-hacked xlink:href=javascript:window.__hacked=1>x</mi></math>",
    "<a data-hacked href=javascript:window.__hacked=1>x</a>",
    "javascript:window.__hacked=1//",
    "data:text/html,<script>window.__hacked=1</script>",
    "//evil.example/hacked",
    "http://evil.example/hacked",
    "{{ 7654321 * 191 }}{% set hacked = 1 %}${7654321*191}#{7654321*191}",
    "<div hx-get=/admin hx-trigger=load data-hacked hx-on::load=window.__hacked=1></div>",
    "</title></textarea></style></script></svg><hacked-tag>",
    "<!--><hacked-tag>--!><hacked-tag>-->",
    "</script><script>window.__hacked=1</script>",
    "]]><hacked-tag>&lt;hacked-tag&gt;&#60;hacked-tag&#62;",
    "}</style><style>*{display:none}body{background:url(//evil.example/hacked)}",
    "<iframe data-hacked srcdoc='<script>parent.__hacked=1</script>'></iframe>",
    "<base href=//evil.example/><hacked-tag>",
    "<meta http-equiv=refresh data-hacked content=0;url=//evil.example/hacked>",
    "<form data-hacked action=//evil.example><button>Sign in</button></form>",
    "<link data-hacked rel=stylesheet href=//evil.example/hacked.css>",
    '=HYPERLINK("http://evil.example/hacked")',
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "[hacked](javascript:window.__hacked=1) ![x](http://evil.example/x.png) <http://evil.example> # | x",
    "W" * 400,
)
"""Each is one printable line."""

UNPRINTABLE = (
    "\u2028<hacked-tag>\u2029window.__hacked=1",
    "\u202egnp.exe\u2066hacked\u2069\u200f",
    "\u200b\u200d\ufeff<hacked-tag>",
    "\x00<hacked-tag>\x00",
    "\ud800<hacked-tag>\udfff",
    "\x1b[31;1mred\x1b]8;;http://evil.example\x07hacked",
    "line\r\nX-Hacked: 1\r\nBEGIN:VEVENT\r\nSUMMARY:hacked\r\nEND:VEVENT\r\n",
    "\t=1+1\r\n=1+1",
    "<scr\x00ipt>window.__hacked=1</scr\x00ipt>",
)
EVERYTHING = (*PAYLOADS, *UNPRINTABLE)


class Hand:
    """Writes another payload into each field; one that begins elsewhere writes them into other fields."""

    def __init__(self, begin: int = 0, payloads: tuple[str, ...] = PAYLOADS) -> None:
        self.begin = begin
        self._payloads = payloads
        self._next = count(begin)

    def __call__(self, field: str, limit: int) -> str:
        """Return what is written into a field: as many payloads as it takes, at least one."""
        text = self._payload()
        while limit >= 1000 and len(text) < 500:
            text += " " + self._payload()
        # Names are unique among their like, and begin and end with something that can be seen.
        return f"{text[: limit - 5].strip()}-{next(self._next)}" if limit < 1000 else text[:limit]

    def _payload(self) -> str:
        return self._payloads[next(self._next) % len(self._payloads)]

    def short(self, limit: int) -> str:
        """Return one payload for a text that is not unique."""
        return self._payload()[:limit]


def native(hand: Hand) -> dict[str, Any]:
    """Return a report in which every text is hostile."""
    frames = [
        {
            "function": hand.short(256),
            "filename": hand.short(256),
            "module": hand.short(256),
            "line": 42,
            "sourceLine": hand.short(512),
            "inApp": own,
        }
        for own in (True, False, True)
    ]
    names = ("service", "environment", "release", "serverName", "logger", "culprit", "platform", "userId", "traceId")
    return {
        "severity": "CRITICAL",
        "type": hand.short(256),
        "message": hand("message", 8000),
        "template": hand.short(500),
        # What varies in a fingerprint's part is left out of it: letters are not.
        "fingerprint": [hand.short(200), "x" * (hand.begin + 1)],
        "exceptions": [{"type": hand.short(256), "message": hand.short(4000), "frames": frames} for _ in range(2)],
        "tags": {hand.short(64): hand.short(256) for _ in range(4)},
        "context": {
            "request": {"method": hand.short(9), "url": hand.short(500), "headers": {hand.short(50): hand.short(500)}},
            hand.short(128): {hand.short(128): [hand.short(500)]},
        },
        **{name: hand.short(128) for name in names},
    }


def _sentry(hand: Hand) -> bytes:
    frames: list[dict[str, Any]] = [
        {name: hand.short(200) for name in ("function", "filename", "module", "context_line", "abs_path")}
    ]
    frames[0] |= {"pre_context": [hand.short(99)], "post_context": [hand.short(99)], "vars": {"x": hand.short(99)}}
    event: dict[str, Any] = {
        "event_id": "0123456789abcdef0123456789abcdef",
        "level": "fatal",
        "exception": {"values": [{"type": hand.short(99), "value": hand.short(500), "stacktrace": {"frames": frames}}]},
        "breadcrumbs": {"values": [{"message": hand.short(99), "category": hand.short(99)}]},
        "user": {"id": hand.short(99), "email": hand.short(99), "username": hand.short(99)},
        "request": {"url": hand.short(99), "query_string": hand.short(99), "data": hand.short(99)},
        "contexts": {hand.short(20): {"name": hand.short(99)}},
        "tags": {hand.short(32): hand.short(99)},
        "extra": {hand.short(32): hand.short(99)},
        **{name: hand.short(64) for name in ("transaction", "release", "environment", "server_name", "logger")},
    }
    lines = ({"event_id": event["event_id"]}, {"type": "event"}, event)
    return b"\n".join(json.dumps(line).encode() for line in lines)


def _otlp(hand: Hand) -> dict[str, Any]:
    def attributes(*names: str) -> list[dict[str, object]]:
        return [{"key": name, "value": {"stringValue": hand.short(500)}} for name in (*names, hand.short(60))]

    said: dict[str, Any] = {"severityNumber": 21, "body": {"stringValue": hand.short(999)}}
    said["attributes"] = attributes("exception.type", "exception.message", "exception.stacktrace", "user.id")
    scope = {"scope": {"name": hand.short(99)}, "logRecords": [said]}
    resource = {"attributes": attributes("service.name", "service.version", "host.name", "deployment.environment")}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}


def _alert(hand: Hand) -> dict[str, Any]:
    labels = {
        "alertname": hand.short(99),
        "severity": "critical",
        "instance": hand.short(99),
        "service": hand.short(99),
    }
    annotations = {"summary": hand.short(500), "description": hand.short(500), "runbook_url": "javascript:hacked"}
    said: dict[str, Any] = {"labels": labels, "annotations": annotations, "startsAt": "2026-03-01T02:00:00Z"}
    return said | {"generatorURL": "javascript:window.__hacked=1", "panelURL": "javascript:window.__hacked=1"}


def protocols(hand: Hand) -> Iterator[tuple[str, dict[str, str], Any]]:
    """Return a hostile report of every protocol: its path, its headers, its body."""
    yield "/api/v1/errors", {}, native(hand)
    yield f"/api/1/envelope/?sentry_key={INTAKE_KEY}", {}, _sentry(hand)
    yield "/v1/logs", {}, _otlp(hand)
    for sender in ("alertmanager", "grafana"):
        alert = _alert(hand) | {"status": "firing"}
        yield f"/api/v1/{sender}", {}, {"version": "4", "externalURL": "javascript:hacked", "alerts": [alert]}
    yield "/api/v2/alerts", {}, [_alert(hand)]
    yield (
        "/api/v1/generic",
        {},
        {"level": "critical", "message": hand.short(999), "host": hand.short(99), "x": hand.short(99)},
    )
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": hand.short(99),
        "source": hand.short(99),
        "type": hand.short(99),
    }
    event |= {"subject": hand.short(99), "data": {"severity": "critical", "message": hand.short(999)}}
    yield "/api/v1/cloudevents", {"Content-Type": "application/cloudevents+json"}, event
    payload: dict[str, Any] = {
        "summary": hand.short(999),
        "source": hand.short(99),
        "severity": "critical",
        "component": hand.short(99),
    }
    payload |= {"class": hand.short(99), "group": hand.short(99), "custom_details": {hand.short(50): hand.short(99)}}
    links = {"client": hand.short(99), "client_url": "javascript:hacked", "links": [{"href": "javascript:hacked"}]}
    said: dict[str, Any] = {
        "routing_key": INTAKE_KEY,
        "event_action": "trigger",
        "dedup_key": hand.short(200),
        "payload": payload,
    }
    yield "/v2/enqueue", {}, said | links


async def attack(live: Live, path: str, headers: dict[str, str], body: Any) -> int:
    """Send a report; return the status."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json"} | headers
    answer = await live.call("POST", path, token=INTAKE_KEY, data=data, headers=sent)
    assert answer.status < 500, (path, answer.status, answer.body)
    return answer.status


async def attack_everywhere(live: Live) -> None:
    """Report with every payload in every field of the product's own intake, and in those of all others."""
    for begin in range(0, len(EVERYTHING), 2):
        await attack(live, "/api/v1/errors", {}, native(Hand(begin, EVERYTHING)))
    for begin in (0, 13, 29):
        for path, headers, body in protocols(Hand(begin)):
            assert await attack(live, path, headers, body) < 300, path  # what HTTP calls success
        for path, headers, body in protocols(Hand(begin, UNPRINTABLE)):
            await attack(live, path, headers, body)
