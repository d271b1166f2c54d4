"""What a report says of an exception: the server itself reads it here."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain import report as domain
from tocsin.domain.arrival import Arrival
from tocsin.domain.report import ErrorReport
from tocsin.intake import native
from tocsin_sdk import clock
from tocsin_sdk.bounds import MAX_EXCEPTIONS, MAX_FRAMES, cut, tail
from tocsin_sdk.report import Details, Origin, encode, encode_made, of_exception, of_message

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def _fail(cause: BaseException | None = None) -> None:
    password = "hunter2"  # the line below is what the report quotes
    raise ValueError(f"no such order, password={password}") from cause


def _caught(function: Any, *arguments: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # whatever it is
        function(*arguments)
    return caught.value


def _as_the_server_reads_it(fields: dict[str, Any]) -> ErrorReport:
    report = {"eventId": "e" * 32, "severity": "HIGH", "occurredAt": clock.timestamp(NOW.timestamp()), **fields}
    body = json.dumps(report, ensure_ascii=False, allow_nan=False).encode()
    (read,) = native.parse(body, "application/x-ndjson", received_at=NOW, new_event_id=lambda: "unused")
    assert isinstance(read, Arrival)
    return read.whole()


def test_the_server_reads_every_field_that_is_sent() -> None:
    details = Details({"region": "eu"}, {"order": 7}, "t" * 32, "user-1", "shop.orders", ("a", "b"))
    origin = Origin("shop", "test", "1.2.3", "web-1")
    report = _as_the_server_reads_it(
        {**origin.fields(), **details.fields(), **of_exception(_caught(_fail), handled=False)}
    )
    assert (report.error_type, report.platform, report.service) == ("ValueError", "python", "shop")
    assert (report.environment, report.release, report.server_name) == ("test", "1.2.3", "web-1")
    assert (report.trace_id, report.user_id, report.logger) == ("t" * 32, "user-1", "shop.orders")
    assert (report.tags, report.context, report.fingerprint) == ({"region": "eu"}, {"order": 7}, ("a", "b"))
    assert report.occurred_at == NOW
    assert report.culprit == f"{__name__}._fail"
    (raised,) = report.exceptions
    assert (raised.type, raised.module, raised.handled) == ("ValueError", "builtins", False)
    assert raised.frames[-1].function == "_fail"
    assert raised.frames[-1].source_line.startswith("raise ValueError(")
    assert raised.frames[-1].filename == __file__[-256:]
    assert raised.frames[-1].in_app


def test_the_quick_way_to_json_says_the_same_as_the_plain_one() -> None:
    chain = of_exception(_caught(_fail, _caught(_deep, 5)), handled=True)
    for fields in (chain, of_exception(_Mute(), handled=False), of_message("no such order “7”\n")):
        report = {"eventId": "e" * 32, "tags": {"region": "eu"}, **fields}
        assert json.loads(encode_made(report)) == json.loads(encode(report)) == report


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_an_exception_without_a_name_and_a_message_is_taken(name: str) -> None:
    report = _as_the_server_reads_it(of_exception(type(name, (Exception,), {})(" "), handled=True))
    assert report.error_type == "<nameless exception>"


@pytest.mark.parametrize("seconds", [-1e18, -62_200_000_000.0, -0.5, 253_402_300_799.5, 3e11, 1e18])
def test_a_report_is_taken_whatever_the_clock_shows(seconds: float) -> None:
    report = _as_the_server_reads_it({**of_message("late"), "occurredAt": clock.timestamp(seconds)})
    assert report.occurred_at == NOW


def test_a_secret_in_a_message_and_in_a_line_of_source_stays_here() -> None:
    sent = json.dumps(of_exception(_caught(_fail), handled=True))
    assert "no such order, password=[scrubbed]" in sent
    assert "hunter2" not in sent


def test_a_chain_runs_cause_first_and_hidden_context_stays_hidden() -> None:
    error = _caught(_fail, _caught(int, "x"))
    assert [one["message"][:7] for one in of_exception(error, handled=True)["exceptions"]] == ["invalid", "no such"]
    error.__cause__, error.__suppress_context__, error.__context__ = None, True, KeyError("hidden")
    assert len(of_exception(error, handled=True)["exceptions"]) == 1


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert [one["message"] for one in of_exception(first, handled=True)["exceptions"]] == ["2", "1"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with 3.11")
def test_a_group_shows_its_first_member_as_the_cause() -> None:
    group = ExceptionGroup("two tasks failed", [ValueError("a"), KeyError("b")])
    types = [one["type"] for one in of_exception(group, handled=True)["exceptions"]]
    assert types == ["ValueError", "ExceptionGroup"]


def _deep(depth: int) -> None:
    if depth == 0:
        _fail()
    _deep(depth - 1)


def test_of_a_long_chain_and_a_deep_stack_both_ends_are_kept_within_the_bounds() -> None:
    fields = of_exception(_caught(_deep, 500), handled=True)
    functions = [frame["function"] for frame in fields["exceptions"][-1]["frames"]]
    assert len(functions) == MAX_FRAMES
    assert functions[-1] == "_fail"
    assert functions[0] != "_deep"
    error = _caught(_fail)
    for _ in range(50):
        error = _caught(_fail, error)
    chain = of_exception(error, handled=True)["exceptions"]
    assert len(chain) == MAX_EXCEPTIONS
    assert sum(len(one["frames"]) for one in chain) <= MAX_FRAMES


class _Mute(Exception):  # noqa: N818  # it is no error of ours
    def __str__(self) -> str:
        raise RuntimeError("no text today")


def test_an_exception_that_has_no_text_is_reported_all_the_same() -> None:
    fields = of_exception(_Mute(), handled=True)
    assert fields["message"] == "<_Mute that has no text: RuntimeError>"


@given(text=st.text(st.characters(), max_size=300) | st.text(st.sampled_from("\x00\ud800a…"), max_size=300))
def test_every_text_can_be_sent_and_read(text: str) -> None:
    report = _as_the_server_reads_it({**of_message(text, "t" + text), **Details({"k": text}, {"c": text}).fields()})
    assert "\x00" not in report.message + str(report.context)
    assert len(cut(text, 10)) <= 10
    assert len(tail(text, 10)) <= 10


def test_the_bounds_are_those_of_the_server() -> None:
    from tocsin_sdk import bounds

    shared = {name for name in vars(bounds) if name.startswith("MAX_")} & set(vars(domain))
    assert len(shared) >= 15
    assert {name: getattr(bounds, name) for name in shared} == {name: getattr(domain, name) for name in shared}
