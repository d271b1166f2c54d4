"""What the doctor looks for: facts in, findings out. One function a check; `CHECKS` is all of them, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_address

from tocsin.app.inspection import Inspection
from tocsin.app.ledger import Tally
from tocsin.app.read_ledger import errors_lost
from tocsin.channels.working import working_channels
from tocsin.cli.intake import named_counts
from tocsin.domain.plural import number_of
from tocsin.domain.policy import Duty
from tocsin.errors import Refusal
from tocsin.settings import Settings

MAX_CLOCK_DIFFERENCE = timedelta(seconds=2)
LOW_DISK_BYTES = 2_000_000_000
FULL_DISK_BYTES = 200_000_000
MAX_LISTED_JOBS = 10
MAX_LISTED_PROJECTS = 10
MAX_LISTED_FAULTS = 10
LEDGER_PATIENCE = timedelta(minutes=15)
"""How far the comparison of the ledger may be behind; it is made every minute, of minutes that are over."""


class Level(StrEnum):
    """How bad a finding is: fine, a risk, or a promise that is broken now."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: a stable name, what it is, and what to do about it."""

    name: str
    level: Level
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was gathered. What could not be looked at is None, and the reason stands in a refusal.

    Args:
        unreachable: why the database cannot be used.
        pending: the migrations that it lacks.
        smtp_answer: what the mail server said; None if none is set.
        smtp_fault: why it could not be spoken to.
        free_bytes: the space left where the data directory is; None with a database elsewhere.
    """

    settings: Settings
    unreachable: Refusal | None = None
    pending: tuple[str, ...] = ()
    inspection: Inspection | None = None
    smtp_answer: str | None = None
    smtp_fault: str | None = None
    free_bytes: int | None = None


Check = Callable[[Facts], Iterator[Finding]]


def check_settings(facts: Facts) -> Iterator[Finding]:
    """The settings were read: wrong ones are reported before there are any facts."""
    yield Finding(
        "settings", Level.OK, f"Settings are valid; listening on {facts.settings.host}:{facts.settings.port}."
    )


def check_database(facts: Facts) -> Iterator[Finding]:
    """Can the database be used, and which is it?"""
    if facts.unreachable is not None:
        yield Finding("database", Level.PROBLEM, facts.unreachable.message, facts.unreachable.hint)
    elif facts.inspection is not None:
        kind = "your own" if facts.settings.database_url else "embedded"
        yield Finding("database", Level.OK, f"PostgreSQL {facts.inspection.server.version} answers ({kind}).")


def check_schema(facts: Facts) -> Iterator[Finding]:
    """Is the schema current?"""
    if facts.pending:
        missing = ", ".join(facts.pending)
        yield Finding("schema", Level.PROBLEM, f"The schema lacks {missing}.", "Bring it up to date: `tocsin migrate`.")
    elif facts.inspection is not None:
        yield Finding("schema", Level.OK, "The schema is current.")


def check_machinery(facts: Facts) -> Iterator[Finding]:
    """Are workers there, jobs in time, pages delivered?"""
    if facts.inspection is None:
        return
    condition = facts.inspection.condition
    for problem in condition.problems:
        level = Level.WARNING if problem.risk else Level.PROBLEM
        yield Finding(problem.name, level, problem.message, problem.hint)
    if alive := condition.health.workers_alive:
        yield Finding(
            "workers", Level.OK, f"{number_of(alive, 'worker was', 'workers were')} seen in the last 30 seconds."
        )


def check_log(facts: Facts) -> Iterator[Finding]:
    """Is the log signed, and how far? What is wrong with it, the machinery's check says."""
    if facts.inspection is None:
        return
    kept = facts.inspection.condition.log
    if kept.signed_size is not None:
        signed = f"{kept.signed_size:,} of {number_of(kept.size, 'leaf is', 'leaves are')} signed"
        yield Finding("log", Level.OK, f"The log: {signed}, last {kept.signed_at:%Y-%m-%d %H:%M:%S} UTC.")
    elif not kept.size:
        yield Finding("log", Level.OK, "The log is empty.")


