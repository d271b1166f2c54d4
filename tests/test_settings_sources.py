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
