"""Errors from a shell."""

from __future__ import annotations

from tests.cli.conftest import Cli


def test_a_report_tells_which_incident_it_opened_or_joined(cli: Cli) -> None:
    given = ("report", "--severity", "high", "--type", "BackupFailed", "--message", "disk full", "--tag", "host=db-1")
    first = cli.done(*given).out
    assert first.startswith("opened INC-")
    assert cli.done(*given).out == first.replace("opened", "joined")
    assert cli.done("report", "--severity", "LOW", "--message", "odd").out.startswith("recorded ")
    ((tags,),) = cli.sql(
        "SELECT DISTINCT convert_from(document, 'UTF8')::jsonb -> 'tags' FROM tocsin.audit_logs"
        " WHERE error_type = 'BackupFailed'"
    )
    assert tags == {"host": "db-1"}


def test_a_batch_on_standard_input_is_taken_up_to_what_is_wrong_with_it(cli: Cli) -> None:
    lines = "".join(f'{{"severity": "{severity}", "message": "m"}}\n' for severity in ("LOW", "awful", "LOW"))
    answer = cli("report", stdin=lines)
    assert answer.code == 1
    assert [line.split()[0] for line in answer.out.splitlines()] == ["recorded", "recorded"]
    assert answer.err.startswith("rejected report 2: ")
    told = cli("report", "--json", stdin=lines)
    assert [one["outcome"] for one in told.json["reports"]] == ["recorded", "rejected", "recorded"]
    assert told.code == 1


def test_what_cannot_be_a_report_is_refused(cli: Cli) -> None:
    for said in ("", "no json", "[]", "{}", '"text"', '{"severity": "HIGH"}'):
        refused = cli("report", stdin=said)
        assert (refused.code, refused.out) == (1, ""), said
        assert "Traceback" not in refused.err
    assert cli("report", "--project", "99", "--severity", "HIGH", "--message", "x").code == 1


def test_half_a_report_is_wrong_usage(idle_cli: Cli) -> None:
    assert idle_cli("report", "--severity", "HIGH").code == 2
    assert idle_cli("report", "--message", "x").code == 2
    assert idle_cli("report", "--severity", "HIGH", "--message", "x", "--tag", "novalue").code == 2
    assert idle_cli("report", "--severity", "HIGH", "--message", "x", "--url", "http://127.0.0.1:1").code == 2


def test_a_server_that_is_not_there_is_a_refusal(idle_cli: Cli) -> None:
    given = ("report", "--severity", "HIGH", "--message", "x", "--key", "k", "--url")
    for url in ("http://127.0.0.1:1", "nonsense", "http://[::1", "ftp://example.org"):
        refused = idle_cli(*given, url)
        assert refused.code == 1, url
        assert "cannot be reached" in refused.err
