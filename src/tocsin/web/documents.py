"""The JSON of the public contract: what requests say and what answers show, with exactly these names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tocsin.app.projects import MAX_NAME_CHARACTERS
from tocsin.app.read_incidents import MAX_REPORTS, IncidentDetail, IncidentPage, IncidentReports, Stats
from tocsin.app.read_ledger import LedgerView
from tocsin.app.why import Page, Stage, StepStory, Why
from tocsin.domain.access import Role
from tocsin.domain.deduplication import Outcome
from tocsin.domain.follow_up import MAX_FOLLOW_UP_CHARACTERS, MAX_FOLLOW_UPS
from tocsin.domain.incident import EscalationReason, IncidentType, RootCauseCategory, Severity, Status
from tocsin.domain.paging import Because
from tocsin.domain.report import MAX_TITLE_CHARACTERS
from tocsin.domain.second_factor import MAX_CODE_CHARACTERS
from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import MAX_TEXT_CHARACTERS

# The domain checks the texts, with messages for people; here their limits are only declared for the documentation.
Text = Annotated[
    str,
    Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_TEXT_CHARACTERS, "pattern": r"^\s*[^\s\x00][^\x00]*$"}),
]
OptionalText = Annotated[str, Meta(extra_json_schema={"maxLength": MAX_TEXT_CHARACTERS, "pattern": r"^[^\x00]*$"})]
Title = Annotated[
    str, Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_TITLE_CHARACTERS, "pattern": r"^[ -~]*[!-~][ -~]*$"})
]
Line = Annotated[
    str,
    Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_FOLLOW_UP_CHARACTERS, "pattern": r"^[ -~]*[!-~][ -~]*$"}),
]
Email = Annotated[
    str, Meta(min_length=3, max_length=254, pattern=r"^[^\s@\x00]+@[^\s@\x00]+$", examples=["ana@example.org"])
]
Instant = Annotated[datetime, Meta(tz=True)]
StatusName = Annotated[
    str, Meta(description="A status, or `open`: every one but CLOSED.", extra_json_schema={"enum": ["open", *Status]})
]
Erasable = Annotated[str | None, Meta(description="Null where it was erased.")]
AttemptOutcome = Annotated[
    str,
    Meta(
        description="RETRY: not confirmed, it is tried again. REJECTED: it never will be taken. "
        "UNDER_WAY: no answer yet. CUT_SHORT: no answer was written down; whether it arrived is not known.",
        extra_json_schema={"enum": ["DELIVERED", "RETRY", "REJECTED", "UNDER_WAY", "CUT_SHORT"]},
    ),
]
Checksum = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256, as hexadecimal digits.")]


class Body(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What a request says. A field that nobody knows is refused: a misspelt one would be lost silently."""


class Nothing(Body):
    """A request that says nothing but its path."""


class Document(msgspec.Struct, rename="camel"):
    """What an answer shows."""


class AcknowledgeBody(Body):
    notes: Text


class FollowUpBody(Body, omit_defaults=True):
    title: Line
    owner: Line | None = None
    due_at: Annotated[str, Meta(examples=["2026-12-01", "2026-12-01T09:00:00Z"])] | None = None


FollowUps = Annotated[list[str | FollowUpBody], Meta(extra_json_schema={"maxItems": MAX_FOLLOW_UPS})]


class RootCauseBody(Body):
    summary: Text
    category: RootCauseCategory
    remediation_steps: Text
    verified_at: Instant | None = None


class ResolveBody(Body):
    resolution_summary: Text
    resolution_notes: OptionalText | None = None
    impact_assessment: OptionalText | None = None
    lessons_learned: OptionalText | None = None
    follow_up_actions: FollowUps | None = None


class CloseBody(Body):
    lessons_learned: OptionalText | None = None
    follow_up_actions: FollowUps | None = None


class NoteBody(Body):
    text: Text


class EscalateBody(Body):
    to: Email
    reason: Text


