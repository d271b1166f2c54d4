"""How the command line writes steps of a policy: `10m:schedule:payments`, `NO_ACK_4HR=2h:duty:DIRECTOR,user:ana@…`."""

from __future__ import annotations

import re
from datetime import timedelta

from tocsin.cli.options import WrongUsageError, duration
from tocsin.domain.policy import StepReason
from tocsin.domain.policy_document import StepDraft, TargetKind, TargetName, checked_target, reason_of, split_targets

_KINDS = "|".join(TargetKind)
_STEP = re.compile(rf"(?:(?P<reason>\w+)=)?(?P<after>[^:=]+):(?P<targets>(?:{_KINDS}):.+)", re.IGNORECASE)


def read_step(text: str) -> StepDraft:
    """Read `[REASON=]DELAY:TARGET[,TARGET…]`. Without a reason 0 is the first alert, later is a step of its own."""
    match = _STEP.fullmatch(text.strip())
    if match is None:
        raise WrongUsageError(
            f"--step {text!r} is not [REASON=]DELAY:TARGET[,TARGET…], such as 10m:schedule:payments "
            "or NO_ACK_1HR=30m:duty:SUPERVISOR,user:ana@example.org."
        )
    after = _delay(match["after"])
    return StepDraft(_reason(match["reason"], after), after, read_targets(match["targets"]))


def _delay(text: str) -> timedelta:
    return timedelta() if text.strip() == "0" else duration(text)


def _reason(text: str | None, after: timedelta) -> StepReason:
    if text is None:
        return reason_of(after)
    if text.upper() not in list(StepReason):
        raise WrongUsageError(f"{text!r} is no reason of a step: {', '.join(StepReason)}.")
    return StepReason(text.upper())


def read_targets(text: str) -> tuple[TargetName, ...]:
    """Read targets with commas between them, each `user:EMAIL`, `schedule:NAME` or `duty:DUTY`."""
    return tuple(_target(part) for part in split_targets(text))


def _target(text: str) -> TargetName:
    kind, colon, name = text.partition(":")
    if not colon or kind.lower() not in list(TargetKind):
        raise WrongUsageError(f"{text!r} is no target such as duty:ON_CALL, schedule:NAME or user:EMAIL.")
    named = name.strip().upper() if kind.lower() == TargetKind.DUTY else name
    return checked_target("target", TargetKind(kind.lower()), named)


def targets_text(targets: tuple[TargetName, ...]) -> str:
    """Return targets as `read_targets` takes them."""
    return ",".join(str(target) for target in targets)
