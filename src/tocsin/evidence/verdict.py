"""The verdict: what a bundle that holds together proves under a policy, against whom, and what it does not.

Whoever reads it need not know what a Merkle tree is; each sentence says whom one has to believe for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from tocsin.domain.plural import number_of
from tocsin.evidence.bundle import Bundle
from tocsin.evidence.policy import NOBODY, Policy
from tocsin.evidence.texts import Text, TextState
from tocsin.evidence.timeline import Timeline
from tocsin.evidence.timestamp import Stamp
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.note import VerifierKey

MAX_NAMED = 5
"""Of many texts so many are named."""
NEVER = (
    "That what was reported is true: evidence shows what was recorded, and when.",
    "That something which nobody reported did not happen.",
    "Anything before the first checkpoint that left the machine: until then its owner could have written any history.",
    "That the log's own list of newest entries agrees with its entries for other incidents: "
    "whoever keeps a copy of the whole log can check that.",
)
"""What no bundle can ever prove."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a bundle that holds together proves under a policy.

    Args:
        proven: whether everything that the policy asks for is there.
        headline: the verdict in one sentence.
        shown: what is proven, and against whom.
        missing: why it is not proven, when it is not; what is weaker than it could be, otherwise.
        texts: what people wrote, as far as it is disclosed.
        about_texts: how much of that is disclosed, and why the rest is not.
        never: what no bundle proves.
    """

    proven: bool
    headline: str
    origin: str
    number: int
    entries: int
    size: int
    shown: tuple[str, ...]
    missing: tuple[str, ...]
    texts: tuple[Text, ...]
    about_texts: tuple[str, ...]
    never: tuple[str, ...] = NEVER


@dataclass(frozen=True, slots=True)
class Statement:
    """A checkpoint of the bundle whose place in the log is verified, and who vouches for it.

    Args:
        signed_by: the log's keys of the policy that have signed it.
        witnesses: those of the policy that have cosigned it, by their names there, with the times they say.
        stamps: time stamps by authorities of the policy.
        unknown: cosignatures and time stamps by nobody that the policy names.
    """

    checkpoint: Checkpoint
    signed_by: tuple[VerifierKey, ...]
    witnesses: dict[str, datetime]
    stamps: tuple[Stamp, ...]
    unknown: int

    def witnessed_at(self, policy: Policy) -> datetime | None:
        """Return when the last of the quorum had cosigned it; None without a quorum of witnesses."""
        if policy.quorum == NOBODY or not policy.satisfied_by(self.witnesses):
            return None
        return max(self.witnesses.values())

    def existed_at(self, policy: Policy) -> datetime | None:
        """Return the earliest time at which it is known to have existed, from others than the log."""
        times = [stamp.time for stamp in self.stamps]
        witnessed = self.witnessed_at(policy)
        return min([*times, *([witnessed] if witnessed else [])], default=None)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A bundle that holds together, before its policy."""

    bundle: Bundle
    given: Policy | None
    policy: Policy
    timeline: Timeline
    main: Statement
    anchors: Sequence[Statement]
    complete: bool

    def report(self) -> Report:
        reasons = tuple(self._reasons())
        size = self.main.checkpoint.size
        exactly = f"INC-{self.timeline.number} has exactly {_entries(len(self.timeline.entries))}"
        where = f"at checkpoint {size:,} of {self.bundle.origin}"
        if reasons:
            headline = f"NOT PROVEN: the file holds together, but {reasons[0][0].lower()}{reasons[0][1:]}"
        else:
            headline = f"PROVEN: {exactly} {where}, and they are what was recorded."
        return Report(
            not reasons,
            headline,
            self.bundle.origin,
            self.timeline.number,
            len(self.timeline.entries),
            size,
            tuple(self._shown()),
            (*reasons, *self._weaknesses()),
            self.timeline.texts,
            tuple(_about(self.timeline.texts)),
        )

    @property
    def _trusted(self) -> list[Statement]:
        """The checkpoints that a log of the policy has signed."""
        return [one for one in (self.main, *self.anchors) if one.signed_by]

    @property
    def _covering(self) -> list[Statement]:
        """Those that vouch for the bundle's checkpoint and thereby for everything in it."""
        return [one for one in self._trusted if one.checkpoint.size >= self.main.checkpoint.size]

    def _reasons(self) -> Iterator[str]:
        """Why it is not proven. The first is the one that everything else hangs on."""
        if self.given is None:
            yield "No policy says whom to trust: give one with --policy."
            return
        if not self.policy.logs:
            yield "The policy trusts no log, so nobody's word stands for the checkpoint."
            return
        if not self.main.signed_by:
            yield "No log that the policy trusts has signed the checkpoint."
            return
        if not self.complete:
            yield "It does not prove that the incident has no further entries: the commitment to the newest is missing."
        if not any(self.policy.satisfied_by(one.witnesses) for one in self._covering):
            yield "The witnesses that the policy asks for have not cosigned the checkpoint, or one that continues it."
        if self.policy.timestamp_required and not any(one.stamps for one in self._covering):
            yield "No time stamp of an authority that the policy names covers the checkpoint."
        yield from self._late()

    def _late(self) -> Iterator[str]:
        most = self.policy.max_delay_seconds
        if most is None:
            return
        for place, delay in enumerate(self._delays(), 1):
            if delay is None:
                yield f"Nobody else vouches for entry {place}: it may have been written much later than it says."
            elif delay < -most:
                yield f"Entry {place} claims a time {_duration(-delay)} after somebody else vouched for it."
            elif delay > most:
                yield (
                    f"Entry {place} is vouched for only {_duration(delay)} after the time that it claims; the policy "
                    f"allows {_duration(most)}. It may have been written, or written anew, until then."
                )
            else:
                continue
            return

    def _delays(self) -> list[float | None]:
        """Return for each entry how long after its own time (seconds) it is first known to have existed."""
        known = [(one.checkpoint.size, one.existed_at(self.policy)) for one in self._trusted]
        delays: list[float | None] = []
        for leaf, entry in zip(self.bundle.entries, self.timeline.entries, strict=True):
            times = [at for size, at in known if at is not None and size > leaf.index]
            delays.append((min(times) - entry.event_at).total_seconds() if times else None)
        return delays

    def _shown(self) -> Iterator[str]:
        number, last = len(self.timeline.entries), self.timeline.last
        yield (
            f"By computation alone: {_entries(number)} from REPORTED to {last.status_after}, none missing in between, "
            "each continues the one before it, each step was allowed, "
            f"and the {self.timeline.details} details are those that they name."
        )
        if not self.main.signed_by:
            return
        names = ", ".join(f"{key.name}+{key.key_id.hex()}" for key in self.main.signed_by)
        size = self.main.checkpoint.size
        yield (
            f"Against everybody without the log's signing key (the database's administrator, a restored backup): the "
            f"entries are in the log at checkpoint {size:,}, which {names} signed."
        )
        if self.complete:
            yield f"Against the same: at checkpoint {size:,} the log commits to entry {number} as the newest."
        yield from self._shown_by_others()

    def _shown_by_others(self) -> Iterator[str]:
        for one in self._covering:
            if (at := one.witnessed_at(self.policy)) is not None:
                yield (
                    f"Against the holder of the signing key too: {', '.join(sorted(one.witnesses))} saw checkpoint "
                    f"{one.checkpoint.size:,} by {at:%Y-%m-%d %H:%M:%S} UTC, "
                    "and that it continues everything that they saw before."
                )
                break
        stamps = [(stamp, one) for one in self._trusted for stamp in one.stamps]
        for stamp, one in stamps[:3]:
            yield (
                f"Against dating back: {stamp.authority} (below {stamp.trusted}) stamped checkpoint "
                f"{one.checkpoint.size:,} at {stamp.time:%Y-%m-%d %H:%M:%S} UTC."
            )
        delays = [delay for delay in self._delays() if delay is not None]
        if delays and len(delays) == len(self.timeline.entries):
            yield f"Every entry existed at most {_duration(max(0.0, *delays))} after the time that it claims."

    def _weaknesses(self) -> Iterator[str]:
        if self.given is None or not self.main.signed_by:
            return
        if self.policy.quorum == NOBODY:
            yield "The policy asks for no witness: who steals the log's signing key could show you another history."
        if not any(one.stamps for one in self._trusted):
            yield "No time stamp that the policy trusts: the times are those of the server's own clock."
        if unknown := sum(one.unknown for one in (self.main, *self.anchors)):
            yield f"{unknown} cosignatures or time stamps are by nobody that the policy names; they count for nothing."


