"""The access log and remembered answers: every access is recorded before it is answered."""

from __future__ import annotations

import hashlib
import hmac
from uuid import UUID

from tocsin.app.work import Work
from tocsin.errors import Code, refuse
from tocsin.store import access
from tocsin.store.access import Access, RememberedAnswer

MAX_KEY_CHARACTERS = 255


async def record_access(
    work: Work,
    *,
    user_id: UUID | None,
    credential: str,
    action: str,
    target: str,
    client_address: str,
    user_agent: str,
    status: int,
    outcome: str,
    request_id: UUID,
) -> None:
    """Record who did what to what, from where, and with which outcome; texts are cut to what the log holds."""
    entry = Access(
        id=work.new_id(),
        accessed_at=work.now,
        user_id=user_id,
        credential=credential[:100],
        action=_clean(action, 200),
        target=_clean(target, 1_000),
        client_address=_clean(client_address, 100),
        user_agent=_clean(user_agent, 300),
        status=status,
        outcome=outcome,
        request_id=request_id,
    )
    await access.insert(work.tx, entry)


def _clean(text: str, limit: int) -> str:
    return text.replace("\x00", "�").encode("utf-8", "replace").decode()[:limit]


async def remembered_answer(work: Work, principal: str, key: str, request: bytes) -> RememberedAnswer | None:
    """Return the answer to an earlier request with this idempotency key; raise INVALID if that one was different."""
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isprintable():
        problem = f"must be 1 to {MAX_KEY_CHARACTERS} printable characters"
        raise refuse(
            Code.INVALID, f"Idempotency-Key {problem}.", errors=[{"field": "Idempotency-Key", "problem": problem}]
        )
    answer = await access.remembered_answer(work.tx, principal, key)
    if answer and not hmac.compare_digest(answer.request_hash, _request_hash(request)):
        raise refuse(
            Code.INVALID,
            "This Idempotency-Key was used for another request.",
            "Use a new key for a new request; repeat a request with the very same body.",
            errors=[{"field": "Idempotency-Key", "problem": "used for another request"}],
        )
    return answer


async def remember_answer(work: Work, principal: str, key: str, request: bytes, status: int, body: bytes) -> None:
    """Keep the answer to a request, in the transaction that did what it asked for."""
    answer = RememberedAnswer(_request_hash(request), status, body)
    await access.remember_answer(work.tx, principal=principal, key=key, answer=answer, now=work.now)


def _request_hash(request: bytes) -> bytes:
    return hashlib.sha256(request).digest()
