"""Doorbells within one process: commits ring them from the database's threads, whoever waits hears them on its loop."""

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from weakref import WeakValueDictionary

from morag.domain.task import Task


class _Bell:
    """One listener, on one event loop."""

    __slots__ = ("_is_rung", "_waiter", "ended", "loop", "tower")

    def __init__(self, loop: asyncio.AbstractEventLoop, tower: "_Tower") -> None:
        self.tower = tower
        self.ended: Task | None = None
        """The record of the task listened to, if whoever rang knew that it has ended."""
        self.loop = loop
        self._is_rung = False
        self._waiter: asyncio.Future[None] | None = None

    def sound(self, ended: Task | None = None) -> None:
        """Let the listener go on. On its loop only."""
        self._is_rung = True
        self.ended = ended or self.ended
        self._end_wait()

    async def wait(self, timeout_s: float) -> bool:
        """Return True when it was rung since the last return, False after the time-out."""
        if not self._is_rung:
            self._waiter = self.loop.create_future()
            timer = self.loop.call_later(timeout_s, self._end_wait)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        was_rung, self._is_rung = self._is_rung, False
        return was_rung

    def _end_wait(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Tower:
    """The bells of one event loop: however many are rung from elsewhere, the loop is woken once."""

    __slots__ = ("__weakref__", "_is_called", "_loop", "_rung", "_thread_id")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._rung: deque[_Bell] = deque()
        self._is_called = False

    def ring(self, bell: _Bell) -> None:
        if threading.get_ident() == self._thread_id:
            bell.sound()
            return
        # first the bell, then the flag: `_sound_all` lowers the flag before it looks for bells
        self._rung.append(bell)
        if not self._is_called:
            self._is_called = True
            # a closed loop has nobody left who waits
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._sound_all)

    def _sound_all(self) -> None:
        self._is_called = False
        while self._rung:
            self._rung.popleft().sound()


def _sound(bells: Sequence[tuple[_Bell, Task | None]]) -> None:
    for bell, ended in bells:
        bell.sound(ended)


class LocalSignals:
    """Rings the listeners of this process, on whichever event loop each of them lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._towers: WeakValueDictionary[asyncio.AbstractEventLoop, _Tower] = WeakValueDictionary()
        """Kept by their bells."""
        self.changes = 0
        """How many changes of tasks were rung so far; the same number twice: none between."""
        self._lanes: dict[str, tuple[_Bell, ...]] = {}
        self._tasks: dict[str, tuple[_Bell, ...]] = {}

    def lane(self, lane: str) -> None:
        """A lane may have work. Callable from any thread."""
        for bell in self._lanes.get(lane, ()):
            bell.tower.ring(bell)

    def task(self, task_id: str) -> None:
        """A task's record or log changed. Callable from any thread."""
        self.changes += 1
        for bell in self._tasks.get(task_id, ()):
            bell.tower.ring(bell)

    def sounds(
        self, lanes: Iterable[str], tasks: Mapping[str, Task | None]
    ) -> dict[asyncio.AbstractEventLoop, Callable[[], None]]:
        """What rings those lanes and tasks, by the event loop it is to be called on. Callable from any thread.

        `tasks` gives the record of each that is known to have ended.
        """
        self.changes += len(tasks)
        found: defaultdict[asyncio.AbstractEventLoop, list[tuple[_Bell, Task | None]]] = defaultdict(list)
        for lane in lanes:
            for bell in self._lanes.get(lane, ()):
                found[bell.loop].append((bell, None))
        for task_id, ended in tasks.items():
            for bell in self._tasks.get(task_id, ()):
                found[bell.loop].append((bell, ended))
        return {loop: partial(_sound, bells) for loop, bells in found.items()}

    def heard(self, task_ids: Iterable[str]) -> list[str]:
        """Those of the tasks that somebody listens to now. Callable from any thread."""
        return [task_id for task_id in task_ids if task_id in self._tasks]

    def everything(self) -> None:
        """Any lane may have work, any task may have changed. Callable from any thread."""
        self.changes += 1
        with self._lock:
            bells = {bell for hung in (self._lanes, self._tasks) for some in hung.values() for bell in some}
        for bell in bells:
            bell.tower.ring(bell)

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

    @contextmanager
    def _hung(self, bells: dict[str, tuple[_Bell, ...]], keys: Sequence[str]) -> Generator[_Bell]:
        loop = asyncio.get_running_loop()
        with self._lock:
            tower = self._towers.get(loop) or self._towers.setdefault(loop, _Tower(loop))
            bell = _Bell(loop, tower)
            for key in keys:
                bells[key] = (*bells.get(key, ()), bell)
        try:
            yield bell
        finally:
            with self._lock:
                for key in keys:
                    left = tuple(each for each in bells[key] if each is not bell)
                    if left:
                        bells[key] = left
                    else:
                        del bells[key]
