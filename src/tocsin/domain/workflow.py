"""The workflow: every transition of an incident, decided here and (a second time, on its own) by the database.

`decide(state, action)` answers with the steps to record or with the reason why not; `evolve(state, step)` says
where the incident stands afterwards. An incident's state is the fold of `evolve` over its timeline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from tocsin.domain.follow_up import FollowUpAction
from tocsin.domain.incident import EscalationReason, RootCauseCategory, Severity, Status
from tocsin.domain.timeline import EntryKind
from tocsin.errors import Code, Refusal, refuse

MAX_TEXT_CHARACTERS = 10_000
"""The longest text that a person may write into a record."""


@dataclass(frozen=True, slots=True)
class Acknowledgment:
    """Who took the incident, and when."""

    user_id: UUID
    user_name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class IncidentState:
    """Where an incident stands: what the rules need to know, and no more."""

    number: int
    status: Status
    severity: Severity
    acknowledgment: Acknowledgment | None = None
    has_root_cause: bool = False
    lessons_learned: str | None = None
    follow_up_actions: tuple[FollowUpAction, ...] = ()
    sessions_blocked: bool = False
    fired: frozenset[EscalationReason] = frozenset()
    fired_steps: frozenset[str] = frozenset()
    """The further steps of policies that were taken, each by the name that `Escalate.step` has."""
    lease_from: datetime | None = None
    """Since when the acknowledgment holds: the last thing that a person did, or the last lapse."""
    lapses: int = 0
    """How often it has lapsed since a person did something."""
    service: str | None = None

    @property
    def label(self) -> str:
        """Return how people call the incident: `INC-42`."""
        return f"INC-{self.number}"


@dataclass(frozen=True, slots=True)
class Step:
    """One entry to record: its kind, and the status and severity that it leads to."""

    kind: EntryKind
    status_after: Status
    severity_after: Severity


Decision = tuple[Step, ...] | Refusal


def checked_text(field: str, value: str, *, required: bool = True) -> str:
    """Return the text stripped, or raise INVALID when it is empty (if required), too long or cannot be stored."""
    text = value.strip()
    problem = ""
    if required and not text:
        problem = "must not be empty"
    elif len(text) > MAX_TEXT_CHARACTERS:
        problem = f"must have at most {MAX_TEXT_CHARACTERS} characters, not {len(text)}"
    elif "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        problem = "must not contain NUL characters or lone surrogates"
    if problem:
        raise refuse(Code.INVALID, f"{field} {problem}.", errors=[{"field": field, "problem": problem}])
    return text


def optional_text(field: str, value: str | None) -> str | None:
    """Return the text stripped, None for an absent or blank one; raise INVALID as `checked_text` does."""
    return (checked_text(field, value, required=False) or None) if value is not None else None


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Say "I have it". Once; notes are required: they tell the others what is being done."""

    notes: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", checked_text("notes", self.notes))


@dataclass(frozen=True, slots=True)
class StartInvestigation:
    """Say that the search for the cause has begun."""


@dataclass(frozen=True, slots=True)
class RecordRootCause:
    """Say why it happened and what mends it. Once; starts the investigation if nobody had."""

    summary: str
    category: RootCauseCategory
    remediation_steps: str
    verified_at: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "summary", checked_text("summary", self.summary))
        object.__setattr__(self, "remediation_steps", checked_text("remediationSteps", self.remediation_steps))
        verified_at = self.verified_at
        if verified_at is not None and (verified_at.tzinfo is None or not 1970 <= verified_at.year < 9999):
            problem = "must be a time with its zone, such as 2026-12-01T09:00:00Z"
            raise refuse(Code.INVALID, f"verifiedAt {problem}.", errors=[{"field": "verifiedAt", "problem": problem}])


@dataclass(frozen=True, slots=True)
class Resolve:
    """Say that it is over, and how. With lessons and follow-ups it closes the incident in the same breath."""

    summary: str
    notes: str | None = None
    impact: str | None = None
    lessons_learned: str | None = None
    follow_up_actions: tuple[FollowUpAction, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "summary", checked_text("resolutionSummary", self.summary))
        object.__setattr__(self, "notes", optional_text("resolutionNotes", self.notes))
        object.__setattr__(self, "impact", optional_text("impactAssessment", self.impact))
        object.__setattr__(self, "lessons_learned", optional_text("lessonsLearned", self.lessons_learned))


@dataclass(frozen=True, slots=True)
class Close:
    """Say what was learned and what will be done. What the resolution brought already need not be said again."""

    lessons_learned: str | None = None
    follow_up_actions: tuple[FollowUpAction, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "lessons_learned", optional_text("lessonsLearned", self.lessons_learned))


