"""The page of one's second factor: set it up, confirm it, new recovery codes, take it off."""

from __future__ import annotations

from dataclasses import dataclass

import segno
from markupsafe import Markup

from tocsin.app import second_factor
from tocsin.app.second_factor import SetUp, counted
from tocsin.app.work import Work
from tocsin.web.console.account import ACCOUNT, Password, own_password
from tocsin.web.console.page import Form, Redirected, Shown, Visit
from tocsin.web.console.sign_in import Code

_QR_SCALE = 4
_QR_QUIET_ZONE = 4  # ISO/IEC 18004, 6.3.8


class SetUpForm(Form):
    """Who sets a second factor up shows their password: a session that was left open is not enough."""

    old_password: Password = ""


class FactorForm(Form):
    """A code of the second factor."""

    code: Code = ""


@dataclass(frozen=True, slots=True)
class _ToScan:
    """A secret to take over, as text in groups and as a picture."""

    secret: str
    picture: Markup


async def show(work: Work, visit: Visit) -> Shown:
    """Show how the second factor stands."""
    return await _shown(work, visit)


async def set_up(visit: Visit) -> Shown:
    """Make a secret, and show it: it is on no page but those that answer this form and the next one."""
    verified_hash = await own_password(visit, visit.said(SetUpForm).old_password)
    async with visit.app.work() as work:
        await second_factor.begin(work, visit.services.vault, visit.somebody, verified_hash=verified_hash)
        return await confirm_again(work, visit)


async def confirm_again(work: Work, visit: Visit) -> Shown:
    """Show what is to be confirmed, for as long as there is something."""
    waiting = await second_factor.set_up(work, visit.services.vault, visit.somebody)
    return await _shown(work, visit, to_scan=_to_scan(waiting))


async def confirm(visit: Visit) -> Shown:
    """Make the second factor count, and show the recovery codes once."""
    code, vault = visit.said(FactorForm).code, visit.services.vault
    codes = await counted(visit.app, lambda work: second_factor.confirm(work, vault, visit.somebody, code))
    return Shown("recovery_codes.html", {"codes": codes, "confirmed": True})


async def renew_recovery_codes(visit: Visit) -> Shown:
    """Make new recovery codes, and show them once."""
    code, vault = visit.said(FactorForm).code, visit.services.vault
    codes = await counted(visit.app, lambda work: second_factor.renew_recovery_codes(work, vault, visit.somebody, code))
    return Shown("recovery_codes.html", {"codes": codes, "confirmed": False})


async def remove(visit: Visit) -> Redirected:
    """Take the second factor off."""
    code, vault = visit.said(FactorForm).code, visit.services.vault
    await counted(visit.app, lambda work: second_factor.remove_own(work, vault, visit.somebody, code))
    return Redirected(ACCOUNT)


async def _shown(work: Work, visit: Visit, to_scan: _ToScan | None = None) -> Shown:
    standing = await second_factor.standing(work, visit.somebody)
    needed = visit.actor.role in visit.app.settings.require_totp
    return Shown("second_factor.html", {"standing": standing, "needed": needed, "to_scan": to_scan})


def _to_scan(waiting: SetUp) -> _ToScan:
    code = segno.make(waiting.uri, error="m", micro=False)
    # Black on white whatever the page's colours are: not every scanner reads the inverse.
    svg = code.svg_inline(
        scale=_QR_SCALE, border=_QR_QUIET_ZONE, dark="#000", light="#fff", svgclass="qr", lineclass=None
    )
    groups = " ".join(waiting.secret[at : at + 4] for at in range(0, len(waiting.secret), 4))
    return _ToScan(groups, Markup(svg))  # noqa: S704  # segno draws it; nothing of the text stands in it
