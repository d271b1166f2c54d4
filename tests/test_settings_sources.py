"""Where a setting comes from: the sources are asked in the order in which they count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.errors import Code, TocsinError
from tocsin.settings import Source, load_settings, sources_of


def test_the_first_source_that_names_a_setting_is_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("TOCSIN_PORT=1\nTOCSIN_POOL_SIZE=5\n")
    Path("tocsin.toml").write_text('port = 2\npool_size = 6\nsmtp_host = "mail.example.org"\n')
    monkeypatch.setenv("TOCSIN_PORT", "3")
    monkeypatch.setenv("TOCSIN_SESSION_HOURS", "")
    settings = load_settings(dedup_window=7)
    sources = sources_of(settings)
    assert (settings.port, settings.pool_size) == (3, 5)
    assert {name: sources[name] for name in ("port", "pool_size", "smtp_host", "dedup_window", "session_hours")} == {
        "port": Source.ENVIRONMENT,
        "pool_size": Source.DOTENV,
        "smtp_host": Source.TOML,
        "dedup_window": Source.GIVEN,
        "session_hours": Source.DEFAULT,
    }


def test_a_file_that_was_broken_since_the_start_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    Path("tocsin.toml").write_text("port = = 2")
    with pytest.raises(TocsinError) as refused:
        sources_of(settings)
    assert refused.value.refusal.code is Code.MISCONFIGURED


WRONG = {
    "PORT": ("abc", "must be a whole number"),
    "SESSION_HOURS": ("0", "must be at least 1"),
    "POOL_SIZE": ("101", "must be at most 100"),
    "DELIVERY_TIMEOUT": ("0", "must be more than 0"),
    "SECURE_COOKIES": ("perhaps", "must be true or false"),
    "SMTP_SECURITY": ("ssl", "must be 'none', 'starttls' or 'tls'"),
    "INCIDENT_THRESHOLD": ("LOUD", "must be 'LOW', 'MEDIUM', 'HIGH' or 'CRITICAL'"),
    "BOOTSTRAP_TOKEN": ("short", "must have at least 20 characters"),
    "BOOTSTRAP_KEY": ("k", "must be 32 lower-case hex digits"),
    "WEBHOOK_ALLOWED_NETWORKS": ('["x"]', "must be networks, such as 10.0.0.0/8"),
}


def test_wrong_settings_say_what_they_must_be_a_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, (value, _) in WRONG.items():
        monkeypatch.setenv(f"TOCSIN_{name}", value)
    with pytest.raises(TocsinError) as refused:
        load_settings()
    first, *lines = refused.value.refusal.message.splitlines()
    assert first == f"{len(WRONG)} wrong settings:"
    assert {line.split(": ")[0].strip(): line.split(": ")[1].removesuffix(".0") for line in lines} == {
        f"TOCSIN_{name}": said for name, (_, said) in WRONG.items()
    }


def test_a_list_that_is_none_is_named_and_so_is_a_file_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setenv("TOCSIN_LOG_COPIES", "file:///copy")
        with pytest.raises(TocsinError, match="TOCSIN_LOG_COPIES: must be a list in JSON"):
            load_settings()
    Path("tocsin.toml").write_text("port = = 2")
    with pytest.raises(TocsinError, match=r"\.env or tocsin\.toml cannot be read"):
        load_settings()
