"""Doorbells within one process."""

import asyncio
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from threading import Lock


class _Bell:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rung = asyncio.Event()

    def ring(self) -> None:
        # a closed loop has nobody left who waits
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self, timeout_s: float) -> None:
        """Return when it was rung since the last return, or after the time-out."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return
        self._rung.clear()


class LocalSignals:
    """Rings the listeners of this process, on whichever event loop each of them lives."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lanes: defaultdict[str, set[_Bell]] = defaultdict(set)
        self._tasks: defaultdict[str, set[_Bell]] = defaultdict(set)

    def lane(self, lane: str) -> None:
        """A lane may have work. Callable from any thread."""
        self._ring(self._lanes, lane)

    def task(self, task_id: str) -> None:
        """A task's record or log changed. Callable from any thread."""
        self._ring(self._tasks, task_id)

    @contextmanager
    def hear_lanes(self, lanes: Sequence[str]) -> Generator[_Bell]:
        """A bell that rings with any of the lanes; open it on the loop that waits."""
        with self._hung(self._lanes, lanes) as bell:
            yield bell

    @contextmanager
    def hear_task(self, task_id: str) -> Generator[_Bell]:
        """A bell that rings with the task; open it on the loop that waits."""
        with self._hung(self._tasks, [task_id]) as bell:
            yield bell

    def _ring(self, bells: defaultdict[str, set[_Bell]], key: str) -> None:
        with self._lock:
            listeners = tuple(bells.get(key, ()))
        for bell in listeners:
            bell.ring()

    @contextmanager
    def _hung(self, bells: defaultdict[str, set[_Bell]], keys: Sequence[str]) -> Generator[_Bell]:
        bell = _Bell(asyncio.get_running_loop())
        with self._lock:
            for key in keys:
                bells[key].add(bell)
        try:
            yield bell
        finally:
            with self._lock:
                for key in keys:
                    bells[key].discard(bell)
                    if not bells[key]:
                        del bells[key]
