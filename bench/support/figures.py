"""Figures: samples, their percentiles, and a table with the ratio of each to a baseline of the same run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tocsin.clock import monotonic_seconds


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, in milliseconds. `goal_ms` bounds the median, or another percentile; None: there is none."""

    name: str
    samples_ms: Sequence[float]
    baseline: Figure | None = None
    goal_ms: float | None = None
    goal_percent: int = 50

    def percentile(self, percent: float) -> float:
        """Return the smallest sample that at least `percent` of them do not exceed (nearest rank)."""
        ordered = sorted(self.samples_ms)
        rank = max(-(-len(ordered) * percent // 100), 1)
        return ordered[int(rank) - 1]

    @property
    def median(self) -> float:
        """Return the middle sample."""
        return self.percentile(50)

    @property
    def missed(self) -> bool:
        """Tell whether the goal is missed."""
        return self.goal_ms is not None and self.percentile(self.goal_percent) >= self.goal_ms


async def timed(name: str, repetitions: int, run: Callable[[int], Awaitable[object]], **more: object) -> Figure:
    """Run something one after the other, with its number, and return how long each took; five more warm up first."""
    samples = []
    for number in range(-5, repetitions):
        started = monotonic_seconds()
        await run(number)
        if number >= 0:
            samples.append((monotonic_seconds() - started) * 1_000)
    return Figure(name, samples, **more)  # type: ignore[arg-type]  # the caller names Figure's own fields


def table(title: str, figures: Sequence[Figure]) -> str:
    """Return the figures as text: percentiles, the worst, the ratio of the medians to the baseline, the goal."""
    width = max(len(title), *(len(figure.name) for figure in figures))
    head = f"{title:<{width}}  {'median':>10}  {'p95':>10}  {'p99':>10}  {'max':>10}  {'x baseline':>10}  goal"
    lines = [head, "-" * len(head)]
    for figure in figures:
        values = [*map(figure.percentile, (50, 95, 99)), max(figure.samples_ms)]
        shown = "  ".join(f"{value:>7.2f} ms" for value in values)
        ratio = f"{figure.median / figure.baseline.median:.1f}" if figure.baseline else "baseline"
        lines.append(f"{figure.name:<{width}}  {shown}  {ratio:>10}  {_goal(figure)}".rstrip())
    return "\n".join(lines)


def _goal(figure: Figure) -> str:
    if figure.goal_ms is None:
        return ""
    which = "median" if figure.goal_percent == 50 else f"p{figure.goal_percent}"
    return f"{which} < {figure.goal_ms:g} ms: {'MISSED' if figure.missed else 'met'}"
