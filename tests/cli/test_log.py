"""`tocsin log`, and a verification that knows more than the database does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tocsin import bootstrap
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.bootstrap import Sources
from tocsin.settings import load_settings


def keep_log(cli: Cli) -> None:
    """Seal and sign once, as a worker would."""

    async def keep() -> None:
        settings = load_settings()
        url = cli.variables["TOCSIN_DATABASE_URL"]
        async with bootstrap.wired(Sources(url, url, embedded=False), settings) as app:
            signer = bootstrap.signer_of(settings)
            assert signer is not None
            await introduce_key(app, signer)
            await seal_everything(app)
            await sign_log(app, signer)

    asyncio.run(keep())


@pytest.fixture
def logged(fresh_cli: Cli, tmp_path: Path) -> Cli:
    """An installation with a signed incident."""
    fresh_cli.patch.setenv("TOCSIN_SIGNER_DIR", str(tmp_path / "signer"))
    fresh_cli.patch.setenv("TOCSIN_LOG_ORIGIN", "example.org/tocsin")
    fresh_cli.done("report", "--severity", "HIGH", "--message", "it broke")
    keep_log(fresh_cli)
    return fresh_cli


def test_the_log_is_shown_with_its_key_and_its_checkpoint(logged: Cli) -> None:
    shown = logged.done("log", "show")
    assert "example.org/tocsin+" in shown.out
    assert "3 leaves, 3 signed" in shown.out
    document = logged.done("log", "show", "--json").json
    assert document["checkpoint"].startswith("example.org/tocsin\n3\n")
    assert (document["size"], document["signedSize"], document["waiting"]) == (3, 3, 0)


@pytest.mark.slow
def test_a_checkpoint_that_was_kept_elsewhere_finds_what_the_database_has_lost(logged: Cli, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoint.txt"
    copy.write_text(logged.done("log", "show", "--json").json["checkpoint"] + "\n")  # as `jq -r` writes it
    said = logged.done("verify", "--db", "--checkpoint", str(copy))
    assert f"The log continues {copy}, of 3 leaves" in said.out
    assert "The log continues the signer's memory, of 3 leaves" in said.out
    logged.sql("SELECT tocsin_guard.suspend()")
    for table in ("log_entries", "log_tiles", "log_head_nodes", "log_checkpoints", "log_state"):
        logged.sql(f"ALTER TABLE tocsin.{table} DISABLE TRIGGER ALL")
        logged.sql(f"DELETE FROM tocsin.{table}")
    logged.sql("INSERT INTO tocsin.log_state VALUES (true, 0, 0)")
    found = logged("verify", "--db", "--checkpoint", str(copy), "--json")
    assert found.code == 1
    problems = [one["problem"] for one in json.loads(found.out)["findings"] if one["rowId"] == str(copy)]
    assert any("the log has 0 leaves" in problem and "knows of 3" in problem for problem in problems)


@pytest.mark.slow
def test_signatures_by_keys_that_only_the_log_names_prove_nothing(logged: Cli) -> None:
    key = logged.done("log", "show", "--json").json["keys"][0]
    rewrote = "by a key known from outside: who had the database, but not the signing key, rewrote nothing"
    assert rewrote in logged.done("verify", "--db").out
    logged.patch.setenv("TOCSIN_SIGNER_DIR", "/nowhere")
    alone = logged.done("verify", "--db").out
    assert rewrote not in alone
    assert "signed by keys that the log itself names: compare them with a vkey that you kept" in alone
    assert "That nobody made the whole record anew and signed it with a key of his own" in alone
    assert rewrote in logged.done("verify", "--db", "--key", key).out
    stranger = "example.org/tocsin+40e4c8b5+AU6Yc0ZAhFkK6kAzZ0GTWDPfT8H5yIQbEgq0ZYwQ2oJY"
    answer = logged("verify", "--db", "--key", stranger)
    assert (answer.code, "cannot be read as a key" in answer.err) == (1, True)


@pytest.mark.slow
def test_it_is_said_that_earlier_heads_are_not_made_anew(logged: Cli) -> None:
    said = logged.done("verify", "--db", "--json").json["notProven"]
    assert any("That each batch sealed earlier named the newest entries truly" in line for line in said)


def test_what_is_no_checkpoint_is_refused(logged: Cli, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    for content in ("", "hello\n"):
        other.write_text(content)
        answer = logged("verify", "--db", "--checkpoint", str(other))
        assert (answer.code, "cannot be read as a checkpoint" in answer.err) == (1, True)
    assert logged("verify", "--db", "--checkpoint", str(tmp_path / "absent")).code == 1


@pytest.mark.slow
def test_a_key_is_rotated_where_the_signer_is(logged: Cli, fresh_cli: Cli) -> None:
    rotated = logged.done("log", "rotate-key", "--reason", "yearly", "--json").json
    keep_log(logged)
    view = logged.done("log", "show", "--json").json
    assert view["keys"] == [rotated["old"], rotated["new"]]
    assert view["checkpoint"].count("\u2014 example.org/tocsin") == 2
    assert logged.done("verify", "--db", "--json").json["intact"] is True
    logged.patch.setenv("TOCSIN_SIGNER_DIR", "/nowhere")
    answer = logged("log", "rotate-key", "--reason", "yearly")
    assert (answer.code, "The signer's directory is not here" in answer.err) == (1, True)