@dataclass(frozen=True, slots=True)
class AddNote:
    """Add something that the others should know."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", checked_text("text", self.text))


@dataclass(frozen=True, slots=True)
class ChangeSeverity:
    """Say that it is worse, or less bad, than it looked. Severity never falls by itself: that takes a person."""

    to: Severity
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", checked_text("reason", self.reason))


@dataclass(frozen=True, slots=True)
class Escalate:
    """Make it louder: by a rule's clock, by a person, or because a worse report joined."""

    reason: EscalationReason
    notes: str = ""
    step: str = ""
    """Which further step of a policy this is; only POLICY_STEP has one."""

    def __post_init__(self) -> None:
        by_hand = self.reason is EscalationReason.MANUAL_ESCALATION
        object.__setattr__(self, "notes", checked_text("reason", self.notes, required=by_hand))


@dataclass(frozen=True, slots=True)
class RaiseSeverity:
    """A report worse than the incident joined it."""

    to: Severity


@dataclass(frozen=True, slots=True)
class AcknowledgeEscalation:
    """The one to whom it was escalated says that it arrived; `acknowledged_at` is set if that was said before."""

    escalated_to: UUID | None
    actor: UUID
    acknowledged_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReceiveSignal:
    """Take down what another system says of the failure. It is for people to draw a conclusion from it."""


@dataclass(frozen=True, slots=True)
class ErasePersonalData:
    """Take texts out of the record, whatever the status, and say so. It changes nothing else."""


@dataclass(frozen=True, slots=True)
class BlockSessions:
    """Block the sessions of everybody who cannot acknowledge, until somebody does."""


@dataclass(frozen=True, slots=True)
class LapseAcknowledgment:
    """Say that nothing was heard for so long that the acknowledgment does not count any more."""


@dataclass(frozen=True, slots=True)
class HoldPages:
    """Say that a silence or a maintenance window holds back the pages about the incident."""


Action = (
    Acknowledge
    | StartInvestigation
    | RecordRootCause
    | Resolve
    | Close
    | AddNote
    | ChangeSeverity
    | RaiseSeverity
    | Escalate
    | AcknowledgeEscalation
    | ReceiveSignal
    | ErasePersonalData
    | BlockSessions
    | LapseAcknowledgment
    | HoldPages
)


def decide(state: IncidentState, action: Action) -> Decision:
    """Return the steps that the action takes from this state, or why it cannot be taken."""
    return _RULES[type(action)](state, action)


def evolve(state: IncidentState, step: Step) -> IncidentState:
    """Return the state after a step that `decide` gave; facts that came with the action are for the caller to add."""
    return replace(
        state,
        status=step.status_after,
        severity=step.severity_after,
        has_root_cause=state.has_root_cause or step.kind is EntryKind.ROOT_CAUSE_RECORDED,
        sessions_blocked=step.kind is EntryKind.SESSIONS_BLOCKED
        or (state.sessions_blocked and step.kind is not EntryKind.ACKNOWLEDGED),
    )


def _acknowledge(state: IncidentState, _: Acknowledge) -> Decision:
    if state.status is not Status.REPORTED:
        return _already_acknowledged(state)
    return (_step(state, EntryKind.ACKNOWLEDGED, Status.ACKNOWLEDGED),)


def _start_investigation(state: IncidentState, _: StartInvestigation) -> Decision:
    if state.status is Status.REPORTED:
        return _not_acknowledged(state, "start the investigation of")
    if state.status is not Status.ACKNOWLEDGED:
        return Refusal(Code.ALREADY_RECORDED, f"The investigation of {state.label} has been started before.")
    return (_step(state, EntryKind.INVESTIGATION_STARTED, Status.INVESTIGATING),)


def _record_root_cause(state: IncidentState, _: RecordRootCause) -> Decision:
    if state.status is Status.REPORTED:
        return _not_acknowledged(state, "record a root cause for")
    if state.has_root_cause:
        return Refusal(
            Code.ALREADY_RECORDED,
            f"The root cause of {state.label} is recorded already, and what was recorded never changes.",
            f"Add what you know now as a note: `tocsin incidents note {state.number}`.",
        )
    recorded = _step(state, EntryKind.ROOT_CAUSE_RECORDED, Status.INVESTIGATING)
    if state.status is Status.ACKNOWLEDGED:
        return (_step(state, EntryKind.INVESTIGATION_STARTED, Status.INVESTIGATING), recorded)
    return (recorded,)


