"""The verifier needs little: the standard library, cryptography, rfc8785, and the pure parts of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.logbook import Logbook, Witness, closed_incident, policy_text, vouched
from tocsin.evidence.bundle import encode

ALONE = """
import sys
from importlib.abc import MetaPathFinder

MAY = {"cryptography", "rfc8785", "_cffi_backend", "cffi"}
OURS = ("tocsin.evidence", "tocsin.domain", "tocsin.tlog", "tocsin.errors")

class Blocker(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        first = name.partition(".")[0]
        ours = name == "tocsin" or name.startswith(OURS)
        if not (first in MAY or first in sys.stdlib_module_names or ours):
            raise ImportError(f"the verifier may not need {name}")
        return None

sys.meta_path.insert(0, Blocker())

from tocsin.evidence.bundle import parse_bundle
from tocsin.evidence.policy import parse_policy
from tocsin.evidence.verify import verify

bundle, policy = (open(path, "rb").read() for path in sys.argv[1:])
print(verify(parse_bundle(bundle), parse_policy(policy)).headline)
"""


def test_the_verifier_runs_where_nothing_else_is_installed(tmp_path: Path) -> None:
    log, incident, witness = Logbook(), closed_incident(5), Witness("w.example")
    bundle = log.bundle(incident, log.seal((incident, 6)))
    (tmp_path / "bundle.json").write_bytes(encode(vouched(bundle, witness.cosign(bundle.checkpoint.note))))
    (tmp_path / "policy").write_bytes(policy_text(log, witness, quorum=1))
    ended = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(tmp_path / "bundle.json"), str(tmp_path / "policy")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("PROVEN: INC-5 has exactly 6 entries")
