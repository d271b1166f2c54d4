"""What `@sentry/node` sends: a failing Node.js program, in every way that the SDK reports by itself or by hand."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Live, RunNode
from tests.clients.wire import Wire, wire_to

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sentry-node")]

PROGRAM = "failing_shop.js"


@pytest.fixture(scope="module")
def captured(live: Live, run_node: RunNode) -> Wire:
    """The wire over which the program reported by hand: an error, two messages. It left by process.exit."""
    with wire_to(live.port) as wire:
        ended = run_node(PROGRAM, live.dsn(wire.port), "captured")
    assert ended.returncode == 0, ended.stderr
    return wire


@pytest.mark.usefixtures("captured")
def test_a_chain_arrives_cause_first_with_its_frames(live: Live) -> None:
    detail = live.by_title()["Error: cannot pay order 17"]
    assert detail["incident"]["severity"] == "HIGH"
    error = detail["error"]
    assert [one["type"] for one in error["exceptions"]] == ["RangeError", "Error"]
    assert [one["message"] for one in error["exceptions"]] == ["no such order 17", "cannot pay order 17"]
    cause, effect = ([frame["function"] for frame in one["frames"]] for one in error["exceptions"])
    assert cause[-2:] == ["payOrder", "findOrder"]
    assert effect[-1] == "payOrder"
    assert "throw new RangeError" in error["exceptions"][0]["frames"][-1]["sourceLine"]
    assert (error["release"], error["environment"], error["platform"]) == ("shop@1.2.3", "production", "node")
    assert error["tags"]["shop"] == "berlin"


@pytest.mark.usefixtures("captured")
def test_messages_arrive_with_the_severity_of_their_level(live: Live) -> None:
    by_title = live.by_title()
    assert by_title["the till is nearly empty"]["incident"]["severity"] == "MEDIUM"
    assert by_title["the shop burns"]["incident"]["severity"] == "CRITICAL"


def test_a_chunked_body_without_a_content_type_is_taken(live: Live, captured: Wire) -> None:
    heads = captured.request_heads()
    assert len(heads) >= 3, "two messages and an error; the SDK adds sessions of its own"
    for head in heads:
        assert "transfer-encoding: chunked" in head
        assert "content-type:" not in head
        assert f"?sentry_version=7&sentry_key={live.key}" in head


def test_a_large_event_arrives_whole_although_it_is_compressed(live: Live, run_node: RunNode) -> None:
    with wire_to(live.port) as wire:
        ended = run_node(PROGRAM, live.dsn(wire.port), "large")
    assert ended.returncode == 0, ended.stderr
    assert ["content-encoding: gzip" in head for head in wire.request_heads()].count(True) == 1
    error = live.by_title()["Error: the ledger is full"]["error"]
    assert error["exceptions"][-1]["frames"][-1]["filename"].endswith(PROGRAM)


def test_an_uncaught_error_arrives_before_the_program_dies_of_it(live: Live, run_node: RunNode) -> None:
    ended = run_node(PROGRAM, live.dsn(), "uncaught")
    assert ended.returncode == 1
    assert "the oven is on fire" in ended.stderr
    (raised,) = live.by_title()["Error: the oven is on fire"]["error"]["exceptions"]
    assert raised["handled"] is False
    assert raised["frames"][-1]["function"].endswith("bake")


def test_an_uncaught_chain_says_so_in_one_of_its_exceptions(live: Live, run_node: RunNode) -> None:
    """The SDK marks the cause as unhandled and what was raised from it as handled."""
    assert run_node(PROGRAM, live.dsn(), "uncaught_chain").returncode == 1
    chain = live.by_title()["Error: cannot pay order 4711"]["error"]["exceptions"]
    assert [(one["type"], one["handled"]) for one in chain] == [("RangeError", False), ("Error", True)]


def test_an_unhandled_rejection_arrives(live: Live, run_node: RunNode) -> None:
    run_node(PROGRAM, live.dsn(), "rejected")
    error = live.by_title()["TypeError: the card reader said nothing"]["error"]
    assert error["exceptions"][-1]["handled"] is False


def test_what_the_client_dropped_itself_is_counted(live: Live, run_node: RunNode) -> None:
    ended = run_node(PROGRAM, live.dsn(), "dropped")
    assert ended.returncode == 0, ended.stderr
    assert "boring" not in live.by_title()
    assert 'tocsin_client_lost_events_total{reason="before_send"} 2.0' in live.metrics()