class SeverityBody(Body):
    severity: Severity
    reason: Text


class OpenBody(Body):
    severity: Severity
    title: Title
    description: OptionalText = ""
    error_id: UUID | None = None
    service: Annotated[Line | None, Meta(description="Decides which policy it follows; else what the report says.")] = (
        None
    )


class SignInBody(Body):
    email: Email
    password: Annotated[str, Meta(min_length=1, max_length=1_000)]
    code: (
        Annotated[
            str, Meta(max_length=MAX_CODE_CHARACTERS, description="The second factor's: of the app, or to recover.")
        ]
        | UnsetType
    ) = UNSET


ProjectName = Annotated[
    str,
    Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_NAME_CHARACTERS, "pattern": r"^[ -~]*[!-~][ -~]*$"}),
]


class AddProjectBody(Body):
    name: ProjectName


class ChangeProjectBody(Body):
    """What a project decides for itself; null follows the installation's setting, what is absent stays."""

    name: ProjectName | UnsetType = UNSET
    dedup_window_seconds: Annotated[int, Meta(ge=0, le=86400)] | UnsetType | None = UNSET
    incident_threshold: Severity | UnsetType | None = UNSET
    severity_rules: list[dict[str, Any]] | UnsetType | None = UNSET
    field_mapping: dict[str, Any] | UnsetType | None = UNSET


class AddKeyBody(Body):
    revoke_others: bool = False


class ReportsQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """How many of an incident's reports are shown."""

    limit: Annotated[int, Meta(ge=1, le=MAX_REPORTS)] = 10


class LedgerQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Which part of the ledger is shown."""

    since: (
        Annotated[datetime, Meta(tz=True, description="From the minute of this instant; else the last hour.")] | None
    ) = None
    until: Annotated[datetime, Meta(tz=True, description="To the end of the minute of this instant.")] | None = None
    project_id: Annotated[int, Meta(ge=0, le=2**31 - 1, description="Only this project.")] | None = None
    minutes: Annotated[bool, Meta(description="Minute by minute too.")] = False


class ListQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Which incidents a list shows, and which part of it."""

    status: Annotated[list[StatusName], Meta(description="Only these. May be repeated.")] | None = None
    severity: (
        Annotated[list[Severity], Meta(description="Only of these current severities. May be repeated.")] | None
    ) = None
    created_after: Annotated[datetime, Meta(tz=True, description="Only created at this instant or later.")] | None = (
        None
    )
    created_before: Annotated[datetime, Meta(tz=True, description="Only created before this instant.")] | None = None
    service: Annotated[str, Meta(max_length=200, description="Only of this service.")] | None = None
    search: (
        Annotated[
            str,
            Meta(
                max_length=200,
                description="Only those of which one text (title, message, root cause, resolution, lessons, notes) has "
                'these words: `pool -test "timed out" or exhausted`. Goes on with the cursor.',
            ),
        ]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    cursor: Annotated[int, Meta(ge=1, le=2**53 - 1, description="pagination.next of the page before.")] | None = None


class Person(Document):
    id: UUID
    name: str


class IncidentDocument(Document):
    id: UUID
    number: int
    incident_type: IncidentType
    severity: Severity
    current_severity: Severity
    status: Status
    title: Erasable
    description: Erasable
    created_at: datetime
    created_by_system: bool
    created_from_error_id: UUID | None
    occurrences: int
    last_seen_at: datetime
    recurrence_of: UUID | None
    acknowledged_at: datetime | None
    acknowledged_by: Person | None
    resolved_at: datetime | None
    closed_at: datetime | None
    checksum: Checksum


class AcknowledgmentDocument(Document):
    id: UUID
    ack_by_user_id: UUID
    ack_by_name: str
    ack_at: datetime
    ack_notes: Erasable
    severity_at_ack: Severity
    checksum: Checksum


class RootCauseDocument(Document):
    id: UUID
    root_cause_summary: Erasable
    root_cause_category: RootCauseCategory
    identified_by_user_id: UUID
    identified_by_name: str
    identified_at: datetime
    remediation_steps: Erasable
    verified_at: datetime | None
    checksum: Checksum


class ResolutionDocument(Document):
    id: UUID
    resolved_by_user_id: UUID
    resolved_by_name: str
    resolved_at: datetime
    resolution_summary: Erasable
    resolution_notes: str | None
    impact_assessment: str | None
    lessons_learned: str | None
    follow_up_actions: list[FollowUpBody] | None
    checksum: Checksum


class EntryDocument(Document):
    id: UUID
    sequence: int
    event_type: EntryKind
    status_before: Status | None
    status_after: Status
    actor_user_id: UUID | None
    actor_name: str | None
    actor_role: str
    metadata: dict[str, Any]
    event_at: datetime
    checksum: Checksum


class EscalationDocument(Document):
    id: UUID
    escalation_reason: EscalationReason
    escalated_to_user_id: UUID | None
    escalated_to_name: str | None
    escalated_by_user_id: UUID | None
    escalation_notes: Erasable
    escalated_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by_user_id: UUID | None
    checksum: Checksum


class NotificationDocument(Document):
    id: UUID
    reason: str
    user_id: UUID
    user_name: str
    channel: str
    address: str
    created_at: datetime
    state: str
    settled_at: datetime | None
    attempts: int | None
    last_answer: str | None


class IncidentAnswer(Document):
    incident: IncidentDocument


class IncidentDetailAnswer(Document):
    incident: IncidentDocument
    ack: AcknowledgmentDocument | None
    root_cause: RootCauseDocument | None
    resolution: ResolutionDocument | None
    timeline: list[EntryDocument]
    escalations: list[EscalationDocument]
    error: Annotated[msgspec.Raw, Meta(description="The report that opened it, as it was accepted; null without one.")]
    notifications: list[NotificationDocument]


class Pagination(Document):
    """Where a page lies. `total` is exact; by time or service it is counted up to 10,000, of a search it is null."""

    limit: int
    offset: int
    total: int | None
    next: int | None


class IncidentListAnswer(Document):
    incidents: list[IncidentDocument]
    pagination: Pagination


class RootCauseAnswer(Document):
    root_cause_id: UUID


class EscalateAnswer(Document):
    escalation_id: UUID


class OpenByStatus(Document):
    reported: int
    acknowledged: int
    investigating: int
    resolved: int


class OpenBySeverity(Document):
    critical: int
    high: int
    medium: int


class StatsAnswer(Document):
    total_open: int
    by_status: OpenByStatus
    by_severity: OpenBySeverity
    overdue: int


class ReasonCountDocument(Document):
    escalation_reason: EscalationReason
    count: int


class EscalationStatsAnswer(Document):
    escalations: list[ReasonCountDocument]
    since: datetime


class UserDocument(Document):
    id: UUID
    name: str
    role: Role


class SignInAnswer(Document):
    user: UserDocument
    csrf_token: str


class SessionAnswer(Document):
    user: UserDocument
    credential: Annotated[str, Meta(description="`session` or `token`.")]


class AcceptedDocument(Document):
    event_id: str
    outcome: Outcome
    incident_id: UUID | None


class RejectedDocument(Document):
    index: int
    reason: str


class IntakeAnswer(Document):
    accepted: list[AcceptedDocument]
    rejected: list[RejectedDocument]


class AlertsAnswer(Document):
    accepted: int
    rejected: list[RejectedDocument]


class BlockingDocument(Document):
    number: int
    severity: Severity
    since: datetime


class SessionBlockAnswer(Document):
    blocked: bool
    incident: BlockingDocument | None


class SentryAnswer(Document, omit_defaults=True):
    id: Annotated[str, Meta(description="The event's id; absent when the envelope carried none.")] = ""
    rejected: list[RejectedDocument] = []


class ProjectDocument(Document):
    id: int
    name: str
    created_at: datetime
    keys: Annotated[int, Meta(description="How many of its keys are valid.")]


class ProjectDetailDocument(ProjectDocument):
    """A project with what it decides for itself; null follows the installation's setting."""

    dedup_window_seconds: int | None
    incident_threshold: Severity | None
    severity_rules: list[dict[str, Any]]
    field_mapping: dict[str, Any] | None


class ProjectListAnswer(Document):
    projects: list[ProjectDocument]


class ProjectAnswer(Document):
    project: ProjectDetailDocument


class KeyDocument(Document):
    id: UUID
    key_prefix: Annotated[str, Meta(description="How the key begins; the rest is not kept.")]
    created_at: datetime
    revoked_at: datetime | None


class KeyListAnswer(Document):
    keys: list[KeyDocument]


class NewKeyAnswer(Document):
    project_id: int
    key: Annotated[str, Meta(description="Shown here and never again.")]
    dsn: str
    revoked: Annotated[int, Meta(description="How many keys it replaced.")]


class RevokedDocument(Document):
    id: UUID
    key_prefix: str
    left: Annotated[int, Meta(description="How many valid keys the project has left.")]


class RevokedAnswer(Document):
    project_id: int
    revoked: RevokedDocument


class TallyDocument(Document):
    """What was received of a project, and what became of it; `difference` is what is missing, 0 when all is well."""

    project_id: int
    received: Annotated[dict[str, int], Meta(description="By protocol.")]
    opened: int
    joined: int
    recorded: int
    duplicate: int
    rejected: Annotated[dict[str, int], Meta(description="By reason: a problem's code.")]
    lost: Annotated[dict[str, int], Meta(description="What clients say they dropped, by reason and category.")]
    difference: int


class MinuteDocument(TallyDocument):
    minute: datetime


class LedgerAnswer(Document):
    since: datetime
    until: datetime
    projects: list[TallyDocument]
    minutes: Annotated[list[MinuteDocument] | None, Meta(description="Newest first; null unless asked for.")]


class ReportDocument(Document):
    id: UUID
    event_id: str
    received_at: datetime
    severity: Severity
    title: str
    outcome: Outcome
    report: Annotated[msgspec.Raw, Meta(description="The report as it was accepted.")]


class ReportsAnswer(Document):
    reports: Annotated[list[ReportDocument], Meta(description="Those that were kept whole, newest first.")]
    occurrences: Annotated[int, Meta(description="How many reports count towards the incident.")]


class AttemptDocument(Document):
    at: Annotated[datetime, Meta(description="When it ended; without an end, when it began.")]
    outcome: AttemptOutcome
    answer: str


class PageStoryDocument(Document):
    channel: str
    address: str
    state: str
    due_at: datetime
    settled_at: datetime | None
    because: Annotated[str | None, Meta(description="Why it was cancelled.")]
    attempts: list[AttemptDocument]


class CandidateDocument(Document):
    user_id: Annotated[UUID | None, Meta(description="null: the step itself reached nobody.")]
    name: str | None
    via: Annotated[str, Meta(description="How they came to be a candidate.")]
    because: Annotated[Because | None, Meta(description="null while the step is still to come.")]
    words: str
    decided_at: datetime | None
    pages: list[PageStoryDocument]


class StepStoryDocument(Document):
    step: Annotated[str, Meta(description="The step's name; each is taken once in an incident's life.")]
    reason: str
    words: str
    stage: Stage
    at: Annotated[datetime, Meta(description="When it was taken, became moot, or will be due.")]
    candidates: list[CandidateDocument]


class WhyAnswer(Document):
    number: int
    policy: Annotated[str, Meta(description="The policy that the incident follows now.")]
    steps: list[StepStoryDocument]


class HealthAnswer(Document):
    status: str


class CheckDocument(Document):
    name: str
    message: str
    hint: str
    stops_service: bool


class ReadinessAnswer(Document):
    status: Annotated[str, Meta(description="`ready` or `not ready`.")]
    checks: list[CheckDocument]


class IncidentRecord(Protocol):
    """An incident as the use cases give it."""

    @property
    def acknowledged_by(self) -> UUID | None: ...
    @property
    def acknowledged_by_name(self) -> str | None: ...


D = TypeVar("D", bound=Document)


def shown(kind: type[D], record: object, **instead: object) -> D:
    """Return a record as a document: the fields have the same names; bytes become hexadecimal digits."""
    values = {
        name: instead[name] if name in instead else _plain(getattr(record, name)) for name in kind.__struct_fields__
    }
    return kind(**values)


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _shown_each(kind: type[D], records: Sequence[object]) -> list[D]:
    return [shown(kind, record) for record in records]


def incident_document(record: IncidentRecord) -> IncidentDocument:
    """Return an incident as lists show it."""
    person = None
    if record.acknowledged_by is not None:
        person = Person(record.acknowledged_by, record.acknowledged_by_name or "")
    return shown(IncidentDocument, record, acknowledged_by=person)


def detail_answer(detail: IncidentDetail) -> IncidentDetailAnswer:
    """Return one incident, whole."""
    return IncidentDetailAnswer(
        incident=incident_document(detail.incident),
        ack=shown(AcknowledgmentDocument, detail.ack) if detail.ack else None,
        root_cause=shown(RootCauseDocument, detail.root_cause) if detail.root_cause else None,
        resolution=shown(ResolutionDocument, detail.resolution) if detail.resolution else None,
        timeline=_shown_each(EntryDocument, detail.timeline),
        escalations=_shown_each(EscalationDocument, detail.escalations),
        error=msgspec.Raw((detail.error.document if detail.error else None) or b"null"),
        notifications=_shown_each(NotificationDocument, detail.notifications),
    )


def list_answer(page: IncidentPage) -> IncidentListAnswer:
    """Return one page of a list."""
    return IncidentListAnswer(
        [incident_document(row) for row in page.incidents],
        Pagination(page.limit, page.offset, page.total, page.next_cursor),
    )


def stats_answer(stats: Stats) -> StatsAnswer:
    """Return the numbers of the open incidents."""
    return StatsAnswer(
        stats.total_open,
        OpenByStatus(**{status.value.lower(): count for status, count in stats.by_status.items()}),
        OpenBySeverity(
            *(stats.by_severity[severity] for severity in (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM))
        ),
        stats.overdue,
    )


def reports_answer(found: IncidentReports) -> ReportsAnswer:
    """Return the reports of an incident."""
    shown_reports = [shown(ReportDocument, row, report=msgspec.Raw(row.document)) for row in found.reports]
    return ReportsAnswer(shown_reports, found.occurrences)


def why_answer(found: Why) -> WhyAnswer:
    """Return why each candidate of an incident was paged, or not."""
    return WhyAnswer(found.number, found.policy, [step_story(step) for step in found.steps])


def step_story(step: StepStory) -> StepStoryDocument:
    """Return a step with whom it reached, and why it did not reach the others."""
    told = [shown(CandidateDocument, one, pages=[_page(page) for page in one.pages]) for one in step.candidates]
    return shown(StepStoryDocument, step, candidates=told)


def _page(page: Page) -> PageStoryDocument:
    return shown(PageStoryDocument, page, attempts=_shown_each(AttemptDocument, page.attempts))


def ledger_answer(view: LedgerView) -> LedgerAnswer:
    """Return the ledger of some time."""
    minutes = None
    if view.minutes is not None:
        minutes = [shown(MinuteDocument, tally, minute=minute) for minute, tally in view.minutes]
    return LedgerAnswer(view.since, view.until, [shown(TallyDocument, tally) for tally in view.tallies], minutes)
