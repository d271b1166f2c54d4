"""GET …/{id}/evidence: for who may read, as a file that verifies."""

from __future__ import annotations

from pathlib import Path

from tests.web.conftest import Live
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.domain.access import Role
from tocsin.evidence.bundle import parse_bundle
from tocsin.evidence.policy import parse_policy
from tocsin.evidence.verify import verify
from tocsin.signing.signer import Signer


async def test_evidence_is_for_who_may_read_and_verifies(live: Live, tokens: dict[Role, str], tmp_path: Path) -> None:
    incident = await live.open_incident()
    signer = Signer(tmp_path / "signer")
    signer.make("example.org/tocsin")
    await introduce_key(live.app, signer)
    await seal_everything(live.app)
    await sign_log(live.app, signer)
    policy = parse_policy(f"log {signer.key().vkey}\nquorum none\n".encode())
    for ref in (incident["id"], incident["number"]):
        answer = await live.get(f"/api/incidents/{ref}/evidence", token=tokens[Role.AUDITOR])
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Content-Disposition"] == f'attachment; filename="evidence-{ref}.json"'
        assert verify(parse_bundle(answer.body), policy).proven
    path = f"/api/incidents/{incident['number']}/evidence"
    assert (await live.get(path, token=tokens[Role.RESPONDER])).status == 200
    assert (await live.get(path, token=tokens[Role.MEMBER])).code == "FORBIDDEN"
    assert (await live.get(path, token="nobody")).code == "UNAUTHORIZED"
    admin = f"/api/admin/incidents/{incident['number']}/evidence"
    assert (await live.get(admin)).status == 200
    assert (await live.get(admin, token=tokens[Role.AUDITOR])).code == "FORBIDDEN"
    assert (await live.get("/api/incidents/999999/evidence")).code == "NOT_FOUND"
