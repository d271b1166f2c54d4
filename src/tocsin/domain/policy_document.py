"""Policies as people and programs write them: names in the place of ids, in a document of JSON or TOML.

What is shown can be taken in again: `parse_policy(document_of(draft)) == draft`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import NoReturn

from tocsin.domain.policy import (
    DEFAULT_LEASE,
    MAX_DELAY,
    MAX_LEASE,
    MAX_NAME_CHARACTERS,
    MAX_REPEAT,
    MAX_STEPS,
    MAX_TARGETS,
    MIN_LEASE,
    Duty,
    StepReason,
    checked_line,
)
from tocsin.errors import Code, refuse

MAX_TARGET_CHARACTERS = 254
"""As long as an e-mail address may be."""
_EXAMPLE = (
    '{"name": "payments", "repeat": 2, "leaseSeconds": 7200, '
    '"steps": [{"afterSeconds": 600, "targets": [{"schedule": "payments"}]}]}'
)


class TargetKind(StrEnum):
    """What a target is: a user by e-mail, a schedule by name, or a duty."""

    USER = "user"
    SCHEDULE = "schedule"
    DUTY = "duty"


# A comma parts two targets only where the next one begins: the name of a schedule may have commas.
_BETWEEN = re.compile(rf",\s*(?=(?:{'|'.join(TargetKind)}):)", re.IGNORECASE)


def split_targets(text: str) -> list[str]:
    """Return the targets of a text with commas between them, such as `duty:ON_CALL, user:ada@example.org`."""
    return _BETWEEN.split(text.strip())


@dataclass(frozen=True, slots=True)
class TargetName:
    """Whom a step is for, by name."""

    kind: TargetKind
    name: str

    def __str__(self) -> str:
        """Return the target as the command line takes it."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class StepDraft:
    """A step whose targets are names."""

    reason: StepReason
    after: timedelta
    targets: tuple[TargetName, ...]


@dataclass(frozen=True, slots=True)
class PolicyDraft:
    """A policy as somebody wrote it. A rule that it does not name is taken from the default."""

    name: str
    steps: tuple[StepDraft, ...]
    repeat: int = 0
    lease: timedelta | None = DEFAULT_LEASE


def reason_of(after: timedelta) -> StepReason:
    """Return the reason of a step for which none is named: what is paged at once is the first alert."""
    return StepReason.POLICY_STEP if after else StepReason.INCIDENT_OPENED


def delay_text(delay: timedelta) -> str:
    """Return a delay as the command line takes it: `1h30m`."""
    seconds = int(delay.total_seconds())
    parts = ((seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def document_of(draft: PolicyDraft) -> dict[str, object]:
    """Return the document of a policy."""
    steps = [
        {
            "reason": step.reason.value,
            "afterSeconds": _seconds(step.after),
            "targets": [{target.kind.value: target.name} for target in step.targets],
        }
        for step in draft.steps
    ]
    lease = _seconds(draft.lease) if draft.lease is not None else None
    return {"name": draft.name, "repeat": draft.repeat, "leaseSeconds": lease, "steps": steps}


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


def parse_policy(document: object) -> PolicyDraft:
    """Return the policy that a document describes; raise INVALID, naming the field.

    `leaseSeconds` null or 0 is for ever: TOML has no null.
    """
    fields = _fields("", document, {"name", "repeat", "leaseSeconds", "steps"})
    steps = _list("steps", fields.get("steps", []), 0, MAX_STEPS)
    lease = fields.get("leaseSeconds", _seconds(DEFAULT_LEASE)) or 0
    return PolicyDraft(
        checked_name(_text("name", fields.get("name"))),
        tuple(_step(f"steps[{index}]", step) for index, step in enumerate(steps)),
        _whole("repeat", fields.get("repeat", 0), MAX_REPEAT),
        checked_lease(timedelta(seconds=_whole("leaseSeconds", lease, _seconds(MAX_LEASE)))),
    )


def checked_name(name: str) -> str:
    """Return the name of a policy, stripped; raise INVALID when it cannot be one."""
    return checked_line("name", name, MAX_NAME_CHARACTERS)


def checked_lease(lease: timedelta) -> timedelta | None:
    """Return how long an acknowledgment holds, None for ever (0); raise INVALID when it is out of bounds."""
    if lease and not MIN_LEASE <= lease <= MAX_LEASE:
        _refuse("leaseSeconds", f"must be 0 (for ever), or {delay_text(MIN_LEASE)} to {delay_text(MAX_LEASE)}")
    return lease or None


def _step(field: str, value: object) -> StepDraft:
    fields = _fields(field, value, {"reason", "afterSeconds", "targets"})
    after = timedelta(seconds=_whole(f"{field}.afterSeconds", fields.get("afterSeconds", 0), _seconds(MAX_DELAY)))
    reason = fields.get("reason", reason_of(after).value)
    if not isinstance(reason, str) or reason not in list(StepReason):
        _refuse(f"{field}.reason", f"must be one of {', '.join(StepReason)}")
    targets = _list(f"{field}.targets", fields.get("targets"), 1, MAX_TARGETS)
    named = (_target(f"{field}.targets[{index}]", target) for index, target in enumerate(targets))
    return StepDraft(StepReason(reason), after, tuple(named))


def _target(field: str, value: object) -> TargetName:
    fields = _fields(field, value, set(TargetKind))
    if len(fields) != 1:
        _refuse(field, "must name exactly one of user, schedule and duty")
    ((kind, name),) = fields.items()
    return checked_target(field, TargetKind(kind), _text(f"{field}.{kind}", name))


def checked_target(field: str, kind: TargetKind, name: str) -> TargetName:
    """Return a target by its name; raise INVALID where no target can have it."""
    if kind is TargetKind.DUTY and name not in list(Duty):
        _refuse(f"{field}.duty", f"must be one of {', '.join(Duty)}")
    return TargetName(kind, checked_line(f"{field}.{kind}", name, MAX_TARGET_CHARACTERS))


def _fields(field: str, value: object, known: set[str]) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        _refuse(field, f"must be an object of {', '.join(sorted(known))}")
    for name in value:
        if name not in known:
            _refuse(".".join(part for part in (field, str(name)[:50]) if part), "is not known here")
    return value


def _list(field: str, value: object, least: int, most: int) -> Sequence[object]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not least <= len(value) <= most:
        _refuse(field, f"must be a list of {least} to {most}")
    return value


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        _refuse(field, "must be text")
    return value


def _whole(field: str, value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        _refuse(field, f"must be a whole number from 0 to {most}")
    return value


def _refuse(field: str, problem: str) -> NoReturn:
    message = f"{field or 'The policy'}: {problem}."
    raise refuse(Code.INVALID, message, f"Example: {_EXAMPLE}", errors=[{"field": field, "problem": problem}])
