"""Sentry's SDKs: what the installed one really sends arrives whole, and what any other might send is survived."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.intake.agreement import was_judged_quickly, whole
from tests.intake.samples import (
    KEY,
    RECEIVED_AT,
    Request,
    json_values,
    new_ids,
    nothing_but_refusals,
    what_the_real_sdk_sends,
)
from tocsin.domain.arrival import Arrival
from tocsin.domain.fingerprint import fingerprint
from tocsin.domain.incident import Severity
from tocsin.domain.report import MAX_FRAMES, ErrorReport, Frame
from tocsin.errors import Code, TocsinError
from tocsin.intake import Rejected
from tocsin.intake.decoding import decode_body
from tocsin.intake.sentry import (
    MAX_ALL_ITEMS,
    MAX_ITEMS,
    ClientLoss,
    Envelope,
    envelope_dsn,
    parse_auth,
    parse_envelope,
    parse_store,
)
from tocsin.intake.sentry_event import MAX_BREADCRUMBS

EVENT_ID = "fc6d8c0c43fc4630ad850ee518f1b9d0"


def take(body: bytes) -> Envelope:
    return parse_envelope(body, received_at=RECEIVED_AT, new_event_id=new_ids())


def reports_of(found: Envelope) -> list[ErrorReport | Rejected]:
    return [whole(item) for item in found.arrivals]


def store(event: object) -> ErrorReport:
    arrival = parse_store(json.dumps(event).encode(), received_at=RECEIVED_AT, new_event_id=new_ids())
    report = whole(arrival)
    assert isinstance(report, ErrorReport)
    return report


def envelope(*items: bytes, header: object = None) -> bytes:
    return b"\n".join([json.dumps(header or {}).encode(), *items])


# ---- the real client


@pytest.fixture(scope="module")
def sent() -> list[Request]:
    return what_the_real_sdk_sends()


@pytest.fixture(scope="module")
def reports(sent: list[Request]) -> dict[str, list[ErrorReport]]:
    by_title: dict[str, list[ErrorReport]] = {}
    for request in sent:
        body = decode_body(request.body, request.headers["content-encoding"], 1_000_000)
        for report in reports_of(take(body)):
            assert isinstance(report, ErrorReport)
            by_title.setdefault(report.title, []).append(report)
    return by_title


@pytest.mark.slow
def test_every_failure_of_the_real_program_arrives_once(reports: dict[str, list[ErrorReport]]) -> None:
    assert {title: len(found) for title, found in reports.items()} == {
        "plain words": 1,
        "ValueError: cannot pay order 17": 1,
        "ValueError: cannot pay order 4711": 1,
        "could not pay order 17 for bob": 1,
        "no parameters here": 1,
        "ValueError: cannot pay order 18": 1,
        "RecursionError: maximum recursion depth exceeded": 1,
        "ExceptionGroup: many": 1,
        "grouped by the client": 1,
        "OSError: the shop burned down": 1,
    }


@pytest.mark.slow
def test_real_events_are_judged_without_reading_them_whole(sent: list[Request]) -> None:
    arrivals = [item for request in sent for item in take(request.plain).arrivals if isinstance(item, Arrival)]
    # The endless recursion has more frames than are kept: only the full reader knows which.
    assert [arrival.title for arrival in arrivals if not was_judged_quickly(arrival)] == [
        "RecursionError: maximum recursion depth exceeded"
    ]


def test_the_real_client_names_its_key_in_the_header_and_the_id_in_the_envelope(sent: list[Request]) -> None:
    for request in sent:
        assert parse_auth(request.headers["x-sentry-auth"], None) == KEY
        found = take(request.plain)
        ids = [report.event_id for report in reports_of(found) if isinstance(report, ErrorReport)]
        assert ids == ([found.event_id] if found.event_id else [])


def test_a_real_chain_runs_cause_first_with_its_frames(reports: dict[str, list[ErrorReport]]) -> None:
    (report,) = reports["ValueError: cannot pay order 17"]
    cause, effect = report.exceptions
    assert [cause.type, effect.type] == ["KeyError", "ValueError"]
    assert [effect.message, effect.handled] == ["cannot pay order 17", True]
    assert [frame.function for frame in cause.frames] == ["pay", "find"]
    last = cause.frames[-1]
    assert [last.module, last.filename, last.in_app] == ["__main__", "failing_shop.py", True]
    assert last.source_line == '    raise KeyError(f"no such order {order}")'
    assert last.line is not None


def test_the_same_real_failure_twice_has_one_fingerprint(reports: dict[str, list[ErrorReport]]) -> None:
    (one,), (other,) = reports["ValueError: cannot pay order 17"], reports["ValueError: cannot pay order 4711"]
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one).basis == "stack"


def test_a_real_log_call_brings_its_template(reports: dict[str, list[ErrorReport]]) -> None:
    (report,) = reports["could not pay order 17 for bob"]
    assert [report.template, report.logger] == ["could not pay order %s for %s", "shop.pay"]
    assert [report.severity, fingerprint(report).basis] == [Severity.HIGH, "template"]
    (plain,) = reports["no parameters here"]
    assert [plain.template, plain.severity] == ["", Severity.CRITICAL]


def test_a_real_logged_exception_keeps_what_was_logged(reports: dict[str, list[ErrorReport]]) -> None:
    (report,) = reports["ValueError: cannot pay order 18"]
    assert [report.template, report.context["logMessage"]] == ["boom %d", "boom 18"]


def test_a_real_endless_recursion_keeps_both_ends(reports: dict[str, list[ErrorReport]]) -> None:
    (report,) = reports["RecursionError: maximum recursion depth exceeded"]
    frames = report.exceptions[-1].frames
    assert [len(frames), frames[0].function, frames[-1].function] == [MAX_FRAMES, "main", "descend"]


def test_what_the_real_program_says_about_itself_arrives(reports: dict[str, list[ErrorReport]]) -> None:
    (report,) = reports["grouped by the client"]
    assert report.severity is Severity.CRITICAL
    assert report.fingerprint == ("{{ default }}", "refund")
    assert [report.release, report.environment] == ["shop@1.2.3", "production"]
    assert [report.server_name, report.platform, report.culprit] == ["till-1", "python", "/refund"]
    assert [report.user_id, report.tags] == ["5", {"region": "eu"}]
    assert len(report.trace_id) == 32
    crumbs = report.context["breadcrumbs"]
    assert isinstance(crumbs, list)
    assert [crumbs[0]["message"], crumbs[-1]["message"], len(crumbs)] == ["step 10", "step 29", MAX_BREADCRUMBS]
    contexts = report.context["contexts"]
    assert isinstance(contexts, dict)
    assert contexts["runtime"]["name"] == "CPython"
    assert "modules" not in report.context


def test_a_real_death_is_unhandled(reports: dict[str, list[ErrorReport]]) -> None:
    (report,) = reports["OSError: the shop burned down"]
    assert report.exceptions[-1].handled is False


def test_the_real_client_tells_what_it_dropped(sent: list[Request]) -> None:
    losses = [loss for request in sent for loss in take(request.plain).client_reports]
    assert losses == [ClientLoss("before_send", "error", 1)]


@given(st.data())
def test_damaged_real_envelopes_are_survived(sent: list[Request], data: st.DataObject) -> None:
    body = bytearray(data.draw(st.sampled_from([request.plain for request in sent])))
    for _ in range(data.draw(st.integers(1, 20))):
        position = data.draw(st.integers(0, len(body)))
        body[position : position + data.draw(st.integers(0, 50))] = data.draw(st.binary(max_size=10))
    survives(bytes(body))


# ---- what other clients are known to send


def test_items_without_a_length_end_at_the_line() -> None:
    found = take(
        envelope(
            b'{"type":"event"}',
            b'{"message":"one"}',
            b"",
            b'{"type":"session"}',
            b"{}",
            b'{"type":"attachment","length":7,"filename":"a"}',
            b"a\nb\nc\nd",
            b'{"type":"event","length":null}',
            b'{"message":"two"}',
            header={"event_id": EVENT_ID, "sent_at": "2026-12-01T12:00:00Z"},
        )
    )
    assert [report.title for report in reports_of(found) if isinstance(report, ErrorReport)] == ["one", "two"]
    assert found.others == {"session": 1, "attachment": 1}


@pytest.mark.parametrize("length", [3, 10_000, -1, True, "17", 1.5, 2**80])
def test_a_length_that_cannot_be_right_does_not_cost_the_event(length: object) -> None:
    header = json.dumps({"type": "event", "length": length}).encode()
    found = take(envelope(header, b'{"message":"one"}', b'{"type":"session"}', b"{}"))
    assert [report.title for report in reports_of(found) if isinstance(report, ErrorReport)] == ["one"]
    assert found.others == {"session": 1}


def test_the_id_of_the_envelope_belongs_to_one_event() -> None:
    item = b'{"type":"event"}\n{"message":"x"}'
    found = take(envelope(item, item, header={"event_id": EVENT_ID}))
    assert [report.event_id for report in reports_of(found) if isinstance(report, ErrorReport)] == [EVENT_ID, "new-1"]
    assert found.event_id == EVENT_ID


def test_an_id_with_dashes_is_the_same_id() -> None:
    assert store({"event_id": "FC6D8C0C-43FC-4630-AD85-0EE518F1B9D0"}).event_id == EVENT_ID


def test_without_an_id_of_the_envelope_the_events_is_answered() -> None:
    assert take(envelope(b'{"type":"event"}\n{"event_id":"%s"}' % EVENT_ID.encode())).event_id == EVENT_ID


def test_an_item_that_cannot_be_read_is_rejected_beside_the_others() -> None:
    found = take(
        envelope(
            b'{"type":"event"}\n[1]', b'{"type":"event"}\n{broken', b'{"type":"event"}\n{}', b"what is this", b"{}"
        )
    )
    assert [(item.index if isinstance(item, Rejected) else item.title) for item in reports_of(found)] == [
        0,
        1,
        "<unlabeled event>",
        3,
    ]


@pytest.mark.parametrize("body", [b"", b"\n", b"{", b"[]\n", b'"text"', b"\xff\xfe", b"{}" * 2])
def test_without_a_header_it_is_no_envelope(body: bytes) -> None:
    with pytest.raises(TocsinError) as refused:
        take(body)
    assert refused.value.refusal.code is Code.MALFORMED


def test_an_envelope_ends_at_its_limit() -> None:
    event, session = b'{"type":"event"}\n{"message":"x"}', b'{"type":"session"}\n{}'
    assert len(take(envelope(*[event] * MAX_ITEMS)).arrivals) == MAX_ITEMS
    attached = take(envelope(*[session] * (MAX_ALL_ITEMS - 1), event))
    assert (len(attached.arrivals), attached.others) == (1, {"session": MAX_ALL_ITEMS - 1})
    for items in ([event] * (MAX_ITEMS + 1), [session] * (MAX_ALL_ITEMS + 1)):
        with pytest.raises(TocsinError) as refused:
            take(envelope(*items))
        assert refused.value.refusal.code is Code.TOO_LARGE


def test_check_ins_are_handed_on_unread() -> None:
    found = take(envelope(b'{"type":"check_in"}', b'{"status":"ok"}', b'{"type":"check_in","length":3}', b"?!?"))
    assert [found.check_ins, found.others] == [[b'{"status":"ok"}', b"?!?"], {}]


def test_client_reports_with_nonsense_count_what_makes_sense() -> None:
    entries = [
        {"reason": "queue_overflow", "category": "error", "quantity": 399},
        {"reason": None, "quantity": 2},
        {"reason": "x", "category": "y", "quantity": "many"},
        {"reason": "x", "category": "y", "quantity": -3},
        {"reason": "x", "category": "y", "quantity": True},
        "nonsense",
    ]
    report = json.dumps({"discarded_events": entries}).encode()
    found = take(envelope(b'{"type":"client_report"}', report, b'{"type":"client_report"}', b"nonsense"))
    assert found.client_reports == [ClientLoss("queue_overflow", "error", 399), ClientLoss("unknown", "unknown", 2)]


def test_a_message_of_a_browser_is_an_exception_without_a_type() -> None:
    # As @sentry/browser sends captureMessage with attachStacktrace.
    report = store(
        {
            "message": "basket is empty",
            "level": "info",
            "exception": {
                "values": [
                    {
                        "value": "basket is empty",
                        "mechanism": {"type": "generic", "handled": True, "synthetic": True},
                        "stacktrace": {
                            "frames": [
                                {
                                    "filename": "http://shop/app.js",
                                    "function": "HTMLButton.onclick",
                                    "lineno": 1,
                                    "colno": 9,
                                }
                            ]
                        },
                    }
                ]
            },
            "breadcrumbs": [{"message": "click"}],
        }
    )
    assert [report.title, report.error_type, report.severity] == ["basket is empty", "", Severity.LOW]
    assert report.exceptions[0].frames == (Frame("HTMLButton.onclick", filename="http://shop/app.js", line=1),)
    assert report.context == {"breadcrumbs": [{"message": "click"}]}


@pytest.mark.parametrize("wrap", [lambda one: {"values": [None, one]}, lambda one: [one], lambda one: one])
def test_exceptions_come_in_three_wrappings(wrap: object) -> None:
    assert callable(wrap)
    assert store({"exception": wrap({"type": "E", "value": "m"})}).title == "E: m"


@pytest.mark.parametrize(
    ("event", "message", "template"),
    [
        ({"message": "plain"}, "plain", ""),
        ({"message": {"message": "a %s", "params": ["b"], "formatted": "a b"}}, "a b", "a %s"),
        ({"message": {"formatted": "a b"}}, "a b", ""),
        ({"logentry": {"message": "a %s", "params": ["b"]}}, "a %s", "a %s"),
        ({"logentry": {"message": "a b"}}, "a b", ""),
        ({"logentry": {"message": "a b", "formatted": "a b", "params": []}}, "a b", ""),
        ({"logentry": {"message": "a {x}", "params": {"x": 1}, "formatted": "a 1"}}, "a 1", "a {x}"),
        ({"logentry": {"message": "%99999999999d", "params": [1]}}, "%99999999999d", "%99999999999d"),
        ({"logentry": None, "message": 3}, "", ""),
    ],
)
def test_messages_come_in_several_forms(event: dict[str, object], message: str, template: str) -> None:
    report = store(event)
    assert [report.message, report.template] == [message, template]


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        ("fatal", Severity.CRITICAL),
        ("critical", Severity.CRITICAL),
        ("error", Severity.HIGH),
        ("warning", Severity.MEDIUM),
        ("info", Severity.LOW),
        ("log", Severity.LOW),
        ("debug", Severity.LOW),
        (None, Severity.HIGH),
        (40, Severity.HIGH),
    ],
)
def test_levels_are_severities(level: object, severity: Severity) -> None:
    assert store({"level": level}).severity is severity


@pytest.mark.parametrize(
    "tags",
    [
        {"a": "b", "n": 1},
        [["a", "b"], ["n", 1]],
        [{"key": "a", "value": "b"}, {"key": "n", "value": 1}, ["x"], None, [[], 1]],
    ],
)
def test_tags_come_in_three_forms(tags: object) -> None:
    assert store({"tags": tags}).tags == {"a": "b", "n": "1"}


@pytest.mark.parametrize("timestamp", ["2026-11-30T10:00:00Z", "2026-11-30T10:00:00", 1_796_032_800, 1_796_032_800.0])
def test_timestamps_come_in_two_forms(timestamp: object) -> None:
    assert store({"timestamp": timestamp}).occurred_at == datetime(2026, 11, 30, 10, tzinfo=UTC)


def test_the_stack_of_a_message_stands_on_its_thread() -> None:
    stack = {"frames": [{"function": "pay", "module": "shop"}]}
    other = {"stacktrace": {"frames": [{"function": "idle"}]}}
    report = store({"message": "m", "threads": {"values": [other, {"current": True, "stacktrace": stack}]}})
    assert [frame.function for frame in report.exceptions[0].frames] == ["pay"]
    assert [report.title, fingerprint(report).basis] == ["m", "stack"]


def test_an_event_that_says_nothing_is_taken() -> None:
    report = store({})
    assert [report.title, report.event_id, report.occurred_at] == ["<unlabeled event>", "new-1", RECEIVED_AT]


@pytest.mark.parametrize("value", [[], None, "text", 3])
def test_a_stored_event_that_is_no_object_is_invalid(value: object) -> None:
    with pytest.raises(TocsinError) as refused:
        store(value)
    assert refused.value.refusal.code is Code.INVALID


# ---- keys


@pytest.mark.parametrize(
    ("header", "query", "dsn", "key"),
    [
        (f"Sentry sentry_key={KEY}, sentry_version=7", None, None, KEY),
        (f"Sentry sentry_version=7,sentry_key={KEY},sentry_secret=s", None, None, KEY),
        (f"sentry  sentry_key = {KEY}", "other", None, KEY),
        (None, KEY, None, KEY),
        ("Sentry sentry_version=7", KEY, None, KEY),
        (None, None, f"https://{KEY}@tocsin.example/1", KEY),
        (None, None, "https://tocsin.example/1", None),
        (None, None, "http://[broken", None),
        (None, None, {"not": "text"}, None),
        (None, "no key\n", None, None),
        ("Sentry sentry_key=" + "a" * 65, None, None, None),
        ("Bearer my_sentry_key=abc", None, None, None),
        (None, None, None, None),
    ],
)
def test_the_key_stands_in_the_header_the_query_or_the_dsn(
    header: str | None, query: str | None, dsn: object, key: str | None
) -> None:
    assert parse_auth(header, query, dsn) == key


def test_the_dsn_of_a_tunnel_stands_in_the_envelope() -> None:
    body = envelope(b'{"type":"event"}', b"{}", header={"dsn": f"https://{KEY}@tocsin.example/1"})
    assert parse_auth(None, None, envelope_dsn(body)) == KEY
    assert envelope_dsn(b"{}") is None


@given(st.none() | st.text(), st.none() | st.text(), json_values)
def test_any_header_query_or_dsn_names_a_key_or_none(header: str | None, query: str | None, dsn: object) -> None:
    key = parse_auth(header, query, dsn)
    assert key is None or 1 <= len(key) <= 64


# ---- anything


def survives(body: bytes) -> None:
    with nothing_but_refusals(Code.MALFORMED, Code.TOO_LARGE):
        for report in reports_of(take(body)):
            if isinstance(report, ErrorReport):
                assert 1 <= len(report.event_id) <= 64
                assert len(fingerprint(report).value) == 64


@given(st.binary() | st.binary().map(lambda rest: b'{}\n{"type":"event"}\n' + rest))
def test_any_bytes_are_an_envelope_or_a_refusal(body: bytes) -> None:
    survives(body)


@given(json_values, json_values, json_values)
def test_any_json_is_an_envelope_or_a_refusal(header: object, item: object, payload: object) -> None:
    survives(b"\n".join(json.dumps(part).encode() for part in (header, item, payload)))


PARTS = (
    "event_id level timestamp exception logentry message tags fingerprint breadcrumbs contexts user release "
    "environment server_name platform transaction logger threads stacktrace sdk extra request dist"
)
INNER = (
    "values type value mechanism handled stacktrace frames function lineno in_app trace trace_id id params formatted"
)
events = st.dictionaries(
    st.sampled_from(PARTS.split()),
    json_values
    | st.recursive(
        json_values,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER.split()), inner, max_size=5),
        max_leaves=10,
    ),
)


@given(events)
def test_an_event_of_any_parts_is_taken(event: dict[str, object]) -> None:
    report = store(event)
    assert 1 <= len(report.event_id) <= 64
    assert len(fingerprint(report).value) == 64
