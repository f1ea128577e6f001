"""Functions of an application in child processes: so that one that hangs, crashes or eats memory harms nothing else.

These are the application's own functions, trusted as it is: a child has its rights, its environment and its network
(hostile input is `worker.sandbox`'s business). One that answered waits a while for the next call, its modules loaded.
While any works, one more waits: what a killed one ran goes on there at once, for a start takes longer than all else.
"""

import asyncio
from collections.abc import Sequence

from morag.control.tasks.children import Parking
from morag.control.tasks.context import Report
from morag.domain.failure import AttemptFailed, FailureType
from morag.telemetry import log
from morag.worker.functions import failures
from morag.worker.functions.child import Child, Job, Limits
from morag.worker.sandbox import memory

IDLE_S = 60.0
"""How long a child waits for its next call."""


class Children:
    """The children of one process."""

    def __init__(self, *, memory_bytes: int, ahead: Sequence[str] = ()) -> None:
        """Kill a child that, with all it started, holds more than `memory_bytes`.

        The modules `ahead` are loaded as a child starts: what every application's own module imports.
        """
        self._memory_bytes = memory_bytes
        self._ahead = ahead
        self._idle: list[Child] = []
        """The last is taken first; so one that was started as the spare stays fresh for as long as it can."""
        self._busy = 0
        self._sparing: asyncio.Task[None] | None = None
        self._is_closed = False
        self._dying: set[asyncio.Task[None]] = set()

    async def run(self, job: Job, report: Report, *, timeout_s: float | None) -> bytes:
        """The result as JSON. Raises AttemptFailed for every other end, Parking for one that waits.

        When cancelled, the child is killed.
        """
        self._busy += 1
        try:
            return await self._run(job, report, timeout_s)
        finally:
            self._busy -= 1

    async def close(self) -> None:
        """End them all."""
        self._is_closed = True
        if self._sparing:
            await asyncio.wait({self._sparing})
        while self._idle:
            self._end(self._idle.pop())
        if self._dying:
            await asyncio.wait(self._dying)

    async def _run(self, job: Job, report: Report, timeout_s: float | None) -> bytes:
        child = await self._take()
        limits = Limits(timeout_s=timeout_s, memory_bytes=self._memory_bytes, on_start=self._spare)
        try:
            text = await child.perform(job, report, limits)
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

    async def _take(self) -> Child:
        while self._idle:
            child = self._idle.pop()
            child.is_wanted()
            if child.is_alive:
                return child
            self._end(child)
        try:
            return await Child.start(self._ahead)
        except OSError as error:
            raise AttemptFailed(failures.not_started(error)) from error

    def _spare(self) -> None:
        """A function has started: let a child wait, unless one does."""
        if not self._idle and self._sparing is None and not self._is_closed:
            self._sparing = asyncio.create_task(self._start_spare(), name="spare child")

    async def _start_spare(self) -> None:
        try:
            child = await Child.start(self._ahead)
        except OSError as error:
            log.warning("no_spare_child", error=str(error), hint="A heavy task whose process is killed waits longer.")
        else:
            self._idle.insert(0, child)
            child.expire_after(IDLE_S, self._expire)
        finally:
            self._sparing = None

    def _keep(self, child: Child) -> None:
        """For the next call, unless something that it started goes on in it."""
        if not child.is_alive or len(memory.tree(child.pid)) > 1:
            self._end(child)
            return
        self._idle.append(child)
        child.expire_after(IDLE_S, self._expire)

    def _expire(self, child: Child) -> None:
        if self._busy and self._idle == [child] and child.is_alive:
            child.expire_after(IDLE_S, self._expire)
        elif child in self._idle:
            self._idle.remove(child)
            self._end(child)

    def _end(self, child: Child) -> None:
        child.kill()
        dying = asyncio.create_task(child.gone(), name=f"child {child.pid}")
        self._dying.add(dying)
        dying.add_done_callback(self._dying.discard)