def check_vouchers(facts: Facts) -> Iterator[Finding]:
    """Does anybody outside of this machine vouch for the log?"""
    if facts.inspection is None:
        return
    condition = facts.inspection.condition
    for one in condition.vouchers:
        if one.succeeded_at is not None and one.failing_since is None:
            since = f"{one.succeeded_at:%Y-%m-%d %H:%M} UTC"
            leaves = number_of(condition.log.size or 0, "leaf", "leaves")
            said = f"The {one.name} vouches for {one.size:,} of {leaves}, since {since}."
            yield Finding(f"log_{one.kind}", Level.OK, said)
    if not condition.vouchers:
        yield Finding(
            "log_vouchers",
            Level.WARNING,
            "Nobody outside vouches for the log: who holds this machine and its key could write another history.",
            "Name a witness, a time-stamp authority or a copy: docs/how-to/witnesses-and-copies.md.",
        )


def check_watchdog(facts: Facts) -> Iterator[Finding]:
    """Would anybody notice if this machine died? That the call fails, the machinery's check says."""
    calls = facts.inspection.condition.watchdog if facts.inspection is not None else None
    if facts.settings.watchdog_url is None:
        yield Finding(
            "watchdog_url",
            Level.WARNING,
            "Nobody outside would notice if this installation died.",
            "Set TOCSIN_WATCHDOG_URL: docs/how-to/watch-the-watchman.md.",
        )
    elif calls is None or calls.called_at is None:
        yield Finding(
            "watchdog_called",
            Level.WARNING,
            "Whoever watches from outside was never told that all is well.",
            "A worker with TOCSIN_WATCHDOG_URL calls them, once every promise holds.",
        )
    else:
        at = f"{calls.called_at:%Y-%m-%d %H:%M:%S} UTC"
        yield Finding("watchdog_called", Level.OK, f"Whoever watches from outside heard at {at} that all is well.")
    if calls is not None and calls.withheld_since is not None:
        since = f"{calls.withheld_since:%Y-%m-%d %H:%M:%S} UTC"
        message = f"The watchdog's calls are held back since {since}: {calls.withheld}"
        yield Finding("watchdog_withheld", Level.WARNING, message, "They go on once that is mended.")


def check_intake(facts: Facts) -> Iterator[Finding]:
    """Is every report accounted for: when was the ledger of intake compared, and what was lost or refused?"""
    if facts.inspection is None:
        return
    intake, now = facts.inspection.intake, facts.inspection.server.now
    received = sum(sum(tally.received.values()) for tally in intake.tallies)
    if intake.checked_to is not None and now - intake.checked_to <= LEDGER_PATIENCE:
        compared = f"The ledger of intake was compared up to {intake.checked_to:%Y-%m-%d %H:%M} UTC"
        came = f"{number_of(received, 'report')} in the last 24 hours"
        yield Finding("intake_ledger_compared", Level.OK, f"{compared}; {came}.")
    elif received:
        last = f"since {intake.checked_to:%Y-%m-%d %H:%M} UTC" if intake.checked_to else "yet"
        message = f"The ledger of intake was not compared {last}: a lost report would go unseen."
        yield Finding("intake_ledger_compared", Level.WARNING, message, "Start `tocsin worker`: it compares it.")
    for tally in intake.tallies[:MAX_LISTED_PROJECTS]:
        yield from _of_project(tally)


def _of_project(tally: Tally) -> Iterator[Finding]:
    name, show = f"project {tally.project_id}", f"`tocsin intake --since 24h --project {tally.project_id}`"
    if tally.difference:
        message = f"The ledger of {name} does not add up: {tally.difference:+,} reports in the last 24 hours."
        yield Finding("intake_difference", Level.PROBLEM, message, f"See where: {show}.")
    if lost := errors_lost(tally):
        message = f"Clients of {name} dropped {sum(lost.values()):,} of their own error events in the last 24 hours: "
        yield Finding(
            "client_losses",
            Level.WARNING,
            message + f"{named_counts(lost)}.",
            "Let them write to disk first: `tocsin forward`, the SDK, or its transport for sentry-sdk.",
        )
    if rejected := sum(tally.rejected.values()):
        message = (
            f"{number_of(rejected, f'report to {name} was', f'reports to {name} were')} rejected in the last 24 hours: "
        )
        yield Finding(
            "rejected_reports",
            Level.WARNING,
            message + f"{named_counts(tally.rejected)}.",
            "Each answer said what was wrong.",
        )


