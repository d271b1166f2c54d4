"""Tocsin: failures are loud, structured and educational."""

__version__ = "0.1.0"
