"""Histories: every row that the product would have written for an incident, made up but complete and sealed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from bench.support.course import Course, Event, draw
from bench.support.population import DAY, HOUR, MINUTE, SECOND, SEED, Person, Population, id_text, instant_text
from bench.support.rows import Rows, bytes_text, leaf
from tocsin.app.open_incident import BY_HAND
from tocsin.app.paging import ESCALATE
from tocsin.app.report_errors import TRIGGER
from tocsin.domain.access import SYSTEM_ROLE
from tocsin.domain.follow_up import FollowUpState
from tocsin.domain.incident import INCIDENT_TYPES, EscalationReason, RootCauseCategory, Severity, Status
from tocsin.domain.notification import OPENED, IncidentFacts, PageText, compose
from tocsin.domain.policy import DEFAULT_STEPS, Duty
from tocsin.domain.report import ErrorReport, Frame, RaisedException, document
from tocsin.domain.timeline import EntryKind, split_particulars
from tocsin.errors import Code
from tocsin.web.exchange import DONE

_CATEGORIES = tuple(category.value for category in RootCauseCategory)
_FAILURES = (
    ("TimeoutError", "the payment gateway did not answer within 5 s"),
    ("ConnectionRefusedError", "cannot connect to the stock service"),
    ("KeyError", "the cart has no such article"),
    ("IntegrityError", "duplicate key value violates a unique constraint"),
    ("ValueError", "the exchange rate is negative"),
    ("MemoryError", "cannot allocate the thumbnail"),
)
_ACTIONS = ("GET /incidents/{id}", "GET /incidents", "GET /", "POST /incidents/{id}/notes")
_LESSON = "The pool was sized for the load of last year, and nothing told us when it ran dry."
_FOLLOW_UPS = [{"title": "Alert on the depth of the queue", "owner": "ana"}, {"title": "Raise the size of the pool"}]
_FIRED = {
    EscalationReason.NO_ACK_1HR: "no_ack_1hr_at",
    EscalationReason.NO_ACK_4HR: "no_ack_4hr_at",
    EscalationReason.NO_ROOT_CAUSE_24HR: "no_root_cause_24hr_at",
}
_WORSE = "A worse report joined the incident."


def write(population: Population, numbers: Iterable[int]) -> Rows:
    """Return every row of these incidents; the same ones whenever it is asked."""
    rows = Rows()
    for number in numbers:
        _History(population, number, rows).write()
    return rows


class _History:
    """One incident: its rows are written in the order in which it happened, and its head follows."""

    def __init__(self, population: Population, number: int, rows: Rows) -> None:
        self.population = population
        self.number = number
        self.rows = rows
        self.dice = random.Random(SEED * 1_000_003 + number)
        self.created_us = population.created_us(number)
        self.id = population.incident_id(number)
        self.root = population.root(number)
        self.fingerprint = population.fingerprint(self.root)
        self.severity = population.severity(number)
        self.by_hand = population.by_hand(number)
        self.is_open = number in population.open_numbers
        self.service = None if self.by_hand else population.service(self.root)
        self.title = "Customers call: the checkout is slow" if self.by_hand else self._title()
        self.sequence = 0
        self.checksum: str | None = None
        self.status: Status | None = None
        self.current = self.severity
        self.at: dict[str, str] = {}
        self.responder = self.dice.choice(population.people.responders)
        self.last_us = self.created_us
        self.course: Course = draw(population, number, self.dice)

    def write(self) -> None:
        """Write everything."""
        self._report()
        for event in self.course.events:
            _WRITERS[event.kind](self, event)
        self._head()
        self._counts()
        self._access()
        if self.is_open:
            self._timer()

    def _new_id(self, at_us: int) -> str:
        return id_text(at_us, self.dice.getrandbits(80))

    def _title(self) -> str:
        error_type, message = _FAILURES[self.root % len(_FAILURES)]
        return f"{error_type}: {message} ({self.service} {self.root})"

    # -- what was reported ------------------------------------------------------------------------------------

    def _report(self) -> None:
        at = instant_text(self.created_us)
        error_id, error_checksum = (None, None) if self.by_hand else self._error(at)
        earlier = self.population.earlier(self.number)
        detail = self.rows.seal(
            "incidents",
            {
                "id": self.id,
                "number": self.number,
                "project_id": None if self.by_hand else self.population.project_id,
                "incident_type": INCIDENT_TYPES[self.severity].value,
                "severity": self.severity.value,
                "title": self.title,
                "description": self.title.partition(": ")[2],
                "fingerprint": None if self.by_hand else self.fingerprint,
                "created_from_error_id": error_id,
                "recurrence_of": self.population.incident_id(earlier) if earlier else None,
                "created_at": at,
                "created_by_system": not self.by_hand,
                "created_by_user_id": self.responder.id if self.by_hand else None,
            },
        )
        metadata = {"trigger": BY_HAND if self.by_hand else TRIGGER, "errorChecksum": error_checksum}
        if self.service is not None:
            metadata["service"] = self.service
        actor = self.responder if self.by_hand else None
        self._entry(Event(self.created_us, EntryKind.REPORTED), Status.REPORTED, actor, detail, metadata)
        self._page(OPENED, self.created_us, None, self.population.people.on_call)

    def _error(self, at: str) -> tuple[str, str]:
        error_id = self._new_id(self.created_us)
        template = _DOCUMENTS[self.root % len(_DOCUMENTS)]
        event_id = f"{self.dice.getrandbits(128):032x}"
        error_type, _, message = self.title.partition(": ")
        particulars = {"eventId": event_id, "message": message, "occurredAt": at, "service": self.service}
        content = msgspec.json.encode({**template, **particulars})
        self.rows.add(
            "audit_logs",
            {
                "id": error_id,
                "project_id": self.population.project_id,
                "event_id": event_id,
                "received_at": at,
                "occurred_at": at,
                "severity": self.severity.value,
                "error_type": error_type,
                "title": self.title,
                "fingerprint": self.fingerprint,
                "fingerprint_version": 1,
                "fingerprint_basis": "stack",
                "document": bytes_text(content),
                "outcome": "opened",
                "incident_id": self.id,
            },
        )
        return error_id, leaf(content).hex()

    # -- what was done ----------------------------------------------------------------------------------------

    def acknowledge(self, event: Event) -> None:
        detail = self.rows.seal(
            "incident_acknowledgments",
            {
                "id": self._new_id(event.at_us),
                "incident_id": self.id,
                "ack_by_user_id": self.responder.id,
                "ack_at": instant_text(event.at_us),
                "ack_notes": "I have it, looking at the graphs.",
                "severity_at_ack": self.current.value,
            },
        )
        self.at["acknowledged_at"] = instant_text(event.at_us)
        notes = {"notes": "I have it, looking at the graphs."}
        self._entry(event, Status.ACKNOWLEDGED, self.responder, detail, notes)

    def investigate(self, event: Event) -> None:
        self._entry(event, Status.INVESTIGATING, self.responder, None, {})

    def explain(self, event: Event) -> None:
        category = self.dice.choice(_CATEGORIES)
        detail = self.rows.seal(
            "incident_root_causes",
            {
                "id": self._new_id(event.at_us),
                "incident_id": self.id,
                "root_cause_summary": "The connections of the pool were held by requests that waited for each other.",
                "root_cause_category": category,
                "identified_by_user_id": self.responder.id,
                "identified_at": instant_text(event.at_us),
                "remediation_steps": "Release the connection before calling out; bound the wait for one.",
                "verified_at": None,
            },
        )
        self.at["root_cause_at"] = instant_text(event.at_us)
        self._entry(event, Status.INVESTIGATING, self.responder, detail, {"category": category})

    def resolve(self, event: Event) -> None:
        learned = not self.course.has_closure
        detail = self.rows.seal(
            "incident_resolution",
            {
                "id": self._new_id(event.at_us),
                "incident_id": self.id,
                "resolved_by_user_id": self.responder.id,
                "resolved_at": instant_text(event.at_us),
                "resolution_summary": "Deployed the release that gives the connection back.",
                "resolution_notes": None,
                "impact_assessment": "One checkout in fifty failed for twenty minutes.",
                "lessons_learned": _LESSON if learned else None,
                "follow_up_actions": _FOLLOW_UPS if learned else None,
            },
        )
        self.at["resolved_at"] = instant_text(event.at_us)
        self._entry(event, Status.RESOLVED, self.responder, detail, {})

    def close(self, event: Event) -> None:
        detail = None
        if self.course.has_closure:
            detail = self.rows.seal(
                "incident_closures",
                {
                    "id": self._new_id(event.at_us),
                    "incident_id": self.id,
                    "closed_by_user_id": self.responder.id,
                    "closed_at": instant_text(event.at_us),
                    "lessons_learned": _LESSON,
                    "follow_up_actions": _FOLLOW_UPS,
                },
            )
        self.at["closed_at"] = instant_text(event.at_us)
        self._follow_ups(event.at_us)
        self._entry(event, Status.CLOSED, self.responder, detail, {})

    def escalate(self, event: Event) -> None:
        assert event.reason is not None
        at = instant_text(event.at_us)
        to, duty = self._told(event.reason)
        by_hand = event.reason is EscalationReason.MANUAL_ESCALATION
        notes = _NOTES.get(event.reason, "")
        escalation_id = self._new_id(event.at_us)
        detail = self.rows.seal(
            "incident_escalations",
            {
                "id": escalation_id,
                "incident_id": self.id,
                "escalation_reason": event.reason.value,
                "escalated_to_user_id": to.id,
                "escalated_by_user_id": self.responder.id if by_hand else None,
                "escalation_notes": notes,
                "escalated_at": at,
            },
        )
        if event.reason in _FIRED:
            self.at[_FIRED[event.reason]] = at
        metadata = {"reason": event.reason.value, "notes": notes} | ({"duty": duty.value} if duty else {})
        self._entry(event, None, self.responder if by_hand else None, detail, metadata)
        self._page(event.reason.value, event.at_us, escalation_id, to)
        if self.dice.random() < 0.1:
            self._confirm(event.at_us + SECOND // 5, escalation_id, to)

    def _told(self, reason: EscalationReason) -> tuple[Person, Duty | None]:
        people = self.population.people
        holders = {Duty.ON_CALL: people.on_call, Duty.SUPERVISOR: people.supervisor, Duty.DIRECTOR: people.director}
        duty = next((step.targets[0].duty for step in DEFAULT_STEPS if step.reason.value == reason.value), None)
        if duty is not None:
            return holders[duty], duty
        by_hand = reason is EscalationReason.MANUAL_ESCALATION
        return (self.dice.choice(people.responders) if by_hand else people.on_call), None

    def _confirm(self, at_us: int, escalation_id: str, by: Person) -> None:
        detail = self.rows.seal(
            "incident_escalation_acknowledgments",
            {
                "id": self._new_id(at_us),
                "incident_id": self.id,
                "escalation_id": escalation_id,
                "acknowledged_by_user_id": by.id,
                "acknowledged_at": instant_text(at_us),
            },
        )
        event = Event(at_us, EntryKind.ESCALATION_ACKNOWLEDGED)
        self._entry(event, None, by, detail, {"escalationId": escalation_id})

    def worsen(self, event: Event) -> None:
        before, self.current = self.current, Severity.CRITICAL
        metadata = {"from": before.value, "to": self.current.value, "reason": _WORSE}
        self._entry(event, None, None, None, metadata)

    def note(self, event: Event) -> None:
        self._entry(event, None, self.responder, None, {"text": "The graphs of the database look the same as in May."})

    def _entry(
        self,
        event: Event,
        after: Status | None,
        actor: Person | None,
        detail: str | None,
        metadata: Mapping[str, object],
    ) -> None:
        """Append to the timeline; `after` is None where the status stays."""
        self.last_us = max(self.last_us, event.at_us)
        before, self.status = self.status, after or self.status
        self.sequence += 1
        assert self.status is not None
        if actor is not None:
            self.at["lease_from"] = instant_text(self.last_us)
        facts, personal = split_particulars(event.kind, metadata)
        self.checksum = self.rows.seal(
            "incident_lifecycle",
            {
                "id": self._new_id(self.last_us),
                "incident_id": self.id,
                "sequence": self.sequence,
                "previous_checksum": self.checksum,
                "event_type": event.kind.value,
                "status_before": before.value if before else None,
                "status_after": self.status.value,
                "actor_user_id": actor.id if actor else None,
                "actor_role": actor.role if actor else SYSTEM_ROLE,
                "detail_checksum": detail,
                "metadata": facts,
                "personal": personal,
                "event_at": instant_text(self.last_us),
                "nonce": f"\\x{self.dice.getrandbits(128):032x}",
            },
        )

    # -- what follows from it ---------------------------------------------------------------------------------

    def _head(self) -> None:
        assert self.status is not None
        acknowledged = "acknowledged_at" in self.at
        self.rows.add(
            "incident_heads",
            {
                "incident_id": self.id,
                "number": self.number,
                "status": self.status.value,
                "current_severity": self.current.value,
                "sequence": self.sequence,
                "checksum": self.checksum,
                "created_at": instant_text(self.created_us),
                "last_event_at": instant_text(self.last_us),
                "acknowledged_at": self.at.get("acknowledged_at"),
                "acknowledged_by": self.responder.id if acknowledged else None,
                "root_cause_at": self.at.get("root_cause_at"),
                "resolved_at": self.at.get("resolved_at"),
                "closed_at": self.at.get("closed_at"),
                **{column: self.at.get(column) for column in _FIRED.values()},
                "sessions_blocked_at": None,
                "service": self.service,
                "lease_from": self.at.get("lease_from"),
            },
        )

    def _counts(self) -> None:
        times = 0 if self.by_hand else int(self.dice.paretovariate(1.1))
        seen = {
            "incident_id": self.id,
            "occurrences": min(times, 1_000_000),
            "last_seen_at": instant_text(self.last_us),
        }
        self.rows.add("incident_occurrences", seen)
        if not self.by_hand and not self.population.recurs(self.number):
            first_us = self.population.created_us(self.root)
            self.rows.add(
                "failures",
                {
                    "project_id": self.population.project_id,
                    "fingerprint": self.fingerprint,
                    "first_seen_at": instant_text(first_us),
                    "incident_id": self.id,
                },
            )

    def _access(self) -> None:
        """Somebody looked at it when it was reported; now and then at what is not theirs to see."""
        at_us = self.created_us + self.dice.randrange(MINUTE)
        refused = self.dice.random() < 0.001
        self.rows.add(
            "audit_access_log",
            {
                "id": self._new_id(at_us),
                "accessed_at": instant_text(at_us),
                "user_id": self.responder.id,
                "credential": "session",
                "action": "GET /audit" if refused else self.dice.choice(_ACTIONS),
                "target": "/audit" if refused else f"/incidents/{self.number}",
                "client_address": "192.0.2.17",
                "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "status": 403 if refused else 200,
                "outcome": Code.FORBIDDEN.value if refused else DONE,
                "request_id": self._new_id(at_us),
            },
        )

    def _follow_ups(self, at_us: int) -> None:
        """Two actions were promised; one in fifty is not done yet."""
        for position in (1, 2):
            done = self.dice.random() < 0.98
            self.rows.add(
                "follow_ups",
                {
                    "incident_id": self.id,
                    "position": position,
                    "owner": _FOLLOW_UPS[position - 1].get("owner"),
                    "state": FollowUpState.DONE.value if done else FollowUpState.OPEN.value,
                    "marked_at": instant_text(at_us) if done else None,
                    "marked_by": self.responder.id if done else None,
                },
            )

    def _page(self, reason: str, at_us: int, escalation_id: str | None, to: Person) -> None:
        """Write the page and its delivery; only for open incidents, which are the ones that people look at."""
        if not self.is_open:
            return
        page, notification_id = self._page_text(reason), self._new_id(at_us)
        settled = instant_text(at_us + SECOND // 2)
        self.rows.add(
            "notifications",
            {
                "id": notification_id,
                "incident_id": self.id,
                "escalation_id": escalation_id,
                "reason": reason,
                "user_id": to.id,
                "channel": "email",
                "address": to.email,
                "subject": page.subject,
                "body": page.body,
                "payload": page.payload,
                "created_at": instant_text(at_us),
                "due_at": instant_text(at_us),
                "state": "DELIVERED",
                "settled_at": settled,
            },
        )
        begun = {
            "id": self._new_id(at_us),
            "notification_id": notification_id,
            "attempt": 1,
            "started_at": instant_text(at_us + SECOND // 4),
        }
        self.rows.add("attempts_begun", {**begun, "worker": "bench"})
        self.rows.add(
            "delivery_attempts",
            {**begun, "finished_at": settled, "outcome": "DELIVERED", "answer": "250 2.0.0 kept"},
        )

    def _page_text(self, reason: str) -> PageText:
        created_at = datetime.fromtimestamp(self.created_us // SECOND, UTC)
        url = f"http://127.0.0.1:8420/api/incidents/{self.id}"
        return compose(IncidentFacts(self.id, self.number, self.current, self.title, created_at, url), reason)

    def _timer(self) -> None:
        """Queue the look at the next rule, as the application does while one still runs."""
        waiting = [hours for hours, column in _HOURS if column not in self.at and self._still_runs(column)]
        if not waiting:
            return
        due_us = self.created_us + min(waiting) * HOUR
        self.rows.add(
            "jobs",
            {
                "id": self._new_id(self.created_us),
                "kind": ESCALATE,
                "key": f"{ESCALATE}:{self.id}",
                "payload": {"incidentId": self.id},
                "due_at": instant_text(due_us),
                "created_at": instant_text(self.created_us),
            },
        )

    def _still_runs(self, column: str) -> bool:
        if column == _FIRED[EscalationReason.NO_ROOT_CAUSE_24HR]:
            return "root_cause_at" not in self.at
        return self.status is Status.REPORTED


_HOURS = ((1, "no_ack_1hr_at"), (4, "no_ack_4hr_at"), (DAY // HOUR, "no_root_cause_24hr_at"))
_NOTES = {
    EscalationReason.MANUAL_ESCALATION: "The pool runs dry again; who knows the driver?",
    EscalationReason.SEVERITY_ESCALATED: _WORSE,
}
_WRITERS: dict[EntryKind, Callable[[_History, Event], None]] = {
    EntryKind.ACKNOWLEDGED: _History.acknowledge,
    EntryKind.INVESTIGATION_STARTED: _History.investigate,
    EntryKind.ROOT_CAUSE_RECORDED: _History.explain,
    EntryKind.RESOLVED: _History.resolve,
    EntryKind.CLOSED: _History.close,
    EntryKind.ESCALATED: _History.escalate,
    EntryKind.SEVERITY_CHANGED: _History.worsen,
    EntryKind.NOTE_ADDED: _History.note,
}


def _template(error_type: str, message: str) -> dict[str, object]:
    """Return the document of a report as a Python program sends it: an exception with its stack."""
    frames = tuple(
        Frame(function, f"shop.{module}", f"shop/{module}.py", line, f"return {function}_all(order, retries=2)")
        for function, module, line in (("checkout", "views", 212), ("reserve", "stock", 87), ("send", "gateway", 41))
    )
    report = ErrorReport(
        event_id="0" * 32,
        severity=Severity.HIGH,
        error_type=error_type,
        message=message,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        exceptions=(RaisedException(error_type, message, "builtins", frames, handled=False),),
        platform="python",
        service="shop",
        environment="production",
        release="shop@1.4.2",
        server_name="web-3",
        tags={"region": "eu-west", "tenant": "acme"},
    )
    return document(report)


_DOCUMENTS = tuple(_template(error_type, message) for error_type, message in _FAILURES)
