"""Schedules: ticks that all processes count alike, and each of which is submitted once, whoever comes first.

Ticks are counted on the wall clock in UTC. A tick that nobody was up for is not made up for, nor are those that a clock
set forward passed over: the latest is enough. None comes twice where a clock is set back a little; if by much, it had
been wrong, and they go on from where it stands.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from morag.control.ports import Clock
from morag.domain.errors import InvalidRequest, StorageFull, Unavailable
from morag.telemetry import log

LOOK_S = 1.0
"""How long the scheduler sleeps at most, so that it hears of new schedules and of a clock that was set."""
SHORTEST_S = 0.1
SET_RIGHT_S = 3600.0
"""A clock set back by more was wrong before: a schedule that waited for it would stand still for as long."""


class Schedule(Protocol):
    """When something is due."""

    def last(self, now: float) -> float:
        """The latest tick at or before `now`, both in seconds since the epoch."""
        ...

    def next(self, now: float) -> float:
        """The first tick after `now`."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """Each `period_s` seconds, counted from the epoch."""

    period_s: float

    def __post_init__(self) -> None:
        """Raises InvalidRequest for a period under a tenth of a second."""
        if not self.period_s >= SHORTEST_S:
            raise InvalidRequest(
                f"every={self.period_s!r} is too often.", code="bad_schedule", hint="Give seconds, at least 0.1."
            )

    def last(self, now: float) -> float:
        """The latest multiple of the period."""
        return math.floor(now / self.period_s) * self.period_s

    def next(self, now: float) -> float:
        """The next multiple of the period."""
        return (math.floor(now / self.period_s) + 1) * self.period_s


@dataclass(frozen=True, slots=True)
class Cron:
    """By a cron expression of five fields, in UTC."""

    expression: str

    def __post_init__(self) -> None:
        """Raises InvalidRequest for an expression that is none, or that never comes."""
        from cronsim import CronSimError  # noqa: PLC0415 - for those who ask for cron

        try:
            self.next(0.0)
        except (CronSimError, StopIteration) as error:
            raise InvalidRequest(
                f"cron={self.expression!r} is no schedule: {error or 'it never comes'}.",
                code="bad_schedule",
                hint="Five fields, as in `30 3 * * *`: minute, hour, day of month, month, day of week.",
            ) from None

    def last(self, now: float) -> float:
        """The latest time at or before `now`."""
        # backwards means strictly before, and whole seconds
        return self._first(math.floor(now) + 1, is_backwards=True)

    def next(self, now: float) -> float:
        """The first time after `now`."""
        return self._first(math.floor(now), is_backwards=False)

    def _first(self, seconds: int, *, is_backwards: bool) -> float:
        from cronsim import CronSim  # noqa: PLC0415 - as above

        return next(CronSim(self.expression, datetime.fromtimestamp(seconds, UTC), reverse=is_backwards)).timestamp()


def schedule_of(every: float | None, cron: str | None) -> Schedule | None:
    """The schedule that was asked for. Raises InvalidRequest."""
    if every is not None and cron is not None:
        raise InvalidRequest("A task has one schedule.", code="bad_schedule", hint="Give every or cron, not both.")
    if cron is not None:
        return Cron(cron)
    return None if every is None else Every(every)


Scheduled = Callable[[], Iterable[tuple[str, Schedule]]]
"""Names with their schedules, as they are now."""


class Scheduler:
    """Submits what is due, until cancelled."""

    def __init__(self, scheduled: Scheduled, submit: Callable[[str, float], Awaitable[None]], clock: Clock) -> None:
        """Call `submit(name, tick)` at each tick that begins from now on."""
        self._scheduled = scheduled
        self._submit = submit
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._looked_at = clock.now()

    async def serve(self) -> None:
        """Run until cancelled."""
        while True:
            pause_s = await self.act()
            await asyncio.sleep(pause_s)

    async def act(self) -> float:
        """Submit what became due since the last look; how long to sleep until the next, seconds."""
        now, soonest = self._clock.now(), self._clock.now() + LOOK_S
        if now < self._looked_at - SET_RIGHT_S:
            self._seen.clear()
            self._looked_at = now
        self._looked_at = max(now, self._looked_at)
        for name, schedule in self._scheduled():
            tick = schedule.last(now)
            if tick > self._seen.setdefault(name, tick):
                await self._start(name, tick)
            soonest = min(soonest, schedule.next(now))
        return max(soonest - self._clock.now(), 0.0)

    async def _start(self, name: str, tick: float) -> None:
        try:
            await self._submit(name, tick)
        except (Unavailable, StorageFull) as error:
            log.warning("schedule_failed", task=name, error=error.message)
        self._seen[name] = tick
