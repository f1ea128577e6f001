"""Functions of an application in child processes: so that one that hangs, crashes or eats memory harms nothing else.

These are the application's own functions, trusted as it is: a child has its rights, its environment and its network
(hostile input is `worker.sandbox`'s business). One that answered waits a while for the next call, its modules loaded.
"""

import asyncio

from morag.control.tasks.children import Parking
from morag.control.tasks.context import Report
from morag.domain.failure import AttemptFailed, FailureType
from morag.worker.functions import failures
from morag.worker.functions.child import Child, Job
from morag.worker.sandbox import memory

IDLE_S = 60.0
"""How long a child waits for its next call."""


class Children:
    """The children of one process."""

    def __init__(self, *, memory_bytes: int) -> None:
        """Kill a child that, with all it started, holds more than `memory_bytes`."""
        self._memory_bytes = memory_bytes
        self._idle: list[Child] = []
        self._dying: set[asyncio.Task[None]] = set()

    async def run(self, job: Job, report: Report, *, timeout_s: float | None) -> bytes:
        """The result as JSON. Raises AttemptFailed for every other end, Parking for one that waits.

        When cancelled, the child is killed.
        """
        child = await self._take()
        try:
            text = await child.perform(job, report, timeout_s=timeout_s, memory_bytes=self._memory_bytes)
        except Parking:
            self._keep(child)
            raise
        except AttemptFailed as error:
            if child.has_answered and error.failure.type is not FailureType.RESOURCE_EXHAUSTION:
                self._keep(child)
            else:
                self._end(child)
            raise
        except BaseException:
            self._end(child)
            raise
        self._keep(child)
        return text

    async def close(self) -> None:
        """End them all."""
        while self._idle:
            self._end(self._idle.pop())
        if self._dying:
            await asyncio.wait(self._dying)

    async def _take(self) -> Child:
        while self._idle:
            child = self._idle.pop()
            child.is_wanted()
            if child.is_alive:
                return child
            self._end(child)
        try:
            return await Child.start()
        except OSError as error:
            raise AttemptFailed(failures.not_started(error)) from error

    def _keep(self, child: Child) -> None:
        """For the next call, unless something that it started goes on in it."""
        if not child.is_alive or len(memory.tree(child.pid)) > 1:
            self._end(child)
            return
        self._idle.append(child)
        child.expire_after(IDLE_S, self._expire)

    def _expire(self, child: Child) -> None:
        if child in self._idle:
            self._idle.remove(child)
            self._end(child)

    def _end(self, child: Child) -> None:
        child.kill()
        dying = asyncio.create_task(child.gone(), name=f"child {child.pid}")
        self._dying.add(dying)
        dying.add_done_callback(self._dying.discard)
