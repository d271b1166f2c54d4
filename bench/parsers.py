"""What a megabyte of the worst kind costs each parser: as many of the smallest parts as may come, or the widest.

Processor time, for nothing here waits, with the garbage collector set as a server sets it. The goal is 100 ms for each
megabyte. The baseline is what Python's own json takes to read one of these megabytes.
"""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from time import process_time

from bench.support.figures import Figure, table
from tests.fuzz.shapes import SHAPES
from tests.fuzz.targets import SECONDS_PER_MEGABYTE, TARGETS, Read
from tocsin.cli.event_loop import collect_seldom
from tocsin.errors import TocsinError

ROUNDS = 9


def _milliseconds(read: Read, body: bytes) -> list[float]:
    """Return how long each of some readings took."""
    taken = []
    for _ in range(ROUNDS):
        started = process_time()
        with suppress(TocsinError):  # a refusal is an answer, too: the parser's own tests tell which is right
            list(read(body))
        taken.append((process_time() - started) * 1_000)
    return taken


def main() -> int:
    """Read every shape and print what it took."""
    argparse.ArgumentParser(prog="python3 dev.py bench parsers", description=__doc__).parse_args()
    collect_seldom()
    plain = SHAPES["smallest alerts"][1]()
    baseline = Figure("json.loads of the smallest alerts", _milliseconds(lambda body: [json.loads(body)], plain))
    figures = [baseline]
    for shape, (target, make) in SHAPES.items():
        body = make()
        goal = round(SECONDS_PER_MEGABYTE * len(body) / 1_000, 1)
        figures.append(Figure(f"{shape} ({target})", _milliseconds(TARGETS[target], body), baseline, goal))
    print(table("processor time of a megabyte", figures))
    return int(any(figure.missed for figure in figures))


if __name__ == "__main__":
    raise SystemExit(main())
