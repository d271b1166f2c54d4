"""The watchman's own dead man's switch: somebody outside is called for as long as every promise holds here.

When the calls stay away, they raise the alarm: whether a page cannot leave, the database is gone, or the machine is.
One worker makes each call, by a lease in the database; to be called twice harms nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tocsin.app import health
from tocsin.app.work import App, Work
from tocsin.outside import OutsideError
from tocsin.outside.http import Http
from tocsin.store import watchdog

LEASE = timedelta(minutes=2)
"""How long one may be busy with a call: longer than it may take."""
MAX_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Watchdog:
    """Whom to call how often, and whom (None: nobody) when a promise is broken."""

    http: Http
    url: str
    fail_url: str | None
    every: timedelta

    async def run(self, app: App) -> bool:
        """Make the call if it is due and every promise holds; return whether it was due."""
        async with app.work() as work:
            if await watchdog.claim(work.tx, work.now, work.now + LEASE) is None:
                return False
            broken = await _broken(work)
            if broken:
                await watchdog.withhold(work.tx, broken, work.now, work.now + self.every)
        if not broken:
            await self._call(app, self.url)
        elif self.fail_url is not None:
            await self._call(app, self.fail_url, withheld=True)
        return True

    async def _call(self, app: App, url: str, *, withheld: bool = False) -> None:
        """Call, and note how it went. A GET, which every such service takes, and which tells nothing of the inside."""
        failure = None
        try:
            answer = await self.http.ask("GET", url)
            if not 200 <= answer.status < 300:
                failure = f"it answers {answer.said()}"
        except OutsideError as error:
            failure = str(error)
        async with app.work() as work:
            due_at = work.now + self.every
            if failure is not None:
                await watchdog.failed(work.tx, failure.replace("\x00", "�")[:MAX_CHARACTERS], work.now, due_at)
            elif not withheld:
                await watchdog.called(work.tx, work.now, due_at)


async def _broken(work: Work) -> str:
    """Return which promises do not hold, in words; empty if all do."""
    problems = [problem for problem in (await health.condition(work)).problems if problem.breaks_a_promise]
    return " ".join(problem.message for problem in problems).replace("\x00", "�")[:MAX_CHARACTERS]
