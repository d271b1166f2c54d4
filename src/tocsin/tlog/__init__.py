"""The transparency log's mathematics and formats (RFC 6962, RFC 9162, C2SP). Pure: nothing is stored, sent or timed."""

from tocsin.tlog.errors import ProofError

__all__ = ["ProofError"]
