"""Doorbells within one process; rung from any thread."""

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    rung: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        # a closed loop has nobody left who waits
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.rung.set)


class MemorySignals:
    """`control.ports.Signals` for one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lane_waiters: defaultdict[str, set[_Waiter]] = defaultdict(set)
        self._task_waiters: defaultdict[str, set[_Waiter]] = defaultdict(set)
        self._rung_lanes: set[str] = set()

    def lane(self, lane: str) -> None:
        """A lane may have work; remembered until someone waits for it."""
        with self._lock:
            waiters = list(self._lane_waiters.get(lane, ()))
            if not waiters:
                self._rung_lanes.add(lane)
        for waiter in waiters:
            waiter.wake()

    def task(self, task_id: str) -> None:
        """A task's record or log changed."""
        with self._lock:
            waiters = list(self._task_waiters.get(task_id, ()))
        for waiter in waiters:
            waiter.wake()

    async def wait_lane(self, lanes: Sequence[str], timeout_s: float) -> None:
        """Return when one of the lanes was rung since the last call for it, or after the time-out."""
        with self._lock:
            rung = self._rung_lanes.intersection(lanes)
            self._rung_lanes -= rung
        if not rung:
            await self._wait(self._lane_waiters, lanes, timeout_s)

    async def wait_task(self, task_id: str, timeout_s: float) -> None:
        """Return when the task changes after this call began, or after the time-out."""
        await self._wait(self._task_waiters, [task_id], timeout_s)

    async def _wait(self, waiters: defaultdict[str, set[_Waiter]], keys: Sequence[str], timeout_s: float) -> None:
        waiter = _Waiter(asyncio.get_running_loop())
        with self._lock:
            for key in keys:
                waiters[key].add(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiter.rung.wait(), timeout_s)
        finally:
            with self._lock:
                _forget(waiters, keys, waiter)


def _forget(waiters: defaultdict[str, set[_Waiter]], keys: Sequence[str], waiter: _Waiter) -> None:
    for key in keys:
        waiters[key].discard(waiter)
        if not waiters[key]:
            del waiters[key]
