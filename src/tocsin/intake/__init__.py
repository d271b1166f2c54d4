"""Intake: what clients send, in whatever protocol they speak, becomes error reports. Pure: bytes in, reports out.

A parser lets nothing but `TocsinError` escape, whatever the bytes are. Where a request carries several reports,
a wrong one is a `Rejected` beside the others, never the end of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejected:
    """One item of a request that was not taken: its place in the request (from 0), and why.

    Where it stands for all the rest of a request, `number` says how many that are.
    """

    index: int
    reason: str
    number: int = 1
