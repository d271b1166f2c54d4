"""The page that the tests of every channel send."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from tocsin.channels import Message

MESSAGE = Message(
    notification_id=UUID("0195a0c0-0000-7000-8000-000000000001"),
    subject="[CRITICAL] INC-42 Störung: Zahlung fehlgeschlagen – 支払い",
    text="Nobody has acknowledged this yet.\n\n  INC-42  CRITICAL  Störung 支払い",
    payload={"event": "INCIDENT_OPENED", "incident": {"number": 42, "title": "Störung 支払い"}},
    sent_at=datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=UTC),
    reply_thread="0195a0c0-0000-7000-8000-0000000000aa",
    title="Störung: Zahlung fehlgeschlagen – 支払い",
    severity="CRITICAL",
    incident_number=42,
    url="https://tocsin.example.org/api/incidents/42",
    acknowledge_url="https://tocsin.example.org/a/TOKEN",
)


@pytest.fixture
def message() -> Message:
    """A page with text beyond ASCII, about one incident."""
    return MESSAGE
