"""Policy files: c2sp.org/tlog-policy, read strictly, and the three lines of ours."""

from __future__ import annotations

import base64
import itertools

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.authority import Authority
from tests.support.logbook import Logbook, Witness
from tocsin.evidence import EvidenceError
from tocsin.evidence.policy import MAX_POLICY_BYTES, parse_policy

LOG = Logbook().vkey
W = [Witness(f"w.example/{place}").vkey for place in range(6)]
# The example of the specification, with keys.
EXAMPLE = f"""
log {LOG}

witness X1 {W[0]}
witness X2 {W[1]}
witness X3 {W[2]} https://x3.example/
group X-witnesses 2 X1 X2 X3

\twitness Y1 {W[3]}
witness Y2 {W[4]}
witness Y3 {W[5]}
group Y-witnesses any Y1 Y2 Y3
  # a comment
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


@pytest.mark.parametrize(
    ("cosigned", "satisfied"),
    [
        ({"X1", "X2", "Y3"}, True),
        ({"X1", "X2", "X3", "Y1"}, True),
        ({"X1", "X2", "X3"}, False),
        ({"X1", "Y1", "Y2", "Y3"}, False),
        (set(), False),
        ({"X-witnesses", "Y-witnesses"}, False),
    ],
)
def test_the_quorum_is_that_of_the_specification(cosigned: set[str], satisfied: bool) -> None:
    assert parse_policy(EXAMPLE.encode()).satisfied_by(cosigned) is satisfied


def test_one_witness_may_be_the_quorum() -> None:
    policy = parse_policy(f"witness w {W[0]}\nquorum w".encode())
    assert policy.satisfied_by({"w"})
    assert not policy.satisfied_by(set())


def test_our_lines_are_read(authority: Authority) -> None:
    certificate = base64.b64encode(authority.root.public_bytes(Encoding.DER)).decode()
    policy = parse_policy(f"quorum none\nauthority tsa {certificate}\ntimestamp required\ndelay 60\n".encode())
    assert (list(policy.authorities), policy.timestamp_required, policy.max_delay_seconds) == (["tsa"], True, 60)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no quorum line"),
        ("quorum none\nquorum none", "line 2: a second quorum"),
        ("quorum w", "no line above defines 'w'"),
        (f"log {LOG}\nlog {LOG}\nquorum none", "line 2: this log's key stands in the policy twice"),
        (f"log {W[0]}\nquorum none", "not that of a log"),
        (f"witness w {LOG}\nquorum w", "not that of a witness"),
        (f"witness a {W[0]}\nwitness b {W[0]}\nquorum none", "one witness must not count as two"),
        (f"witness a {W[0]}\nwitness a {W[1]}\nquorum none", "is taken"),
        (f"witness none {W[0]}\nquorum none", "is taken"),
        (f"witness a {W[0]}\ngroup g 1 a\ngroup h 1 a\nquorum g", "nobody may count twice"),
        (f"witness a {W[0]}\ngroup g 2 a\nquorum g", "not a number up to 1"),
        (f"witness a {W[0]}\ngroup g 0 a\nquorum g", "not satisfied by 0"),
        (f"witness a {W[0]}\ngroup g all\nquorum g", "it reads `group"),
        ("group g any g\nquorum g", "no line above defines 'g'"),
        ("trust everybody\nquorum none", "'trust' is none of log, witness"),
        ("log x\nquorum none", "vkey"),
        ("authority a !!!\nquorum none", "not Base64"),
        ("authority a AAAA\nquorum none", "not a certificate"),
        ("timestamp please\nquorum none", "it reads `timestamp required`"),
        ("delay -1\nquorum none", "not a number"),
        ("quorum none\x00", "a control character"),
        ("quorum none\r\n", "a control character"),
        ("#" * (MAX_POLICY_BYTES + 1), "more than"),
    ],
    ids=itertools.count(),  # the texts hold keys that are made anew each time
)
def test_what_cannot_be_followed_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(EvidenceError) as refused:
        parse_policy(text.encode())
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_not_utf8_is_refused() -> None:
    with pytest.raises(EvidenceError, match="UTF-8"):
        parse_policy(b"\xff")