def check_dead_jobs(facts: Facts) -> Iterator[Finding]:
    """Which jobs were set aside, and why? That there are any, the machinery's check says."""
    if facts.inspection is None:
        return
    for job in facts.inspection.dead_jobs[:MAX_LISTED_JOBS]:
        yield Finding(
            "dead_job",
            Level.PROBLEM,
            f"{job.key} was set aside {job.dead_at:%Y-%m-%d %H:%M} UTC after {number_of(job.attempts, 'attempt')}: "
            f"{job.last_error}",
            "The sweep queues what is still owed; report the error if it is none of yours.",
        )


def check_duties(facts: Facts) -> Iterator[Finding]:
    """Is every duty held by somebody who is active and can be reached? Of channels, the machinery's check speaks."""
    if facts.inspection is None:
        return
    working = working_channels(facts.settings)
    holders = {holder.duty: holder for holder in facts.inspection.duty_holders}
    for duty in Duty:
        holder, name = holders.get(duty.value), f"duty_{duty.value.lower()}"
        assign = f"`tocsin oncall assign {duty.value} EMAIL`."
        if holder is None:
            yield Finding(
                name, Level.WARNING, f"Nobody is {duty.value}: the superadmins are paged.", f"Say who: {assign}"
            )
        elif holder.schedule is not None:
            yield Finding(name, Level.OK, f"{duty.value} is whoever is on call by the schedule {holder.schedule}.")
        elif not holder.active:
            yield Finding(
                name, Level.PROBLEM, f"{duty.value} is {holder.email}, who is shut out.", f"Give it on: {assign}"
            )
        elif not holder.channels:
            message = f"{duty.value} is {holder.email}, who has no contact method: no page can get there."
            yield Finding(name, Level.PROBLEM, message, "Add one: `tocsin users contact add`.")
        elif working.intersection(holder.channels):
            yield Finding(name, Level.OK, f"{duty.value} is {holder.email}, reached by {', '.join(holder.channels)}.")