def _about(texts: Sequence[Text]) -> Iterator[str]:
    """Say in words how much of what people wrote is disclosed, and what is known of the rest."""
    disclosed, withheld, erased = (
        [text for text in texts if text.state is state]
        for state in (TextState.DISCLOSED, TextState.WITHHELD, TextState.ERASED)
    )
    whole = number_of(len(texts), "text is", "texts are")
    if disclosed:
        yield f"{len(disclosed):,} of {whole} disclosed: to the letter what the record commits to."
    if withheld:
        yield (
            f"{len(withheld):,} of {whole} withheld by whoever made this file ({_named(withheld)}). "
            "The record commits to them: they can be shown later, and nothing else in their place."
        )
    if erased:
        yield (
            f"{len(erased):,} of {whole} erased ({_named(erased)}): {_erasers(erased)} why, and "
            "nobody can prove any more what they said."
        )
    if kept := [text for text in disclosed if text.erased_by is not None]:
        yield f"{len(kept):,} of those that are disclosed were erased meanwhile ({_named(kept)}): {_erasers(kept)} why."


def _named(texts: Sequence[Text]) -> str:
    names = [f"entry {text.entry}: {text.name or 'one of ' + text.table}" for text in texts[:MAX_NAMED]]
    return "; ".join([*names, *(["…"] if len(texts) > MAX_NAMED else [])])


def _erasers(texts: Sequence[Text]) -> str:
    entries = sorted({text.erased_by for text in texts if text.erased_by is not None})
    shown = ", ".join(map(str, entries[:MAX_NAMED])) + (", …" if len(entries) > MAX_NAMED else "")
    return f"entry {shown} says" if len(entries) == 1 else f"entries {shown} say"


def _entries(number: int) -> str:
    return number_of(number, "entry", "entries")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
