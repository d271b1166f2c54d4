"""`tocsin export` and `tocsin verify FILE`: evidence out, evidence checked, one line for what is none."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.logbook import Logbook, Witness, closed_incident, policy_text, vouched
from tocsin import bootstrap
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.bootstrap import Sources
from tocsin.evidence.bundle import encode
from tocsin.settings import load_settings
from tocsin.signing.signer import Signer


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A bundle, and a policy under which it is proven."""
    log, incident, witness = Logbook(), closed_incident(42), Witness("w.example")
    bundle = log.bundle(incident, log.seal((incident, 6)))
    (tmp_path / "inc-42.json").write_bytes(encode(vouched(bundle, witness.cosign(bundle.checkpoint.note))))
    (tmp_path / "policy").write_bytes(policy_text(log, witness, quorum=1))
    return "inc-42.json", "policy"


def test_a_file_is_verified_without_a_database(idle_cli: Cli, files: tuple[str, str]) -> None:
    bundle, policy = files
    done = idle_cli("verify", bundle, "--policy", policy)
    assert done.code == 0, done.err
    assert "PROVEN: INC-42 has exactly 6 entries" in done.out
    assert "What no file can prove:" in done.out
    assert "entry 2 (ACKNOWLEDGED) ack_notes: On it and no other\n" in done.out
    assert "entry 6 (CLOSED) follow_up_actions: title: Do\n" in done.out
    unsaid = idle_cli("verify", bundle)
    assert unsaid.code == 1
    assert "NOT PROVEN" in unsaid.out
    said = idle_cli("verify", bundle, "--policy", policy, "--json")
    assert json.loads(said.out)["proven"] is True


@pytest.mark.slow
def test_a_file_comes_from_standard_input_too(idle_cli: Cli, files: tuple[str, str]) -> None:
    text = (idle_cli.directory / files[0]).read_text()
    done = idle_cli.process("verify", "-", "--policy", files[1], stdin=text)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 100, b"{}", b"[" * 50_000, b'{"format":"tocsin-evidence/v1","origin":1}', b"\xff\xfe{}"]
)
def test_what_is_no_evidence_gets_one_line(idle_cli: Cli, content: bytes) -> None:
    (idle_cli.directory / "file").write_bytes(content)
    refused = idle_cli("verify", "file")
    assert refused.code == 1
    assert refused.out == ""
    assert refused.err.startswith("tocsin: BROKEN: file proves nothing: ")
    assert refused.err.count("\n") == 1


def test_what_cannot_be_read_gets_one_line(idle_cli: Cli, files: tuple[str, str]) -> None:
    for arguments in (("nowhere.json",), (".",), (files[0], "--policy", "nowhere"), (files[0], "--policy", files[0])):
        refused = idle_cli("verify", *arguments)
        assert refused.code == 1, arguments
        assert refused.err.count("\n") == 1


def test_a_file_that_is_no_policy_says_what_to_do(idle_cli: Cli, files: tuple[str, str]) -> None:
    refused = idle_cli("verify", files[0], "--policy", files[0])
    assert (refused.code, "is no policy" in refused.err) == (1, True)
    assert refused.err.endswith("describes a policy; it is another file than the evidence.\n")


def test_it_must_be_said_what_to_verify(idle_cli: Cli) -> None:
    for arguments in ((), ("file", "--db"), ("--policy", "p"), ("--db", "--policy", "p")):
        assert idle_cli("verify", *arguments).code == 2


async def _keep_log(cli: Cli) -> str:
    given = {name.removeprefix("TOCSIN_").lower(): value for name, value in cli.variables.items()}
    settings = load_settings(**given, _env_file=None)
    sources = Sources(
        cli.variables["TOCSIN_DATABASE_URL"], cli.variables["TOCSIN_MIGRATE_DATABASE_URL"], embedded=False
    )
    signer = Signer(cli.directory / "signer")
    signer.make("example.org/tocsin")
    async with bootstrap.wired(sources, settings) as app:
        await introduce_key(app, signer)
        await seal_everything(app)
        await sign_log(app, signer)
    return signer.key().vkey


def test_evidence_goes_out_and_is_checked(fresh_cli: Cli) -> None:
    cli = fresh_cli
    opened = json.loads(cli("incidents", "open", "--severity", "HIGH", "--title", "It broke", "--json").out)["incident"]
    number = str(opened["number"])
    cli("incidents", "ack", number, "--notes", "On it")
    vkey = asyncio.run(_keep_log(cli))
    (cli.directory / "policy").write_text(f"log {vkey}\nquorum none\n")
    done = cli("export", number, "--output", "evidence.json")
    assert done.code == 0, done.err
    assert "tocsin verify evidence.json" in done.out
    assert cli("verify", "evidence.json", "--policy", "policy").code == 0
    shown = cli("verify", "evidence.json", "--policy", "policy").out
    assert "entry 1 (REPORTED) title: It broke" in shown
    assert "entry 2 (ACKNOWLEDGED) ack_notes: On it" in shown
    assert cli("export", number, "--without-texts", "--output", "bare.json").code == 0
    bare = json.loads(cli("verify", "bare.json", "--policy", "policy", "--json").out)
    assert bare["proven"] is True
    assert {text["state"] for text in bare["texts"]} == {"withheld"}
    assert "are withheld by whoever made this file" in bare["aboutTexts"][0]
    piped = cli.process("export", f"INC-{number}")
    assert piped.code == 0, piped.err
    assert json.loads(piped.out)["incident"]["number"] == opened["number"]
    assert cli.sql("SELECT count(*) FROM tocsin.audit_access_log WHERE action = 'incidents.export'") == [(3,)]
    refused = cli("export", "4711")
    assert refused.code == 1
    assert "There is no incident INC-4711" in refused.err
    assert cli("export", number, "--output", "no/such/place").code == 1
