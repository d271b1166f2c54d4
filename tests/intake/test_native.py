"""Our own JSON: strict about what a program can correct, generous about what would cost a report."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.intake.agreement import whole
from tests.intake.samples import RECEIVED_AT, json_values, new_ids, nothing_but_refusals, only
from tocsin.domain.incident import Severity
from tocsin.domain.report import MAX_INTEGER, ErrorReport, Frame, RaisedException, bounded, document
from tocsin.errors import Code, Refusal, TocsinError
from tocsin.intake import Rejected
from tocsin.intake.native import MAX_BATCH, parse

LEAST = {"severity": "error", "message": "disk full"}


def take(value: object, content_type: str = "application/json") -> list[ErrorReport | Rejected]:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    items = parse(body, content_type, received_at=RECEIVED_AT, new_event_id=new_ids())
    return [whole(item) for item in items]


def refused(value: object, content_type: str = "application/json") -> Refusal:
    with pytest.raises(TocsinError) as error:
        take(value, content_type)
    return error.value.refusal


def problems(value: object) -> dict[str, str]:
    fields = refused(value).details["errors"]
    assert isinstance(fields, list)
    return {entry["field"]: entry["problem"] for entry in fields}


def test_a_severity_and_a_message_are_enough() -> None:
    assert only(take(LEAST)) == ErrorReport("new-1", Severity.HIGH, "", "disk full", RECEIVED_AT)


def test_every_field_arrives() -> None:
    frame = {
        "function": "pay",
        "module": "shop",
        "filename": "shop.py",
        "line": 3,
        "sourceLine": "raise",
        "inApp": False,
    }
    raised = {"type": "ValueError", "message": "no", "module": "builtins", "handled": False, "frames": [frame]}
    names = ["platform", "service", "environment", "release", "serverName", "logger", "culprit", "traceId", "userId"]
    report = only(
        take(
            {
                "eventId": "e-1",
                "severity": "CRITICAL",
                "type": "PaymentFailed",
                "message": "order 17",
                "occurredAt": "2026-11-30T10:00:00.5+02:00",
                "template": "order %s",
                "fingerprint": ["a", 2],
                "exceptions": [raised],
                "tags": {"region": "eu", "retry": True, "none": None},
                "context": {"basket": [1]},
                **{name: f"the {name}" for name in names},
            }
        )
    )
    assert report == ErrorReport(
        event_id="e-1",
        severity=Severity.CRITICAL,
        error_type="PaymentFailed",
        message="order 17",
        occurred_at=datetime(2026, 11, 30, 8, 0, 0, 500_000, tzinfo=UTC),
        template="order %s",
        fingerprint=("a", "2"),
        exceptions=(
            RaisedException(
                "ValueError", "no", "builtins", (Frame("pay", "shop", "shop.py", 3, "raise", False),), False
            ),
        ),
        platform="the platform",
        service="the service",
        environment="the environment",
        release="the release",
        server_name="the serverName",
        logger="the logger",
        culprit="the culprit",
        trace_id="the traceId",
        user_id="the userId",
        tags={"region": "eu", "retry": "true"},
        context={"basket": [1]},
    )


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("fatal", Severity.CRITICAL),
        ("Critical", Severity.CRITICAL),
        ("ERROR", Severity.HIGH),
        (" high ", Severity.HIGH),
        ("warning", Severity.MEDIUM),
        ("warn", Severity.MEDIUM),
        ("medium", Severity.MEDIUM),
        ("info", Severity.LOW),
        ("debug", Severity.LOW),
        ("low", Severity.LOW),
    ],
)
def test_severities_have_the_names_that_clients_use(name: str, severity: Severity) -> None:
    assert only(take({**LEAST, "severity": name})).severity is severity


@pytest.mark.parametrize(
    ("sent", "instant"),
    [
        ("2026-11-30T10:00:00Z", datetime(2026, 11, 30, 10, tzinfo=UTC)),
        ("2026-11-30t10:00:00.123456789z", datetime(2026, 11, 30, 10, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-11-30 10:00:00", datetime(2026, 11, 30, 10, tzinfo=UTC)),
        (1_796_032_800, datetime(2026, 11, 30, 10, tzinfo=UTC)),
        (1_796_032_800.25, datetime(2026, 11, 30, 10, 0, 0, 250_000, tzinfo=UTC)),
        (1_796_032_800_250, datetime(2026, 11, 30, 10, 0, 0, 250_000, tzinfo=UTC)),
        (None, RECEIVED_AT),
    ],
)
def test_an_instant_is_a_timestamp_or_a_number(sent: object, instant: datetime) -> None:
    assert only(take({**LEAST, "occurredAt": sent})).occurred_at == instant


@pytest.mark.parametrize("sent", ["yesterday", "", "2026-13-01", "9999-12-31T23:59:59-12:00", True, [], 1e300, 2**70])
def test_an_instant_that_nobody_can_read_is_named(sent: object) -> None:
    assert problems({**LEAST, "occurredAt": sent}) == {
        "occurredAt": "must be an RFC 3339 timestamp or seconds since 1970"
    }


def test_a_type_alone_or_an_exception_alone_is_enough() -> None:
    assert only(take({"severity": "error", "type": "DiskFull"})).title == "DiskFull"
    chain = [{"type": "KeyError"}, {"type": "ValueError", "message": "no order"}]
    assert only(take({"severity": "error", "exceptions": chain})).title == "ValueError: no order"


def test_a_single_fingerprint_need_not_be_a_list() -> None:
    assert only(take({**LEAST, "fingerprint": "payments"})).fingerprint == ("payments",)


def test_a_field_that_nobody_knows_is_kept_in_the_context() -> None:
    report = only(take({**LEAST, "enviroment": "prod", "orderId": 17, "context": {"orderId": 18}}))
    assert report.context == {"enviroment": "prod", "orderId": 18}


def test_every_wrong_field_is_named_at_once() -> None:
    assert problems(
        {
            "eventId": "two words",
            "severity": "loud",
            "message": ["disk full"],
            "fingerprint": [{}],
            "tags": [["a", "b"]],
            "context": "text",
            "exceptions": [3, {"handled": "no", "frames": [{"line": "3", "function": {}}, None]}],
        }
    ) == {
        "eventId": "must be 1 to 64 printable ASCII characters without spaces",
        "severity": "must be one of fatal, critical, error, high, warning, warn, medium, info, debug, low",
        "message": "is missing: say what went wrong in message, type or both",
        "fingerprint": "must be text or a list of texts",
        "tags": "must be an object, not a list",
        "context": "must be an object, not text",
        "exceptions[0]": "must be an object, not a number",
        "exceptions[1].handled": "must be true or false, not text",
        "exceptions[1].frames[0].line": "must be a whole number from 0",
        "exceptions[1].frames[0].function": "must be text, not an object",
        "exceptions[1].frames[1]": "must be an object, not null",
    }


def test_an_empty_report_is_told_what_it_lacks() -> None:
    assert set(problems({})) == {"severity", "message"}
    assert set(problems({"severity": "error", "message": " \n"})) == {"message"}


@pytest.mark.parametrize("value", [None, 3, "text", True])
def test_what_is_no_object_is_invalid(value: object) -> None:
    assert refused(value).code is Code.INVALID


def test_thousands_of_problems_are_not_all_repeated() -> None:
    fields = refused({**LEAST, "exceptions": [{"frames": [3] * 10_000}]}).details["errors"]
    assert isinstance(fields, list)
    assert len(fields) == 20


def test_in_a_batch_a_wrong_report_stands_beside_the_others() -> None:
    first, wrong, last = take([LEAST, {"severity": "loud"}, {**LEAST, "message": "two"}])
    assert isinstance(first, ErrorReport)
    assert isinstance(wrong, Rejected)
    assert wrong.index == 1
    assert "severity must be one of" in wrong.reason
    assert isinstance(last, ErrorReport)
    assert [first.event_id, last.message] == ["new-1", "two"]


@pytest.mark.parametrize(
    "content_type", ["application/x-ndjson", "Application/X-NDJSON; charset=utf-8", "text/plain", ""]
)
def test_reports_may_come_one_per_line(content_type: str) -> None:
    line = json.dumps(LEAST).encode()
    items = take(b"\n" + line + b"\r\n\n" + line + b"\n{broken\n" + line, content_type)
    assert [type(item) for item in items] == [ErrorReport, ErrorReport, Rejected, ErrorReport]
    assert isinstance(items[2], Rejected)
    assert items[2].index == 2


def test_a_report_over_several_lines_is_one_report() -> None:
    assert only(take(json.dumps(LEAST, indent=2).encode() + b"\n")).message == "disk full"


def test_lines_after_a_broken_first_line_are_malformed_as_a_whole() -> None:
    assert refused(b'{"severity"\n{}').code is Code.MALFORMED


@pytest.mark.parametrize(("body", "content_type"), [(b"[]", ""), (b"\n \n", "application/x-ndjson")])
def test_a_request_without_a_report_is_invalid(body: bytes, content_type: str) -> None:
    assert refused(body, content_type).code is Code.INVALID


def test_a_batch_ends_at_its_limit() -> None:
    assert len(take([LEAST] * MAX_BATCH)) == MAX_BATCH
    assert refused([LEAST] * (MAX_BATCH + 1)).code is Code.TOO_LARGE
    lines = json.dumps(LEAST).encode() + b"\n"
    assert len(take(lines * MAX_BATCH)) == MAX_BATCH
    assert refused(lines * (MAX_BATCH + 1)).code is Code.TOO_LARGE


def test_what_is_skipped_for_its_number_is_counted() -> None:
    chain = [{"type": f"E{number}", "frames": [{"function": "f"}] * 300} for number in range(30)]
    report = only(take({**LEAST, "exceptions": chain}))
    assert report.context["tocsin"] == {"leftOut": {"exceptions": 20, "frames": 2_900}}


words = st.text(st.characters(), min_size=1, max_size=50)
frames = st.builds(Frame, words, words, words, st.none() | st.integers(0, MAX_INTEGER), words, st.booleans())
raised = st.builds(
    RaisedException, words, words, words, st.lists(frames, max_size=3).map(tuple), st.none() | st.booleans()
)
reports = st.builds(
    ErrorReport,
    event_id=st.from_regex(r"\A[!-~]{1,64}\Z"),
    severity=st.sampled_from(Severity),
    error_type=words,
    message=words.filter(str.strip),
    occurred_at=st.timedeltas(timedelta(0), timedelta(days=9_000)).map(lambda age: RECEIVED_AT - age),
    template=words,
    fingerprint=st.lists(words, max_size=3).map(tuple),
    exceptions=st.lists(raised, max_size=3).map(tuple),
    platform=words,
    release=words,
    user_id=words,
    tags=st.dictionaries(words, words, max_size=3),
    context=st.dictionaries(words, st.integers(-MAX_INTEGER, MAX_INTEGER) | words, max_size=3),
)


@given(reports)
def test_what_is_stored_can_be_sent_again(report: ErrorReport) -> None:
    stored = bounded(report, received_at=RECEIVED_AT)
    assert only(take(document(stored))) == stored


@given(st.dictionaries(st.sampled_from([*document(only(take(LEAST))), *LEAST, "exceptions", "tags", "x"]), json_values))
def test_any_object_is_a_report_or_a_refusal(value: dict[str, object]) -> None:
    with nothing_but_refusals(Code.INVALID):
        only(take(value))
