"""The one table of the console's pages."""

from __future__ import annotations

from tocsin.domain.access import Permission
from tocsin.web.console import account, home, incident_list, incidents, learning, second_factor, sign_in
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
    Page("GET", "/sign-in/code", Access.PUBLIC, InTransaction(sign_in.show_code), query=sign_in.SignInQuery),
    Page(
        "POST",
        "/sign-in/code",
        Access.PUBLIC,
        Directly(sign_in.enter_code),
        form=sign_in.CodeForm,
        again=InTransaction(sign_in.code_again),
    ),
    Page("POST", "/sign-out", Access.SIGNED_IN, Directly(sign_in.sign_out), form=sign_in.SignOutForm),
)

_ACCOUNT = (
    Page("GET", "/account", Access.SIGNED_IN, InTransaction(account.show)),
    Page(
        "POST",
        "/account/password",
        Access.SIGNED_IN,
        Directly(account.change_password),
        form=account.PasswordForm,
        again=InTransaction(account.show),
    ),
    Page(
        "POST",
        "/account/sessions/end-others",
        Access.SIGNED_IN,
        InTransaction(account.end_other_sessions),
        form=account.EndForm,
    ),
    Page(
        "POST",
        "/account/sessions/{id}/end",
        Access.SIGNED_IN,
        InTransaction(account.end_session),
        form=account.EndForm,
    ),
)

_SECOND_FACTOR = (
    Page("GET", "/account/second-factor", Access.SIGNED_IN, InTransaction(second_factor.show)),
    Page(
        "POST",
        "/account/second-factor/set-up",
        Access.SIGNED_IN,
        Directly(second_factor.set_up),
        form=second_factor.SetUpForm,
        again=InTransaction(second_factor.show),
    ),
    Page(
        "POST",
        "/account/second-factor/confirm",
        Access.SIGNED_IN,
        Directly(second_factor.confirm),
        form=second_factor.FactorForm,
        again=InTransaction(second_factor.confirm_again),
    ),
    *(
        Page(
            "POST",
            f"/account/second-factor/{name}",
            Access.SIGNED_IN,
            Directly(act),
            form=second_factor.FactorForm,
            again=InTransaction(second_factor.show),
        )
        for name, act in (("recovery-codes", second_factor.renew_recovery_codes), ("off", second_factor.remove))
    ),
)

_HOME = (
    Page("GET", "/", Permission.READ, InTransaction(home.home)),
    Page("GET", "/live", Permission.READ, Directly(home.live)),
)

_LIST = (
    Page(
        "GET",
        "/incidents",
        Permission.READ,
        InTransaction(incident_list.show),
        query=incident_list.ListQuery,
        lists=incident_list.LISTS,
    ),
    Page(
        "POST",
        "/incidents/acknowledge",
        Permission.RESPOND,
        Directly(incident_list.acknowledge),
        form=incident_list.BulkForm,
        again=InTransaction(incident_list.show_again),
    ),
    Page(
        "POST",
        "/incidents/views",
        Permission.READ,
        InTransaction(incident_list.save_view),
        form=incident_list.ViewForm,
        again=InTransaction(incident_list.show_again),
    ),
    Page(
        "POST",
        "/incidents/views/{id}/remove",
        Permission.READ,
        InTransaction(incident_list.remove_view),
        form=incident_list.RemoveForm,
    ),
)

_INCIDENTS = (
    Page("GET", "/incidents/{id}", Permission.READ, InTransaction(incidents.show), query=incidents.IncidentQuery),
    Page(
        "POST",
        "/incidents/{id}/escalations/{escalation}/acknowledge",
        Permission.RESPOND,
        InTransaction(incidents.acknowledge_escalation),
        form=incidents.ArrivedForm,
        again=InTransaction(incidents.show),
    ),
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

PAGES: tuple[Page, ...] = (
    *_SESSION,
    *_ACCOUNT,
    *_SECOND_FACTOR,
    *_HOME,
    *_LIST,
    *_INCIDENTS,
    *_LEARNING,
)
