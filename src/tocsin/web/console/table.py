"""The one table of the console's pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tocsin.app.export_audit import Form as FileForm
from tocsin.app.work import Work
from tocsin.domain.access import Permission
from tocsin.web.console import audit, home, incidents, oncall, sign_in
from tocsin.web.console.page import Directly, Form, InTransaction, Page, Redirected, Shown, Visit
from tocsin.web.endpoint import Access

Act = Callable[[Work, Visit], Awaitable[Shown | Redirected]]
"""What a form does."""

_SESSION = (
    Page("GET", "/sign-in", Access.PUBLIC, InTransaction(sign_in.show), query=sign_in.SignInQuery),
    Page(
        "POST",
        "/sign-in",
        Access.PUBLIC,
        Directly(sign_in.sign_in),
        form=sign_in.SignInForm,
        again=InTransaction(sign_in.again),
    ),
    Page("POST", "/sign-out", Access.SIGNED_IN, Directly(sign_in.sign_out), form=sign_in.SignOutForm),
)

_HOME = (
    Page("GET", "/", Permission.READ, InTransaction(home.home)),
    Page("GET", "/live", Permission.READ, Directly(home.live)),
)

_INCIDENTS = (
    Page(
        "GET",
        "/incidents",
        Permission.READ,
        InTransaction(incidents.show_list),
        query=incidents.ListQuery,
        lists=frozenset({"status", "severity"}),
    ),
    Page("GET", "/incidents/{id}", Permission.READ, InTransaction(incidents.show)),
    *(
        Page(
            "POST",
            f"/incidents/{{id}}/{name}",
            Permission.RESPOND,
            InTransaction(act),
            form=form,
            again=InTransaction(incidents.show),
        )
        for name, (form, act) in incidents.ACTIONS.items()
    ),
)

_SCHEDULE = "/oncall/schedules/{schedule}"


def _change(path: str, needed: Permission, act: Act, form: type[Form], again: InTransaction) -> Page:
    """Return what changes something and is sent by a form of the page that `again` shows."""
    return Page("POST", path, needed, InTransaction(act), form=form, again=again)


_ONCALL = (
    Page("GET", "/oncall", Permission.READ, InTransaction(oncall.show)),
    Page(
        "GET",
        _SCHEDULE,
        Permission.READ,
        InTransaction(oncall.show_schedule),
        query=oncall.CalendarQuery,
    ),
    *(
        _change(f"{_SCHEDULE}/{path}", Permission.RESPOND, act, form, InTransaction(oncall.show_schedule))
        for path, act, form in (
            ("overrides", oncall.add_override, oncall.OverrideForm),
            ("overrides/{override}/remove", oncall.remove_override, oncall.JustDoForm),
            ("take", oncall.take_over, oncall.TakeForm),
            ("feeds", oncall.add_feed, oncall.FeedForm),
            ("feeds/{feed}/revoke", oncall.revoke_feed, oncall.JustDoForm),
        )
    ),
    *(
        _change(f"/oncall/silences{path}", Permission.RESPOND, act, form, InTransaction(oncall.show))
        for path, act, form in (
            ("", oncall.add_silence, oncall.SilenceForm),
            ("/{silence}/end", oncall.end_silence, oncall.JustDoForm),
        )
    ),
)

_AUDIT = (
    Page("GET", "/audit", Permission.AUDIT, InTransaction(audit.show_accesses), query=audit.AccessQuery),
    Page("GET", "/audit/entries", Permission.AUDIT, InTransaction(audit.show_entries), query=audit.EntryQuery),
    *(
        Page("GET", f"/audit/{what}.{form}", Permission.AUDIT, Directly(give), query=query)
        for what, give, query in (
            ("accesses", audit.accesses_file, audit.AccessQuery),
            ("entries", audit.entries_file, audit.EntryQuery),
        )
        for form in FileForm
    ),
)

PAGES: tuple[Page, ...] = (*_SESSION, *_HOME, *_INCIDENTS, *_ONCALL, *_AUDIT)
