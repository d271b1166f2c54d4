"""Reports a policy's step of which nobody could be reached: whoever was paged instead may not know why."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tocsin.app.report_internal import report_internal
from tocsin.app.work import Work
from tocsin.store import policies


async def report_unreached(work: Work, payload: dict[str, Any]) -> None:
    """Report a step that reached nobody; each step of each policy has an incident of its own."""
    policy = (await policies.load(work.tx)).policies.get(UUID(payload["policyId"]))
    message = (
        f"The step {payload['reason']} of the policy {policy.name if policy else 'that is gone now'} reached nobody "
        f"({payload['targets']}), so those of its next steps were asked at once, at last the superadmins.\n"
        "See why: `tocsin incidents why NUMBER` of the incident; who is on call: `tocsin oncall show`."
    )
    await report_internal(work, "StepReachesNobody", message, about=f"{payload['policyId']} {payload['reason']}")
