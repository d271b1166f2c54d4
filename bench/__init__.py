"""Benchmarks: each runs with one command and compares itself with a baseline of the same run. See README.md."""
