"""Acts on their way to an engine's threads and their results on the way back: `await jobs.put(act)`."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from morag.domain.errors import Unavailable
from morag.storage.sql.transaction import Act

T = TypeVar("T")


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One act, and what came of it."""

    act: Act[Any]
    is_read: bool
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    result: Any = None
    error: Exception | None = None

    def resolve(self) -> None:
        """Tell who waits. On its loop only."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Jobs:
    """A queue between event loops and threads: urgent jobs first, each kind in the order they came."""

    def __init__(self) -> None:
        self._urgent: deque[Job] = deque()
        self._queued: deque[Job] = deque()
        self._wake = threading.Condition()
        self._is_closing = False

    async def put(self, act: Act[T], *, is_urgent: bool = False, is_read: bool = False) -> T:
        """Queue an act; what came of it. Raises what it raised, and Unavailable after `close`."""
        loop = asyncio.get_running_loop()
        job = Job(act=act, is_read=is_read, future=loop.create_future(), loop=loop)
        with self._wake:
            if self._is_closing:
                raise Unavailable("The database is closed.")
            (self._urgent if is_urgent else self._queued).append(job)
            self._wake.notify()
        return cast("T", await job.future)

    def wait(self) -> bool:
        """Block until there is a job; False when there is none left and none will come."""
        with self._wake:
            self._wake.wait_for(lambda: self._urgent or self._queued or self._is_closing)
            return bool(self._urgent or self._queued)

    def take(self) -> Job | None:
        """The next job, if no other thread was quicker."""
        for jobs in (self._urgent, self._queued):
            with contextlib.suppress(IndexError):
                return jobs.popleft()
        return None

    def close(self) -> None:
        """Take no more; what is queued is still to be done."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()


def answer(jobs: Sequence[Job]) -> None:
    """Tell who waits for the jobs, each on its own loop. From any thread."""
    for loop in {job.loop for job in jobs}:
        mine = [job for job in jobs if job.loop is loop]
        # a closed loop has nobody left who waits
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve_all, mine)


def _resolve_all(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.resolve()
