"""How the command line shows pages: what went to whom, and what came of each attempt."""

from __future__ import annotations

from tocsin.app.read_notifications import Histories, History
from tocsin.cli.output import Call, instant
from tocsin.domain.plural import number_of


def tell_pages(call: Call, found: Histories) -> None:
    """Print a table of pages, one line for each attempt."""
    rows = [row for history in found.pages for row in _rows(history)]
    call.table(("OWED", "INCIDENT", "REASON", "TO", "OVER", "STATE", "TRIED", "ANSWER"), rows)
    call.note(f"{number_of(len(found.pages), 'page')}.")
    if found.next_cursor is not None:
        call.note(f"There are more: --cursor {found.next_cursor}")


def _rows(history: History) -> list[tuple[str, ...]]:
    page = history.page
    state = f"{page.state} ({page.because})" if page.because else page.state
    over = f"{page.channel} {page.address}{' (bundle)' if page.bundle_id else ''}"
    said = (instant(page.created_at), f"INC-{page.incident_number}", page.reason, page.user_name, over, state)
    if not history.attempts:
        waits = f"due {instant(page.due_at)}" if page.state == "PENDING" else ""
        return [(*said, "-", waits)]
    return [(*said, instant(one.started_at), f"{one.outcome}: {one.answer}") for one in history.attempts]
