"""The page behind the link in a message: what happened, and a button that takes it. No script, nothing from elsewhere.

Programs that look at links before people do (previews, scanners, prefetching) only ever GET: that changes nothing.
The token in the path is a credential. Paths are not logged, and the access log has the route in its place.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from html import escape
from urllib.parse import parse_qsl
from uuid import UUID

from starlette.responses import HTMLResponse, Response

from tocsin.app import links
from tocsin.app.links import Followed
from tocsin.domain.disclosure import ERASED
from tocsin.domain.page_link import GOOD_FOR, Standing
from tocsin.domain.plural import times
from tocsin.errors import Code, Refusal, TocsinError, refuse
from tocsin.web.audit_trail import client_address
from tocsin.web.direction import straight
from tocsin.web.endpoint import Call
from tocsin.web.problems import KINDS, headers_of
from tocsin.web.reading import read_body

LINK = "link"
"""The credential in the access log."""
FORM = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 131_072
MAX_FIELDS = 10
PREFILLED = {Standing.ACKNOWLEDGE: "On it.", Standing.RENEW: "Still on it."}

_STYLE = """
:root{color-scheme:light dark}
body{font:18px/1.5 system-ui,sans-serif;max-width:34rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem}
dd{margin:0;overflow-wrap:anywhere}
textarea,button{font:inherit;width:100%;box-sizing:border-box;padding:.6rem}
button{margin-top:.75rem;font-weight:700;cursor:pointer}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}
_OUTCOMES = {
    Standing.TAKEN: Code.ALREADY_ACKNOWLEDGED,
    Standing.OVER: Code.ALREADY_RESOLVED,
    Standing.EXPIRED: Code.FORBIDDEN,
    Standing.SHUT_OUT: Code.FORBIDDEN,
}


async def show(call: Call) -> Response:
    """Show what a link is about, and the button, if there is something to do."""
    try:
        notification_id = _notification_of(call)
        async with call.services.app.work() as work:
            found = await links.look(work, notification_id)
    except TocsinError as error:
        return _refused(call, error.refusal)
    _note(call, found)
    code = _OUTCOMES.get(found.standing)
    status = 403 if code is Code.FORBIDDEN else 200
    return _page(_body(found, found.incident.acknowledged_at), status)


async def act(call: Call) -> Response:
    """Do what the button says, in the name of whom the page was for."""
    try:
        notification_id = _notification_of(call)
        notes = _notes(await read_body(call.request, MAX_FORM_BYTES), call.request.headers.get("content-type", ""))
        async with call.services.app.work() as work:
            known = await links.look(work, notification_id)
        _note(call, known)
        async with call.services.app.work() as work:
            found = await links.follow(work, notification_id, notes)
            now = work.now
    except TocsinError as error:
        return _refused(call, error.refusal)
    if (code := _OUTCOMES.get(found.standing)) is not None:
        call.exchange.outcome = code.value
        return _page(_body(found, found.incident.acknowledged_at), KINDS[code].status)
    return _page(_done(found, now))


def _notification_of(call: Call) -> UUID:
    """Return the page of a request's token. Who guesses is held off; who has a true one never is."""
    token = call.path("token")
    notification_id = call.services.links.notification_of(token)
    if notification_id is None:
        call.services.link_throttle.begin(client_address(call.request.scope), "", call.services.app.clock())
        raise links.not_a_link()
    return notification_id


def _note(call: Call, found: Followed) -> None:
    """Take note of in whose name the request is made."""
    call.exchange.user_id, call.exchange.credential = found.link.user_id, LINK


def _notes(body: bytes, content_type: str) -> str:
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise refuse(Code.UNSUPPORTED_MEDIA_TYPE, "Only the form of this page is understood here.", "Use its button.")
    try:
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise refuse(Code.MALFORMED, "The form cannot be read.", "Go back, and send it again.") from None
    # A form brings lines as CR LF (WHATWG HTML, 4.10.22.4).
    return dict(fields).get("notes", "").replace("\r\n", "\n")


def _refused(call: Call, refusal: Refusal) -> Response:
    call.exchange.outcome = refusal.code.value
    said = f"<h1>{escape(refusal.message)}</h1><p>{escape(refusal.hint)}</p>"
    return _page(said, KINDS[refusal.code].status, headers_of(refusal))


def _body(found: Followed, since: datetime | None) -> str:
    if found.standing is Standing.SHUT_OUT:
        # Who may not respond any more may not read here either.
        return (
            f"<h1>{escape(found.link.user_name)} may not acknowledge incidents any more.</h1>"
            "<p>Forward the message to somebody on call, or ask a superadmin.</p>"
        )
    if found.standing is Standing.EXPIRED:
        return (
            f"<h1>This link is too old: it was good for {GOOD_FOR.days} days.</h1>"
            "<p>Sign in, or acknowledge with <code>tocsin incidents ack</code>.</p>"
        )
    return _incident(found) + _says(found, since) + _form(found)


def _incident(found: Followed) -> str:
    incident = found.incident
    facts = {
        "severity": incident.current_severity,
        "since": _instant(incident.created_at),
        "seen": f"{times(incident.occurrences)}, last {_instant(incident.last_seen_at)}",
    }
    listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<h1>INC-{incident.number} {escape(incident.title or ERASED)}</h1><dl>{listed}</dl>"


def _says(found: Followed, since: datetime | None) -> str:
    if found.standing is Standing.OVER:
        return f"<p><strong>It is {found.incident.status.lower()}.</strong></p>"
    if found.standing is Standing.ACKNOWLEDGE or since is None:
        return ""
    yours = found.incident.acknowledged_by == found.link.user_id
    who = "You have it" if yours else f"{found.incident.acknowledged_by_name or ERASED} has it"
    return f"<p><strong>{escape(who)}, since {_instant(since)}.</strong></p>"


def _form(found: Followed) -> str:
    prefilled = PREFILLED.get(found.standing)
    if prefilled is None:
        return ""
    button = "I take it" if found.standing is Standing.ACKNOWLEDGE else "I am still on it"
    return (
        f'<form method="post"><label for="notes">Note, as {escape(found.link.user_name)}</label>'
        f'<textarea id="notes" name="notes" rows="3" maxlength="10000" required>{prefilled}</textarea>'
        f"<button>{button}</button></form>"
    )


def _done(found: Followed, now: datetime) -> str:
    said = "It is yours" if found.standing is Standing.ACKNOWLEDGE else "Noted: you are still on it"
    return f"{_incident(found)}<p><strong>{said}, since {_instant(now)}.</strong></p>"


def _instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _page(body: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tocsin</title>'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<style>{_STYLE}</style></head><body>{straight(body)}</body></html>"
    )
    return HTMLResponse(html, status, _HEADERS | (headers or {}))
