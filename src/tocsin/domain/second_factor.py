"""The second factor: codes of an authenticator app (TOTP, RFC 6238), recovery codes, and how many may be wrong."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pyotp

DRIFT_STEPS = 1
"""How many steps of 30 seconds a clock may be wrong in either direction (RFC 6238, 5.2)."""
SET_UP_WITHIN = timedelta(minutes=15)
SIGN_IN_WITHIN = timedelta(minutes=5)
NUMBER_OF_RECOVERY_CODES = 10
MAX_FAILURES = 10
"""Wrong codes of one person within WINDOW, wherever they come from: a code has only a million values."""
WINDOW = timedelta(minutes=15)
MAX_CODE_CHARACTERS = 100
_TOTP_CODE = re.compile(r"[0-9]{6}", re.ASCII)
_RECOVERY_CODE = re.compile(r"[A-Z2-7]{16}")
_SEPARATORS = re.compile(r"[\s-]+")


def normalised(code: str) -> str:
    """Return a code as it is compared: apps and people write it in groups, and in either case."""
    return _SEPARATORS.sub("", code[:MAX_CODE_CHARACTERS]).upper()


def is_recovery_code(code: str) -> bool:
    """Tell whether a normalised code has the form of a recovery code."""
    return _RECOVERY_CODE.fullmatch(code) is not None


def step_of(secret: str, code: str, now: datetime, last_step: int) -> int | None:
    """Return the time step of a normalised code; None when it is wrong, or of a step that was used (RFC 6238, 5.2)."""
    if not _TOTP_CODE.fullmatch(code):
        return None
    try:
        step = pyotp.TOTP(secret).verify_and_get_timecode(code, for_time=now, valid_window=DRIFT_STEPS)
    except pyotp.OTPVerificationError:
        return None
    return step if step > last_step else None


def key_uri(secret: str, email: str, host: str) -> str:
    """Return what an authenticator app reads from the QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=f"Tocsin {host}")


def waiting_time(failures: int, since: datetime | None, now: datetime) -> timedelta:
    """Return how long nobody may try again after so many wrong codes; zero if they may now."""
    if since is None or failures < MAX_FAILURES:
        return timedelta()
    return max(since + WINDOW - now, timedelta())


def failed_again(failures: int, since: datetime | None, now: datetime) -> tuple[int, datetime]:
    """Return how many wrong codes there are with one more, and since when they count."""
    if since is None or since + WINDOW <= now:
        return 1, now
    return failures + 1, since
