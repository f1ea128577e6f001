"""The supervisor: timers that keep what must always hold, and chores that keep the house clean.

Of all processes on a store one leads and does this for all; the others ask each second whether it is gone. That only
saves work: two that lead at once harm nothing, for each repair is conditional on what it saw.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from morag.control.ports import TaskStore
from morag.domain.errors import StorageFull, Unavailable
from morag.domain.task import Worker
from morag.telemetry import log

SWEEP_S = 1.0
LEAD_S = 5.0
"""How long a leader that hangs, or that cannot be seen to be dead, is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """Something done from time to time; returns how much there was to do, for the log."""

    name: str
    every_s: float
    act: Callable[[], Awaitable[int]]
    is_own: bool = False
    """Done by each process, because it is about what only that one has; else by the leader for all."""


class Supervisor:
    """While it leads, sweeps the store each second and does each chore in its time, until cancelled."""

    def __init__(
        self,
        store: TaskStore,
        worker: Worker,
        chores: Sequence[Chore],
        *,
        lead_s: float = LEAD_S,
        sweep_s: float = SWEEP_S,
    ) -> None:
        """Keep `store` in order as `worker`; each of `chores` runs first at once, or as soon as this leads."""
        self._store = store
        self._worker = worker
        self._chores = chores
        self._lead_s = lead_s
        self._sweep_s = sweep_s
        self._leads = asyncio.Event()

    async def serve(self) -> None:
        """Run until cancelled; then give the lead back."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._supervise())
                for chore in self._chores:
                    group.create_task(self._do(chore))
        finally:
            await self._resign()

    async def _supervise(self) -> None:
        while True:
            try:
                await self._ask()
                if self._leads.is_set():
                    await self._sweep()
            except (Unavailable, StorageFull) as error:
                log.warning("sweep_failed", error=error.message)
            await asyncio.sleep(self._sweep_s)

    async def _ask(self) -> None:
        """Take the lead, or keep it, if nobody else has it."""
        led = self._leads.is_set()
        if not await self._store.lead(self._worker, lease_s=self._lead_s):
            self._leads.clear()
        elif not led:
            log.info("leads", worker_id=self._worker.id)
            self._leads.set()

    async def _sweep(self) -> None:
        report = await self._store.sweep()
        if report.expired or report.timed_out or report.unparked:
            log.info("swept", expired=report.expired, timed_out=report.timed_out, unparked=report.unparked)

    async def _do(self, chore: Chore) -> None:
        while True:
            if not chore.is_own:
                await self._leads.wait()
            try:
                if done := await chore.act():
                    log.info("chore_done", chore=chore.name, count=done)
            except (Unavailable, StorageFull, OSError) as error:
                log.warning("chore_failed", chore=chore.name, error=str(error))
            await asyncio.sleep(chore.every_s)

    async def _resign(self) -> None:
        if self._leads.is_set():
            self._leads.clear()
            with suppress(Unavailable, StorageFull):  # its lease ends, or its death is seen
                await self._store.resign(self._worker)
