"""Check-ins as Sentry's SDKs send them, those of the real one among them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import sentry_sdk
from hypothesis import given
from hypothesis import strategies as st
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from tests.intake.samples import json_values, nothing_but_refusals
from tocsin.domain.heartbeat import MAX_RUN_CHARACTERS, MAX_WAIT, CheckIn, CheckInStatus
from tocsin.errors import Code, TocsinError
from tocsin.intake import Rejected
from tocsin.intake.check_in import Monitor, MonitorCheckIn, parse, read

RUN = "0123456789abcdef0123456789abcdef"
CRONTAB = {"type": "crontab", "value": "0 3 * * *"}


def item(**parts: object) -> bytes:
    """Return an item's payload, with what the least client says."""
    return json.dumps({"monitor_slug": "backup", "status": "ok"} | parts).encode()


def monitor(**config: object) -> Monitor:
    """Return what a client's configuration is read as."""
    read = parse(item(monitor_config={"schedule": CRONTAB} | config)).monitor
    assert read is not None
    return read


class Kept(Transport):
    """A transport that keeps the envelopes."""

    def __init__(self) -> None:
        super().__init__()
        self.payloads: list[bytes] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep what would be sent."""
        self.payloads += [one.get_bytes() for one in envelope.items if one.headers.get("type") == "check_in"]


def test_the_real_client_s_monitor_is_a_run_with_a_beginning_and_an_end() -> None:
    kept = Kept()
    config: Any = {
        "schedule": {"type": "interval", "value": 2, "unit": "hour"},
        "timezone": "Europe/Vienna",
        "checkin_margin": 5,
        "max_runtime": 10,
    }
    with sentry_sdk.new_scope() as scope:
        dsn = "http://key@127.0.0.1:1/1"
        # Without the integrations: they would change this very process.
        client = sentry_sdk.Client(dsn=dsn, transport=kept, environment="staging", default_integrations=False)
        scope.set_client(client)

        @sentry_sdk.monitor(monitor_slug="nightly-backup", monitor_config=config)
        def job() -> None:
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011  # the job's own
            job()
    begun, failed = (parse(payload) for payload in kept.payloads)
    assert begun.slug == failed.slug == "nightly-backup@staging"
    assert begun.monitor == Monitor(timedelta(hours=2), "Europe/Vienna", timedelta(minutes=5), timedelta(minutes=10))
    assert (begun.said.status, failed.said.status) == (CheckInStatus.IN_PROGRESS, CheckInStatus.ERROR)
    assert len(begun.said.run) == 32
    assert begun.said.run == failed.said.run
    assert begun.said.duration is None
    assert failed.said.duration is not None


def test_the_least_that_a_client_can_say() -> None:
    assert parse(item()) == MonitorCheckIn("backup", CheckIn(CheckInStatus.OK))


def test_an_id_is_the_same_with_dashes_and_one_of_zeros_is_none() -> None:
    dashed = "01234567-89AB-CDEF-0123-456789ABCDEF"
    assert parse(item(check_in_id=dashed)).said.run == parse(item(check_in_id=RUN)).said.run == RUN
    assert parse(item(check_in_id="0" * 32)).said.run == ""
    assert parse(item(check_in_id="x" * MAX_RUN_CHARACTERS)).said.run == "x" * MAX_RUN_CHARACTERS
    for wrong in ("x" * (MAX_RUN_CHARACTERS + 1), "a\x00b"):
        with pytest.raises(TocsinError, match="check_in_id"):
            parse(item(check_in_id=wrong))


@pytest.mark.parametrize(
    ("name", "environment", "slug"),
    [
        ("backup", "production", "backup"),
        ("backup", "", "backup"),
        ("backup", None, "backup"),
        ("backup", "staging", "backup@staging"),
        ("Nightly Backup", "production", "nightly-backup"),
        ("app.tasks.nightly_backup", None, "app.tasks.nightly_backup"),
    ],
)
def test_the_job_of_each_environment_is_a_heartbeat_of_its_own(name: str, environment: str | None, slug: str) -> None:
    assert parse(item(monitor_slug=name, environment=environment)).slug == slug


def test_a_schedule_is_a_crontab_line_or_an_interval() -> None:
    daily = monitor()
    assert (daily.schedule, daily.time_zone) == ("0 3 * * *", "UTC")
    for unit, every in (("minute", timedelta(minutes=3)), ("week", timedelta(weeks=3)), ("month", timedelta(days=93))):
        assert monitor(schedule={"type": "interval", "value": 3, "unit": unit}).schedule == every


def test_what_a_monitor_does_not_say_is_as_sentry_has_it() -> None:
    assert (monitor().grace, monitor().max_runtime) == (timedelta(minutes=1), timedelta(minutes=30))
    said = monitor(checkin_margin=0, max_runtime=None)
    assert (said.grace, said.max_runtime) == (timedelta(minutes=1), timedelta(minutes=30))
    assert monitor(checkin_margin=MAX_WAIT.days * 1_440).grace == MAX_WAIT


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "missed"},
        {"status": None},
        {"monitor_slug": ""},
        {"monitor_slug": "..."},
        {"monitor_slug": "x" * 101},
        {"environment": "a/b"},
        {"monitor_config": []},
        {"monitor_config": {}},
        {"monitor_config": {"schedule": {"type": "sometimes"}}},
        {"monitor_config": {"schedule": {"type": "interval", "value": 1, "unit": "fortnight"}}},
        {"monitor_config": {"schedule": {"type": "interval", "value": "1", "unit": "day"}}},
        {"monitor_config": {"schedule": {"type": "interval", "value": 367, "unit": "day"}}},
        {"monitor_config": {"schedule": CRONTAB, "checkin_margin": -1}},
        {"monitor_config": {"schedule": CRONTAB, "max_runtime": MAX_WAIT.days * 1_440 + 1}},
        {"monitor_config": {"schedule": CRONTAB, "max_runtime": float("inf")}},
    ],
)
def test_what_it_cannot_do_without_must_be_right(wrong: dict[str, object]) -> None:
    with pytest.raises(TocsinError) as caught:
        parse(item(**wrong))
    assert caught.value.refusal.code in (Code.INVALID, Code.MALFORMED)


def test_an_item_of_an_envelope_is_a_check_in_or_is_rejected_by_its_place() -> None:
    assert read(3, item()) == MonitorCheckIn("backup", CheckIn(CheckInStatus.OK), index=3)
    refused = read(3, item(status="missed"))
    assert isinstance(refused, Rejected)
    assert (refused.index, "status" in refused.reason) == (3, True)


@pytest.mark.parametrize("duration", [-1, "long", True, 1e300, None])
def test_a_duration_that_cannot_be_is_left_out(duration: object) -> None:
    assert parse(item(duration=duration)).said.duration is None


@given(
    st.fixed_dictionaries(
        {
            "monitor_slug": st.sampled_from(["backup", "b@c", "\ud800", 3]),
            "status": st.sampled_from(["ok", "error", 1]),
        },
        optional={
            "check_in_id": json_values,
            "environment": json_values,
            "duration": json_values,
            "monitor_config": st.fixed_dictionaries(
                {
                    "schedule": st.fixed_dictionaries(
                        {"type": st.sampled_from(["crontab", "interval"]), "value": json_values},
                        optional={"unit": st.sampled_from(["day", "month", [], {}])},
                    )
                },
                optional={"timezone": json_values, "checkin_margin": json_values, "max_runtime": json_values},
            )
            | json_values,
        },
    )
    | json_values
)
def test_whatever_comes_is_a_check_in_or_is_refused(value: object) -> None:
    with nothing_but_refusals(Code.INVALID, Code.MALFORMED):
        parse(json.dumps(value).encode())


@given(st.binary(max_size=60))
def test_whatever_bytes_come_they_are_refused(payload: bytes) -> None:
    with nothing_but_refusals(Code.INVALID, Code.MALFORMED):
        parse(payload)
