"""Heartbeats from a terminal."""

from __future__ import annotations

import hashlib

import pytest

from tests.cli.conftest import Cli


def heartbeat_of(cli: Cli, slug: str) -> dict[str, object]:
    """Return a heartbeat as the list shows it to programs."""
    (found,) = [one for one in cli.done("heartbeats", "list", "--json").json["heartbeats"] if one["slug"] == slug]
    assert isinstance(found, dict)
    return found


def test_a_heartbeat_is_added_and_its_url_is_the_only_thing_on_standard_output(cli: Cli) -> None:
    added = cli.done(
        *("heartbeats", "add", "nightly", "--cron", "30 3 * * *", "--time-zone", "Europe/Vienna"),
        *("--grace", "30m", "--max-runtime", "2h", "--severity", "critical"),
    )
    url = added.out.strip()
    assert url.startswith("http://tocsin.test/api/v1/heartbeats/")
    assert "cannot be shown again" in added.err
    (stored,) = cli.sql("SELECT key_hash FROM tocsin.heartbeats WHERE slug = 'nightly'")
    assert stored[0] == hashlib.sha256(url.rpartition("/")[2].encode()).digest()
    shown = heartbeat_of(cli, "nightly")
    assert (shown["schedule"], shown["severity"]) == ("30 3 * * * Europe/Vienna", "CRITICAL")
    assert (shown["graceSeconds"], shown["maxRuntimeSeconds"], shown["state"]) == (1_800, 7_200, "waiting")
    assert url.rpartition("/")[2] not in cli.done("heartbeats", "list", "--json").out


def test_a_heartbeat_is_paused_resumed_given_another_key_and_removed(cli: Cli) -> None:
    first = cli.done("heartbeats", "add", "ping", "--every", "1h", "--json").json
    assert first["url"].endswith(first["key"])
    cli.done("heartbeats", "pause", "ping")
    assert (heartbeat_of(cli, "ping")["state"], heartbeat_of(cli, "ping")["dueAt"]) == ("paused", None)
    assert "it is due" in cli.done("heartbeats", "resume", "ping").out
    assert heartbeat_of(cli, "ping")["state"] == "waiting"
    assert cli.done("heartbeats", "key", "ping", "--json").json["key"] != first["key"]
    assert "every 1 h, 300 s of grace" in cli.done("heartbeats", "show", "ping").out
    cli.done("heartbeats", "remove", "ping")
    gone = cli("heartbeats", "show", "ping")
    assert (gone.code, "no heartbeat ping" in gone.err) == (1, True)


def test_a_list_is_of_every_project_or_of_one_and_names_what_was_refused(cli: Cli) -> None:
    cli.done("heartbeats", "add", "own", "--every", "1h", "--project", "0")
    cli.sql(
        "INSERT INTO tocsin.heartbeat_refusals VALUES (0, 'stranger', 'unknown', 3, now(), now())"
        " ON CONFLICT DO NOTHING"
    )
    of_zero = cli.done("heartbeats", "list", "--project", "0")
    assert "own" in of_zero.out
    assert "3 check-ins of stranger in project 0 were refused" in of_zero.err
    assert "own" not in cli.done("heartbeats", "list", "--project", "1").out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--every", "1h", "--cron", "@daily"), 1),
        ((), 1),
        (("--cron", "never"), 1),
        (("--cron", "@daily", "--time-zone", "Mars/Olympus"), 1),
        (("--every", "9s"), 1),
        (("--every", "1h", "--grace", "0s"), 1),
        (("--every", "1h", "--max-runtime", "0s"), 1),
        (("--every", "1h", "--project", "77"), 1),
        (("--every", "often"), 2),
        (("--every", "1h", "--severity", "BAD"), 2),
    ],
)
def test_what_cannot_be_expected_is_refused(cli: Cli, arguments: tuple[str, ...], code: int) -> None:
    refused = cli("heartbeats", "add", "impossible", *arguments)
    assert refused.code == code
    assert refused.err
    assert "impossible" not in cli.done("heartbeats", "list").out


def test_a_name_must_be_one(cli: Cli) -> None:
    for name in ("Not A Name", "a/b"):
        assert cli("heartbeats", "add", name, "--every", "1h").code == 1
        assert cli("heartbeats", "pause", name).code == 1
