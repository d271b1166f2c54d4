"""Tells why each candidate of an incident was paged, or not: step by step, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from tocsin.app.why import Candidate, Page, Stage, StepStory, Why
from tocsin.cli.output import Line, instant, one_line

_STAGES = {Stage.TAKEN: "", Stage.MOOT: "not taken, and never will be", Stage.TO_COME: "still to come"}


def why_story(why: Why) -> Iterator[Line]:
    """Yield the lines of the story."""
    yield Text.assemble((f"INC-{why.number}", "bold"), f"  follows the policy {one_line(why.policy)}")
    for step in why.steps:
        yield ""
        yield from step_lines(step)


def step_lines(step: StepStory) -> Iterator[Line]:
    """Yield the lines of one step."""
    stage = f"  ({_STAGES[step.stage]})" if _STAGES[step.stage] else ""
    yield Text.assemble(f"{instant(step.at)}  ", (step.reason, "bold"), f"  {step.words}{stage}")
    for candidate in step.candidates:
        yield from _candidate(candidate)
    if not step.candidates and step.stage is Stage.TO_COME:
        yield "  nobody stands behind it now"


def _candidate(candidate: Candidate) -> Iterator[Line]:
    name = one_line(candidate.name) if candidate.name else "the step itself" if candidate.user_id is None else "?"
    yield f"  {name}  {one_line(candidate.words)}  [{one_line(candidate.via)}]"
    for page in candidate.pages:
        yield from _page(page)


def _page(page: Page) -> Iterator[Line]:
    ended = f" {instant(page.settled_at)}" if page.settled_at else f", due {instant(page.due_at)}"
    because = f" ({page.because})" if page.because else ""
    yield f"      {page.channel} {one_line(page.address)}  {page.state}{ended}{because}"
    for attempt in page.attempts:
        yield f"        {instant(attempt.at)}  {attempt.outcome}  {one_line(attempt.answer)}"
