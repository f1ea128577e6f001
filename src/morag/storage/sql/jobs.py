"""Acts on their way to an engine's threads and their results on the way back: `await jobs.put(act)`."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from morag.control.ports import Sound
from morag.domain.errors import Unavailable
from morag.storage.sql.transaction import Act

T = TypeVar("T")


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One act, and what came of it."""

    act: Act[Any]
    is_read: bool
    rung: frozenset[str]
    """Lanes that were rung when it was queued."""
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

    def __init__(self, *, is_gathered: bool = False, ring: Callable[[str], object] = str) -> None:
        """`is_gathered`: wake the one thread when an event loop has put all it has, instead of at each act.

        `ring` tells the doors of a lane that an act was queued which brings them work.
        """
        self._ring = ring
        self._urgent: deque[Job] = deque()
        self._queued: deque[Job] = deque()
        self._wake = threading.Condition()
        self._is_gathered = is_gathered
        self._gathering: set[asyncio.AbstractEventLoop] = set()
        self._is_called = False
        self._is_closing = False

    async def put(
        self,
        act: Act[T],
        *,
        is_urgent: bool = False,
        is_read: bool = False,
        lanes: frozenset[str] = frozenset(),
    ) -> T:
        """Queue an act, then ring the lanes; what came of it. Raises what it raised, and Unavailable after `close`."""
        loop = asyncio.get_running_loop()
        job = Job(act=act, is_read=is_read, rung=lanes, future=loop.create_future(), loop=loop)
        with self._wake:
            if self._is_closing:
                raise Unavailable("The database is closed.")
            (self._urgent if is_urgent else self._queued).append(job)
        for lane in lanes:
            self._ring(lane)
        with self._wake:
            self._call(loop)
        return cast("T", await job.future)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until there is a job, at most so long; False when there is none left and none will come."""
        with self._wake:
            if not self._wake.wait_for(self._has_news, timeout_s):
                self._gathering.clear()  # a loop that is blocked, or ended, must not hold up the others
            self._is_called = False
            return self.is_any or not self._is_closing

    @property
    def is_any(self) -> bool:
        """Whether a job waits now."""
        return bool(self._urgent or self._queued)

    def take(self) -> Job | None:
        """The next job, if there is one and no other thread was quicker."""
        try:
            return (self._urgent or self._queued).popleft()
        except IndexError:
            return None

    def take_share(self, among: int) -> list[Job]:
        """The next jobs, about as many as leaves each of so many threads the same."""
        n = max(1, (len(self._urgent) + len(self._queued)) // among)
        return [job for _ in range(n) if (job := self.take())]

    def close(self) -> None:
        """Take no more; what is queued is still to be done."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()

    def _has_news(self) -> bool:
        return self._is_closing or (self.is_any and (self._is_called or not self._is_gathered))

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_gathered:
            self._wake.notify()
        elif loop not in self._gathering:
            self._gathering.add(loop)
            # two turns of the loop later: until then those whom the same news woke ask for what belongs to it
            loop.call_soon(loop.call_soon, self._gathered, loop)

    def _gathered(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._wake:
            self._gathering.discard(loop)
            self._is_called = True
            self._wake.notify()


def answer(jobs: Sequence[Job], sounds: Mapping[asyncio.AbstractEventLoop, Sound] | None = None) -> None:
    """Tell who waits for the jobs, each on its own loop, once what is to `sound` there has rung. From any thread.

    Each loop is woken once, for all of it: a second time would have to wait until that loop lets go of the interpreter.
    """
    sounds = sounds or {}
    for loop in {*sounds, *(job.loop for job in jobs)}:
        mine = [job for job in jobs if job.loop is loop]
        # a closed loop has nobody left who waits
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver, mine, sounds.get(loop))


def _deliver(jobs: Sequence[Job], sound: Sound | None) -> None:
    if sound:
        sound()
    for job in jobs:
        job.resolve()
