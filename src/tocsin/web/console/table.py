"""The one table of the console's pages."""

from __future__ import annotations

from tocsin.domain.access import Permission
from tocsin.web.console import home, incidents, learning, sign_in
from tocsin.web.console.page import Directly, InTransaction, Page
from tocsin.web.endpoint import Access

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
    Page("GET", "/incidents/{id}/report", Permission.READ, InTransaction(incidents.show_report)),
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

_LEARNING = (
    Page("GET", "/learning", Permission.READ, InTransaction(learning.show), query=learning.LearningQuery),
    Page(
        "GET",
        "/learning/follow-ups",
        Permission.READ,
        InTransaction(learning.show_follow_ups),
        query=learning.FollowUpQuery,
    ),
    *(
        Page(
            "POST",
            f"/learning/follow-ups/{{id}}/{{position}}/{name}",
            Permission.RESPOND,
            InTransaction(act),
            form=learning.MarkForm,
        )
        for name, act in learning.MARKS.items()
    ),
)

PAGES: tuple[Page, ...] = (*_SESSION, *_HOME, *_INCIDENTS, *_LEARNING)
