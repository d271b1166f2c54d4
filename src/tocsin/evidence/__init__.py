"""PURE: evidence of one incident as a file, and the proof of it. It touches nothing: no database, network or clock.

What is here needs the standard library, `cryptography`, `rfc8785` and the pure `tocsin.domain` and `tocsin.tlog`, so
that whoever checks us need not run us.
"""

from __future__ import annotations


class EvidenceError(ValueError):
    """Something in the evidence is malformed or does not hold; its text is one line that says what and where."""
