"""HybridExecutor: heavy tasks by Celery while its broker answers; the rest, and then everything, in this process.

Which names the in-process doors leave to Celery is asked at each of their turns (`CeleryExecutor.serves`), so a broker
that goes away or comes back moves what waits, and what runs stays where it runs.
"""

import asyncio

from morag.control.tasks.executors.background import BackgroundTasksExecutor
from morag.control.tasks.executors.celery import CeleryExecutor
from morag.domain.task import Routing


class HybridExecutor:
    """Both at once (`control.ports.Executor`)."""

    def __init__(self, background: BackgroundTasksExecutor, celery: CeleryExecutor) -> None:
        """`background` must offer nothing that `celery` serves."""
        self._background = background
        self._celery = celery

    def route(self, name: str) -> Routing:
        """Where a task submitted now goes, and why."""
        if name not in self._celery.names:
            return Routing(reason="light: in process")
        if self._celery.is_up:
            return Routing(reason="heavy: by Celery")
        return Routing(reason="heavy, but the broker does not answer: in process")

    async def serve(self) -> None:
        """Run what is ours and ring for what is not, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._background.serve())
            group.create_task(self._celery.serve())

    async def check(self) -> None:
        """Ask about every lease held in this process."""
        await self._background.check()

    async def drain(self, timeout_s: float) -> None:
        """Claim and ring no more, and return when what runs here has ended, or after the time-out."""
        await self._celery.drain(timeout_s)
        await self._background.drain(timeout_s)
