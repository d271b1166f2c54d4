"""Witnesses (c2sp.org/tlog-witness): they see that each checkpoint continues the one before, and sign that they did."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.outside import ConsistencyProof, ContradictionError, OutsideError
from tocsin.outside.http import Http
from tocsin.tlog import ProofError, cosignature
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.note import Note, VerifierKey
from tocsin.tlog.witness import Cosigned, KnowsAnother, Refused, read_answer, request_body

_CONTRADICTIONS = (409, 422)


@dataclass(frozen=True, slots=True)
class Witness:
    """Who cosigns: the key by which it is known, and the submission prefix (URL) at which it is asked."""

    key: VerifierKey
    url: str


class KnowsMoreError(ContradictionError):
    """The witness has cosigned more leaves than the log has, unless the log has grown meanwhile."""

    def __init__(self, known: int, size: int) -> None:
        super().__init__(
            f"it has cosigned {known:,} leaves of this log, which has only {size:,}: the last ones are gone"
        )
        self.known = known


async def cosign(http: Http, witness: Witness, signed: str, known_size: int, proof: ConsistencyProof) -> str:
    """Return the witness's cosignature line (with its newline) of our signed checkpoint, verified.

    `known_size` is the size that it cosigned last, as far as we know; if it tells another one, that one is used. Raises
    ContradictionError when it has seen another history of this log, OutsideError for everything else that goes wrong.
    """
    try:
        note = Note.parse(signed)
        size = Checkpoint.parse(note.text).size
        answer = await _ask(http, witness, note, min(known_size, size), size, proof)
        if isinstance(answer, KnowsAnother):
            if answer.size > size:
                raise KnowsMoreError(answer.size, size)
            answer = await _ask(http, witness, note, answer.size, size, proof)
        return _line(answer, note, witness.key)
    except ProofError as error:
        raise OutsideError(str(error)) from None


async def _ask(
    http: Http, witness: Witness, note: Note, known_size: int, size: int, proof: ConsistencyProof
) -> Cosigned | KnowsAnother | Refused:
    hashes = await proof(known_size, size) if 0 < known_size < size else []
    address = f"{witness.url.rstrip('/')}/add-checkpoint"
    said = await http.ask("POST", address, request_body(known_size, hashes, note), {"Content-Type": "text/plain"})
    return read_answer(said.status, said.headers.get("Content-Type", ""), said.body)


def _line(answer: Cosigned | KnowsAnother | Refused, note: Note, key: VerifierKey) -> str:
    match answer:
        case Cosigned(signatures):
            answered = Note(note.text, signatures)
            cosignature.verify(answered, key)
            return answered.by(key)[0].encode()
        case KnowsAnother(size):
            raise OutsideError(f"it knows another size each time, now {size}: somebody else talks to it for this log")
        case Refused(status, reason) if status in _CONTRADICTIONS:
            raise ContradictionError(f"it has seen another history of this log ({status}: {reason})")
        case Refused(status, reason):
            raise OutsideError(f"it refuses: {status}: {reason}")
