"""What every check of this package raises: there is no `False` that a caller could overlook."""

from __future__ import annotations


class ProofError(ValueError):
    """A hash, signature, proof or text that does not hold, with a message that says in plain words why."""