def _resolve(state: IncidentState, action: Resolve) -> Decision:
    if state.status is Status.REPORTED:
        return _not_acknowledged(state, "resolve")
    if state.status in (Status.RESOLVED, Status.CLOSED):
        return Refusal(
            Code.ALREADY_RESOLVED,
            f"{state.label} is resolved already.",
            f"See how: `tocsin incidents show {state.number}`.",
        )
    if not state.has_root_cause:
        return Refusal(
            Code.NO_ROOT_CAUSE,
            f"Cannot resolve {state.label}: no root cause is recorded.",
            f"Record it with `tocsin incidents root-cause {state.number}`.",
        )
    resolved = _step(state, EntryKind.RESOLVED, Status.RESOLVED)
    if action.lessons_learned and action.follow_up_actions:
        return (resolved, _step(state, EntryKind.CLOSED, Status.CLOSED))
    return (resolved,)


def _close(state: IncidentState, action: Close) -> Decision:
    if state.status is Status.CLOSED:
        return Refusal(Code.ALREADY_CLOSED, f"{state.label} is closed already.")
    if state.status is not Status.RESOLVED:
        return Refusal(
            Code.NOT_RESOLVED,
            f"Cannot close {state.label}: it is {state.status.value}, not RESOLVED.",
            f"Resolve it first: `tocsin incidents resolve {state.number}`.",
        )
    missing = [
        name
        for name, said, known in (
            ("lessonsLearned", action.lessons_learned, state.lessons_learned),
            ("followUpActions", action.follow_up_actions, state.follow_up_actions),
        )
        if not (said or known)
    ]
    if missing:
        return Refusal(
            Code.CONTEXT_REQUIRED,
            f"Cannot close {state.label} without {' and '.join(missing)}.",
            "An incident closes with what was learned and what will be done, so that it does not come back.",
            {"missing": missing},
        )
    return (_step(state, EntryKind.CLOSED, Status.CLOSED),)


def _add_note(state: IncidentState, _: AddNote) -> Decision:
    return (_step(state, EntryKind.NOTE_ADDED, state.status),)


def _change_severity(state: IncidentState, action: ChangeSeverity) -> Decision:
    if state.status is Status.CLOSED:
        return Refusal(Code.ALREADY_CLOSED, f"{state.label} is closed: its severity stays {state.severity.value}.")
    if state.severity is action.to:
        return Refusal(Code.ALREADY_RECORDED, f"{state.label} is {action.to.value} already.")
    if state.severity.at_least(action.to):
        return (Step(EntryKind.SEVERITY_CHANGED, state.status, action.to),)
    return _raised(state, action.to)


def _raise_severity(state: IncidentState, action: RaiseSeverity) -> Decision:
    return () if state.severity.at_least(action.to) else _raised(state, action.to)


def _raised(state: IncidentState, to: Severity) -> tuple[Step, ...]:
    return (Step(EntryKind.SEVERITY_CHANGED, state.status, to), Step(EntryKind.ESCALATED, state.status, to))


_WAIT_FOR_ACKNOWLEDGMENT = frozenset(
    {EscalationReason.NO_ACK_1HR, EscalationReason.NO_ACK_4HR, EscalationReason.POLICY_STEP}
)


def _escalate(state: IncidentState, action: Escalate) -> Decision:
    if state.status is Status.CLOSED:
        return Refusal(Code.ALREADY_CLOSED, f"{state.label} is closed: there is nothing to escalate.")
    if (action.reason is EscalationReason.POLICY_STEP) != bool(action.step):
        return Refusal(Code.INVALID, f"{action.reason.value} names a policy's step if it is a POLICY_STEP, only then.")
    if action.step in state.fired_steps if action.step else action.reason in state.fired:
        return Refusal(Code.ALREADY_RECORDED, f"{action.reason.value} of {state.label} has fired before.")
    if action.reason in _WAIT_FOR_ACKNOWLEDGMENT and state.status is not Status.REPORTED:
        return _already_acknowledged(state)
    if action.reason is EscalationReason.NO_ROOT_CAUSE_24HR and state.has_root_cause:
        return Refusal(Code.ALREADY_RECORDED, f"The root cause of {state.label} is recorded.")
    return (_step(state, EntryKind.ESCALATED, state.status),)


def _acknowledge_escalation(state: IncidentState, action: AcknowledgeEscalation) -> Decision:
    if action.acknowledged_at is not None:
        return Refusal(Code.ALREADY_ACKNOWLEDGED, f"This escalation of {state.label} is acknowledged already.")
    if action.escalated_to != action.actor:
        return Refusal(
            Code.FORBIDDEN,
            f"This escalation of {state.label} went to somebody else: only they can say that it arrived.",
            f"To take the incident yourself: `tocsin incidents ack {state.number}`.",
        )
    return (_step(state, EntryKind.ESCALATION_ACKNOWLEDGED, state.status),)


def _receive_signal(state: IncidentState, _: ReceiveSignal) -> Decision:
    return (_step(state, EntryKind.SIGNAL_RECEIVED, state.status),)


