"""The supervisor: timers that keep what must always hold, and chores that keep the house clean."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from morag.control.ports import TaskStore
from morag.domain.errors import Unavailable
from morag.telemetry import log

SWEEP_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """Something done from time to time; returns how much there was to do, for the log."""

    name: str
    every_s: float
    act: Callable[[], Awaitable[int]]


class Supervisor:
    """Sweeps the store each second and does each chore in its time, until cancelled."""

    def __init__(self, store: TaskStore, chores: Sequence[Chore]) -> None:
        """Keep `store` in order; each of `chores` runs first at once."""
        self._store = store
        self._chores = chores

    async def serve(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep())
            for chore in self._chores:
                group.create_task(self._do(chore))

    async def _sweep(self) -> None:
        while True:
            try:
                report = await self._store.sweep()
                if report.expired or report.timed_out or report.unparked:
                    log.info("swept", expired=report.expired, timed_out=report.timed_out, unparked=report.unparked)
            except Unavailable as error:
                log.warning("sweep_failed", error=error.message)
            await asyncio.sleep(SWEEP_S)

    @staticmethod
    async def _do(chore: Chore) -> None:
        while True:
            try:
                if done := await chore.act():
                    log.info("chore_done", chore=chore.name, count=done)
            except (Unavailable, OSError) as error:
                log.warning("chore_failed", chore=chore.name, error=str(error))
            await asyncio.sleep(chore.every_s)
