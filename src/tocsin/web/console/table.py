"""The one table of the console's pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tocsin.app.export_audit import Form as FileForm
from tocsin.app.work import Work
from tocsin.domain.access import Permission
from tocsin.web.console import (
    account,
    admin,
    audit,
    contact_methods,
    home,
    incident_list,
    incidents,
    learning,
    oncall,
    policies,
    provider,
    rotas,
    second_factor,
    sign_in,
)
from tocsin.web.console.page import Directly, Form, InTransaction, JustDoForm, Page, Redirected, Shown, Visit
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
    Page("GET", "/sign-in/code", Access.PUBLIC, InTransaction(sign_in.show_code), query=sign_in.SignInQuery),
    Page(
        "POST",
        "/sign-in/code",
        Access.PUBLIC,
        Directly(sign_in.enter_code),
        form=sign_in.CodeForm,
        again=InTransaction(sign_in.code_again),
    ),
    Page("GET", "/sign-in/oidc", Access.PUBLIC, Directly(provider.start), query=sign_in.SignInQuery),
    Page("GET", provider.CALLBACK, Access.PUBLIC, Directly(provider.come_back), query=provider.CallbackQuery),
    Page("POST", "/sign-out", Access.SIGNED_IN, Directly(sign_in.sign_out), form=JustDoForm),
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
        form=JustDoForm,
    ),
    Page(
        "POST",
        "/account/sessions/{id}/end",
        Access.SIGNED_IN,
        InTransaction(account.end_session),
        form=JustDoForm,
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

_METHODS = (
    Page("GET", contact_methods.CONTACTS, Permission.READ, InTransaction(contact_methods.show)),
    *(
        Page(
            "POST",
            f"{contact_methods.CONTACTS}{path}",
            Permission.READ,
            act,
            form=form,
            again=InTransaction(contact_methods.show),
        )
        for path, act, form in (
            ("", InTransaction(contact_methods.add), contact_methods.MethodForm),
            ("/{method}/code", InTransaction(contact_methods.send_code), JustDoForm),
            ("/{method}/enter", Directly(contact_methods.enter_code), contact_methods.CodeForm),
            ("/{method}/test", InTransaction(contact_methods.send_test), JustDoForm),
            ("/{method}/remove", InTransaction(contact_methods.remove), JustDoForm),
        )
    ),
)

_HOME = (
    Page("GET", "/", Permission.READ, InTransaction(home.home)),
    Page("GET", "/live", Permission.READ, Directly(home.live), query=home.LiveQuery),
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
        form=JustDoForm,
    ),
)

_INCIDENTS = (
    Page("GET", "/incidents/{id}", Permission.READ, InTransaction(incidents.show), query=incidents.IncidentQuery),
    Page(
        "POST",
        "/incidents/{id}/escalations/{escalation}/acknowledge",
        Permission.RESPOND,
        InTransaction(incidents.acknowledge_escalation),
        form=JustDoForm,
        again=InTransaction(incidents.show),
    ),
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

_SCHEDULE = "/oncall/schedules/{schedule}"


def _change(path: str, needed: Permission, act: Act, form: type[Form], again: InTransaction) -> Page:
    """Return what changes something and is sent by a form of the page that `again` shows."""
    return Page("POST", path, needed, InTransaction(act), form=form, again=again)


_ONCALL = (
    Page("GET", "/oncall", Permission.READ, InTransaction(oncall.show)),
    Page("GET", "/oncall/coverage", Permission.READ, InTransaction(oncall.show_coverage)),
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
            ("overrides/{override}/remove", oncall.remove_override, JustDoForm),
            ("take", oncall.take_over, oncall.TakeForm),
            ("feeds", oncall.add_feed, oncall.FeedForm),
            ("feeds/{feed}/revoke", oncall.revoke_feed, JustDoForm),
        )
    ),
    *(
        _change(f"/oncall/silences{path}", Permission.RESPOND, act, form, InTransaction(oncall.show))
        for path, act, form in (
            ("", oncall.add_silence, oncall.SilenceForm),
            ("/{silence}/end", oncall.end_silence, JustDoForm),
        )
    ),
)

_ROTAS = (
    Page("GET", f"{_SCHEDULE}/layer", Permission.ADMINISTER, InTransaction(rotas.show_layer), query=rotas.LayerQuery),
    *(
        _change(path, Permission.ADMINISTER, act, form, InTransaction(again))
        for path, act, form, again in (
            ("/oncall/schedules", rotas.add, rotas.ScheduleForm, oncall.show),
            (f"{_SCHEDULE}/settings", rotas.change, rotas.ScheduleForm, oncall.show_schedule),
            (f"{_SCHEDULE}/remove", rotas.remove, JustDoForm, oncall.show_schedule),
            (f"{_SCHEDULE}/layer", rotas.put_layer, rotas.LayerForm, rotas.show_layer),
            (f"{_SCHEDULE}/layer/remove", rotas.remove_layer, rotas.NamedForm, oncall.show_schedule),
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

_USER, _METHOD = f"{admin.USERS}/{{user}}", f"{admin.USERS}/{{user}}/methods/{{method}}"
_PROJECT = f"{admin.PROJECTS}/{{project}}"
_POLICY, _ROUTE = f"{policies.POLICIES}/{{policy}}", f"{policies.ROUTES}/{{route}}"
_ADMIN = (
    *(
        Page("GET", path, Permission.ADMINISTER, InTransaction(show))
        for path, show in (
            ("/admin", admin.show),
            (admin.USERS, admin.show_users),
            (_USER, admin.show_user),
            (admin.PROJECTS, admin.show_projects),
            (_PROJECT, admin.show_project),
            (policies.POLICIES, policies.show_all),
            (_POLICY, policies.show),
            ("/admin/channels", admin.show_channels),
            ("/admin/settings", admin.show_settings),
        )
    ),
    *(
        _change(path, Permission.ADMINISTER, act, form, InTransaction(again))
        for path, act, form, again in (
            (admin.USERS, admin.add_user, admin.UserForm, admin.show_users),
            (f"{_USER}/role", admin.set_role, admin.RoleForm, admin.show_user),
            (f"{_USER}/password", admin.set_password, admin.PasswordForm, admin.show_user),
            (f"{_USER}/shut-out", admin.shut_out, JustDoForm, admin.show_user),
            (f"{_USER}/let-in", admin.let_in, JustDoForm, admin.show_user),
            (f"{_USER}/methods", admin.add_method, admin.MethodForm, admin.show_user),
            (f"{_METHOD}/test", admin.send_test, JustDoForm, admin.show_user),
            (f"{_METHOD}/code", admin.send_code, JustDoForm, admin.show_user),
            (f"{_METHOD}/remove", admin.remove_method, JustDoForm, admin.show_user),
            (f"{_USER}/rules", admin.add_rule, admin.RuleForm, admin.show_user),
            (f"{_USER}/rules/{{rule}}/remove", admin.remove_rule, JustDoForm, admin.show_user),
            (admin.PROJECTS, admin.add_project, admin.NameForm, admin.show_projects),
            (f"{_PROJECT}/keys", admin.add_key, admin.KeyForm, admin.show_project),
            (f"{_PROJECT}/keys/{{key}}/revoke", admin.revoke_key, JustDoForm, admin.show_project),
            (policies.POLICIES, policies.add, policies.PolicyForm, policies.show_all),
            (f"{_POLICY}/settings", policies.change, policies.SettingsForm, policies.show),
            (f"{_POLICY}/rules", policies.set_rule, policies.RuleForm, policies.show),
            (f"{_POLICY}/steps", policies.add_step, policies.StepForm, policies.show),
            (f"{_POLICY}/steps/change", policies.change_step, policies.StepForm, policies.show),
            (f"{_POLICY}/steps/remove", policies.remove_step, policies.StepForm, policies.show),
            (f"{_POLICY}/remove", policies.remove, JustDoForm, policies.show),
            (policies.ROUTES, policies.add_route, policies.RouteForm, policies.show_all),
            (f"{_ROUTE}/move", policies.move_route, policies.MoveForm, policies.show_all),
            (f"{_ROUTE}/remove", policies.remove_route, JustDoForm, policies.show_all),
            ("/admin/channels/{method}/test", admin.try_channel, JustDoForm, admin.show_channels),
        )
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

PAGES: tuple[Page, ...] = (
    *_SESSION,
    *_ACCOUNT,
    *_SECOND_FACTOR,
    *_METHODS,
    *_HOME,
    *_LIST,
    *_INCIDENTS,
    *_LEARNING,
    *_ONCALL,
    *_ROTAS,
    *_AUDIT,
    *_ADMIN,
)