def _erase_personal_data(state: IncidentState, _: ErasePersonalData) -> Decision:
    return (_step(state, EntryKind.PERSONAL_DATA_ERASED, state.status),)


def _block_sessions(state: IncidentState, _: BlockSessions) -> Decision:
    if state.status is not Status.REPORTED or state.severity is not Severity.CRITICAL or state.sessions_blocked:
        return Refusal(Code.CONFLICT, f"{state.label} does not block sessions.")
    return (_step(state, EntryKind.SESSIONS_BLOCKED, state.status),)


def _lapse_acknowledgment(state: IncidentState, _: LapseAcknowledgment) -> Decision:
    if state.status not in (Status.ACKNOWLEDGED, Status.INVESTIGATING):
        return Refusal(Code.CONFLICT, f"{state.label} waits for nobody's progress.")
    return (_step(state, EntryKind.ACKNOWLEDGMENT_LAPSED, state.status),)


def _hold_pages(state: IncidentState, _: HoldPages) -> Decision:
    if state.status is Status.CLOSED:
        return Refusal(Code.ALREADY_CLOSED, f"{state.label} is closed: there are no pages to hold back.")
    return (_step(state, EntryKind.PAGES_HELD, state.status),)


def _step(state: IncidentState, kind: EntryKind, status_after: Status) -> Step:
    return Step(kind, status_after, state.severity)


def _not_acknowledged(state: IncidentState, verb: str) -> Refusal:
    return Refusal(
        Code.NOT_ACKNOWLEDGED,
        f"Cannot {verb} {state.label}: nobody has acknowledged it.",
        f"Acknowledge it first: `tocsin incidents ack {state.number}`.",
    )


def _already_acknowledged(state: IncidentState) -> Refusal:
    taken = state.acknowledgment
    if taken is None:
        return Refusal(Code.ALREADY_ACKNOWLEDGED, f"{state.label} is acknowledged already.")
    return Refusal(
        Code.ALREADY_ACKNOWLEDGED,
        f"{state.label} is acknowledged already, by {taken.user_name}.",
        "They are on it; add what you know as a note, or escalate.",
        {
            "acknowledgedBy": {"id": str(taken.user_id), "name": taken.user_name},
            "acknowledgedAt": taken.at.isoformat(),
        },
    )


_RULES: dict[type, Callable[..., Decision]] = {
    Acknowledge: _acknowledge,
    StartInvestigation: _start_investigation,
    RecordRootCause: _record_root_cause,
    Resolve: _resolve,
    Close: _close,
    AddNote: _add_note,
    ChangeSeverity: _change_severity,
    RaiseSeverity: _raise_severity,
    Escalate: _escalate,
    AcknowledgeEscalation: _acknowledge_escalation,
    ReceiveSignal: _receive_signal,
    ErasePersonalData: _erase_personal_data,
    BlockSessions: _block_sessions,
    LapseAcknowledgment: _lapse_acknowledgment,
    HoldPages: _hold_pages,
}

_STAYS = frozenset({(status, status) for status in Status})
TRANSITIONS: dict[EntryKind, frozenset[tuple[Status | None, Status]]] = {
    EntryKind.REPORTED: frozenset({(None, Status.REPORTED)}),
    EntryKind.ACKNOWLEDGED: frozenset({(Status.REPORTED, Status.ACKNOWLEDGED)}),
    EntryKind.INVESTIGATION_STARTED: frozenset({(Status.ACKNOWLEDGED, Status.INVESTIGATING)}),
    EntryKind.ROOT_CAUSE_RECORDED: frozenset({(Status.INVESTIGATING, Status.INVESTIGATING)}),
    EntryKind.RESOLVED: frozenset({(Status.INVESTIGATING, Status.RESOLVED)}),
    EntryKind.CLOSED: frozenset({(Status.RESOLVED, Status.CLOSED)}),
    EntryKind.ESCALATED: _STAYS,
    EntryKind.ESCALATION_ACKNOWLEDGED: _STAYS,
    EntryKind.SEVERITY_CHANGED: _STAYS,
    EntryKind.NOTE_ADDED: _STAYS,
    EntryKind.SIGNAL_RECEIVED: _STAYS,
    EntryKind.PERSONAL_DATA_ERASED: _STAYS,
    EntryKind.SESSIONS_BLOCKED: frozenset({(Status.REPORTED, Status.REPORTED)}),
    EntryKind.ACKNOWLEDGMENT_LAPSED: frozenset(
        {(Status.ACKNOWLEDGED, Status.ACKNOWLEDGED), (Status.INVESTIGATING, Status.INVESTIGATING)}
    ),
    EntryKind.PAGES_HELD: _STAYS - {(Status.CLOSED, Status.CLOSED)},
}
"""From where to where an entry of each kind may lead: what a verifier can check of a recorded timeline."""