def check_mail(facts: Facts) -> Iterator[Finding]:
    """Is there a mail server, does it answer, and does the password travel protected?"""
    settings = facts.settings
    if not settings.smtp_host:
        yield Finding(
            "smtp",
            Level.WARNING,
            "No mail server is set: pages by e-mail are tried for about nine hours, then given up.",
            "Set TOCSIN_SMTP_HOST and its kin.",
        )
        return
    where = f"{settings.smtp_host}:{settings.smtp_port}"
    if facts.smtp_fault is not None:
        yield Finding(
            "smtp",
            Level.PROBLEM,
            f"The mail server {where} cannot be spoken to: {facts.smtp_fault}",
            "Check TOCSIN_SMTP_HOST, _PORT and _SECURITY, and whether a firewall stands between.",
        )
    elif facts.smtp_answer is not None:
        yield Finding("smtp", Level.OK, f"The mail server {where} answers: {facts.smtp_answer}")
    if settings.smtp_password and settings.smtp_security == "none" and not _is_loopback(settings.smtp_host):
        yield Finding(
            "smtp_security",
            Level.WARNING,
            f"The mail password travels to {settings.smtp_host} unprotected.",
            "Set TOCSIN_SMTP_SECURITY to starttls (port 587) or tls (port 465).",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_secret_key(facts: Facts) -> Iterator[Finding]:
    """Do all machines sign webhooks, and open second factors, with the same key?"""
    if facts.settings.database_url is not None and facts.settings.secret_key is None:
        yield Finding(
            "secret_key",
            Level.WARNING,
            "TOCSIN_SECRET_KEY is not set: each machine makes its own, signs webhooks differently, and cannot check "
            "second factors that were set up on another one.",
            "Set the same one, of 32 characters or more, wherever `tocsin up`, `serve` or `worker` runs.",
        )


def check_public_url(facts: Facts) -> Iterator[Finding]:
    """Do the links in pages lead here from elsewhere?"""
    url = facts.settings.public_url
    local = url is None or any(name in url for name in ("//127.0.0.1", "//localhost", "//[::1]"))
    if local:
        yield Finding(
            "public_url",
            Level.WARNING,
            f"Links in pages lead to {facts.settings.base_url}, which only this machine understands.",
            "Set TOCSIN_PUBLIC_URL to how people reach this server.",
        )
    else:
        yield Finding("public_url", Level.OK, f"Links in pages lead to {url}.")


def check_database_role(facts: Facts) -> Iterator[Finding]:
    """Could whoever holds the application's sign-in go past the triggers?"""
    if facts.inspection is None:
        return
    server = facts.inspection.server
    if server.is_superuser or server.can_become_owner:
        power = "is a superuser" if server.is_superuser else "may become the schema's owner"
        yield Finding(
            "database_role",
            Level.WARNING,
            f"The sign-in {server.sign_in} {power}: who has its password could switch the triggers off.",
            "Let TOCSIN_DATABASE_URL sign in as a role that is only a member of tocsin_app, "
            "and keep the powerful one in TOCSIN_MIGRATE_DATABASE_URL.",
        )
    else:
        yield Finding("database_role", Level.OK, f"The sign-in {server.sign_in} cannot touch the triggers.")


def check_guards(facts: Facts) -> Iterator[Finding]:
    """Are the guards of the record those that the migrations made, and is the owner held back too?"""
    if facts.inspection is None:
        return
    guards = facts.inspection.guards
    if not guards.comparable:
        yield Finding("guards", Level.OK, "A newer Tocsin has migrated the database: its doctor looks at the guards.")
        return
    for fault in guards.faults[:MAX_LISTED_FAULTS]:
        yield Finding(
            "guards",
            Level.PROBLEM,
            f"A guard of the record was changed: {fault}.",
            "It takes a superuser to do that: find out who it was, and run `tocsin verify --db`.",
        )
    if not guards.hardened:
        yield Finding(
            "hardening",
            Level.WARNING,
            "The schema is not hardened: whoever becomes tocsin_owner could switch the guards off.",
            "Let a superuser of the database run what `tocsin migrate --print-hardening` prints.",
        )
    elif not guards.faults:
        yield Finding("guards", Level.OK, "The guards of the record are in place, and the schema is hardened.")


def check_tallies(facts: Facts) -> Iterator[Finding]:
    """Do the counters of the statistics say what counting says?"""
    if facts.inspection is None:
        return
    differences = facts.inspection.tally_differences
    for one in differences:
        yield Finding(
            "tallies",
            Level.PROBLEM,
            f"The counter of {one.status} {one.current_severity} incidents says {one.tallied}, not {one.counted}.",
            "Somebody changed tables by hand: run `tocsin verify --db`.",
        )
    if not differences:
        yield Finding("tallies", Level.OK, "The counters agree with the incidents.")


def check_clock(facts: Facts) -> Iterator[Finding]:
    """Do this machine and the database agree on the time?"""
    if facts.inspection is None:
        return
    ahead = facts.inspection.clock_ahead
    if abs(ahead) > MAX_CLOCK_DIFFERENCE:
        side = "ahead of" if ahead > timedelta() else "behind"
        yield Finding(
            "clock",
            Level.WARNING,
            f"The database's clock is {abs(ahead).total_seconds():.1f} s {side} this machine's.",
            "Let both follow a time server (NTP): escalations are due by this machine's clock.",
        )
    else:
        yield Finding("clock", Level.OK, "This machine and the database agree on the time.")


def check_disk(facts: Facts) -> Iterator[Finding]:
    """Is there room for the embedded database?"""
    if facts.free_bytes is None:
        return
    gigabytes = f"{facts.free_bytes / 1e9:.1f} GB are free in {facts.settings.data_dir}"
    if facts.free_bytes < LOW_DISK_BYTES:
        level = Level.PROBLEM if facts.free_bytes < FULL_DISK_BYTES else Level.WARNING
        yield Finding("disk", level, f"Only {gigabytes}.", "Make room: a full disk stops the database.")
    else:
        yield Finding("disk", Level.OK, f"{gigabytes}.")


CHECKS: tuple[Check, ...] = (
    check_settings,
    check_database,
    check_schema,
    check_database_role,
    check_guards,
    check_clock,
    check_disk,
    check_machinery,
    check_log,
    check_vouchers,
    check_watchdog,
    check_intake,
    check_dead_jobs,
    check_tallies,
    check_duties,
    check_mail,
    check_public_url,
    check_secret_key,
)
