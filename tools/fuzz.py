"""Fuzzes the parsers: `python -m tools.fuzz TARGET [--seconds N] [--seed N]`; TARGET is `all`, or one of them.

libFuzzer changes what real clients sent (tests/fuzz/corpus) towards code that nothing has reached yet. It ends with
exit code 0, or with the first input that breaks the promise: that one is written to --findings, and
`python -m tools.fuzz TARGET --input FILE` tries it again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["tocsin.intake", "tocsin.domain"]):
    from tests.fuzz.targets import TARGETS, keeps_promise, seeds

ALL = "all"
MAX_INPUT_BYTES = 65_536
INSTRUMENTED_SLOWNESS = 20.0
"""Instrumented code is that much slower at most; a parser that hangs is slower still."""


def main() -> None:
    """Fuzz until the time is over or something is found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", choices=[ALL, *TARGETS])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--findings", type=Path, default=None, help="a directory; without it, a temporary one")
    parser.add_argument("--input", type=Path, default=None, help="try this one input and nothing else")
    options = parser.parse_args()
    if options.input:
        _try(options.target, options.input.read_bytes())
        return
    findings = options.findings or Path(tempfile.mkdtemp(prefix="tocsin-fuzz-"))
    corpus = findings / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    _write_seeds(options.target, corpus)
    arguments = [
        f"-max_total_time={options.seconds}",
        f"-seed={options.seed}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-artifact_prefix={findings}/",
        "-rss_limit_mb=2048",
        "-timeout=10",
    ]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], lambda data: _try(options.target, data))
    atheris.Fuzz()


def _try(target: str, data: bytes) -> None:
    if target != ALL:
        keeps_promise(target, data, slowness=INSTRUMENTED_SLOWNESS)
    elif data:
        # The first byte says which target: so one run serves all, and finds its way between them by itself.
        keeps_promise(list(TARGETS)[data[0] % len(TARGETS)], data[1:], slowness=INSTRUMENTED_SLOWNESS)


def _write_seeds(target: str, folder: Path) -> None:
    for number, name in enumerate(TARGETS):
        for index, seed in enumerate(seeds(name) if target in (ALL, name) else []):
            body = bytes([number]) + seed if target == ALL else seed
            (folder / f"{name}-{index}").write_bytes(body)


if __name__ == "__main__":
    main()
