"""Where each page of the table is seen in a furnished product."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: dict[str, tuple[str, ...]] = {
    "/": ("/",),
    "/sign-in": ("/sign-in?next=/{hostile}",),
    "/sign-in/code": ("/sign-in/code",),
    "/sign-in/oidc": ("/sign-in/oidc?next=/{hostile}",),
    "/sign-in/oidc/callback": ("/sign-in/oidc/callback?error={hostile}",),
    "/account": ("/account",),
    "/account/contacts": ("/account/contacts",),
    "/account/second-factor": ("/account/second-factor",),
    "/incidents": (
        "/incidents",
        "/incidents?search={hostile}&service={hostile}",
        "/incidents?status={hostile}",
        "/incidents?who={hostile}",
    ),
    "/incidents/{id}": ("/incidents/{open}", "/incidents/{closed}", "/incidents/{hostile}"),
    "/incidents/{id}/report": ("/incidents/{open}/report", "/incidents/{closed}/report"),
    "/learning": ("/learning", "/learning?weeks={hostile}"),
    "/learning/follow-ups": ("/learning/follow-ups", "/learning/follow-ups?owner={hostile}"),
    "/oncall": ("/oncall",),
    "/oncall/coverage": ("/oncall/coverage",),
    "/oncall/schedules/{schedule}": ("/oncall/schedules/{schedule}", "/oncall/schedules/{hostile}"),
    "/oncall/schedules/{schedule}/layer": (
        "/oncall/schedules/{schedule}/layer",
        "/oncall/schedules/{schedule}/layer?name={hostile}",
    ),
    "/audit": ("/audit", "/audit?user={hostile}&action={hostile}", "/audit?since={hostile}"),
    "/audit/entries": ("/audit/entries", "/audit/entries?user={hostile}", "/audit/entries?kind={hostile}"),
    "/admin": ("/admin",),
    "/admin/users": ("/admin/users",),
    "/admin/users/{user}": ("/admin/users/{user}", "/admin/users/{hostile}"),
    "/admin/projects": ("/admin/projects",),
    "/admin/projects/{project}": ("/admin/projects/{project}", "/admin/projects/{hostile}"),
    "/admin/policies": ("/admin/policies",),
    "/admin/policies/{policy}": ("/admin/policies/{policy}",),
    "/admin/channels": ("/admin/channels",),
    "/admin/settings": ("/admin/settings",),
}
"""The words in braces are places of the furnished product, and `hostile` is what somebody else wrote into a link."""


def every_page(names: Mapping[str, str]) -> list[str]:
    """Return where all of them are seen."""
    return [example.format(**names) for examples in EXAMPLES.values() for example in examples]
