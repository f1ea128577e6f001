"""CeleryExecutor: leaves tasks to Celery's workers, and rings for them. It claims nothing itself.

ready in the record ─▶ look (a doorbell, or a pulse) ─▶ message ─▶ broker ─▶ a worker claims from the record

A message is a doorbell: it says that there is work, not which. So what matters is only that as many wait in the
broker's queue as tasks are ready. Each look counts both and rings for what is missing: for a task just submitted, one
given back, and a message the broker lost are all the same to it, and a queue that nobody empties does not grow.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from morag.control.ports import Signals, TaskStore
from morag.domain.errors import MoragError, StorageFull, Unavailable
from morag.domain.task import Offers, Routing
from morag.telemetry import log

PULSE_S = 1.0
"""How long between two looks at most: finds what other processes submitted, and whether the broker still answers."""
DOWN_S = 2.0
"""How long a broker that does not answer is left alone."""
AT_ONCE = 1000
"""Doorbells that wait at once at most."""
PATIENCE_S = 60.0
"""A task that nobody claims for longer is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """All that a message carries."""

    namespace: str
    lane: str
    task_id: str
    """A hint: whoever answers claims the lane's fairest task."""


class Broker(Protocol):
    """Where doorbells wait. Called by one thread at a time; a call may block for some seconds. Raises Unavailable."""

    def waiting(self) -> int:
        """How many wait there."""
        ...

    def ring(self, rings: Sequence[Ring]) -> None:
        """Add some."""
        ...

    def close(self) -> None:
        """Take leave of it."""
        ...


class CeleryExecutor:
    """Rings for ready tasks of some names until cancelled (`control.ports.Executor`)."""

    def __init__(
        self,
        store: TaskStore,
        signals: Signals,
        broker: Broker,
        *,
        lane: str,
        offers: Callable[[], Offers],
        meanwhile: str,
    ) -> None:
        """Ring for what `offers` names in `lane`; `meanwhile` tells what is done while the broker is down."""
        self._store = store
        self._signals = signals
        self._broker = broker
        self._lane = lane
        self._offers = offers
        self._meanwhile = meanwhile
        self._is_draining = False
        self._ready_since: dict[tuple[str, int], float] = {}
        self._has_complained = False
        self.is_up = True
        """Whether the broker answered when last asked."""

    @property
    def names(self) -> frozenset[str]:
        """The tasks that are Celery's."""
        return self._offers().names or frozenset()

    @property
    def serves(self) -> frozenset[str]:
        """Those that are left to Celery now: none while its broker does not answer."""
        return self.names if self.is_up else frozenset()

    def route(self, _name: str) -> Routing:
        """Where a task submitted now goes, and why."""
        reason = "by Celery" if self.is_up else "by Celery, as soon as its broker answers"
        return Routing(lane=self._lane, reason=reason)

    async def serve(self) -> None:
        """Ring until cancelled."""
        try:
            with self._signals.hear_lanes([self._lane]) as bell:
                while True:
                    await self.look()
                    await (bell.wait(PULSE_S) if self.is_up else asyncio.sleep(DOWN_S))
        finally:
            self._broker.close()

    async def check(self) -> None:
        """Nothing to ask about: leases are the workers', whose own look tells them of a cancel within a second."""

    async def drain(self, timeout_s: float) -> None:
        """Ring no more; nothing runs here that would have to end within `timeout_s`."""
        del timeout_s
        self._is_draining = True

    async def look(self) -> None:
        """Ring for the ready tasks that no doorbell waits for, and so find out whether the broker answers."""
        if self._is_draining:
            return
        try:
            ready = await self._store.ready(self._lane, self._offers(), limit=AT_ONCE)
        except (Unavailable, StorageFull) as error:
            log.warning("look_failed", error=error.message)
            return
        try:
            await asyncio.to_thread(self._ring, [task_id for task_id, _ in ready])
        except Unavailable as error:
            self._down(error)
        else:
            self._up()
            self._note_waiting(ready)

    def _ring(self, ready: Sequence[str]) -> None:
        missing = len(ready) - self._broker.waiting()
        if missing > 0:
            namespace = self._offers().namespace
            self._broker.ring([Ring(namespace=namespace, lane=self._lane, task_id=each) for each in ready[:missing]])

    def _down(self, error: MoragError) -> None:
        self._ready_since.clear()
        if self.is_up:
            log.warning("celery_broker_down", error=error.message, meanwhile=self._meanwhile)
            self.is_up = False
            self._signals.lane(self._lane)  # what was left to Celery may be wanted here

    def _up(self) -> None:
        if not self.is_up:
            log.warning("celery_broker_back")
            self.is_up = True

    def _note_waiting(self, ready: Sequence[tuple[str, int]]) -> None:
        """Say once that tasks were rung for and nobody comes."""
        now = asyncio.get_running_loop().time()
        self._ready_since = {each: self._ready_since.get(each, now) for each in ready}
        is_late = any(now - since > PATIENCE_S for since in self._ready_since.values())
        if is_late and not self._has_complained:
            log.warning(
                "celery_tasks_wait",
                waiting=len(ready),
                longer_than_s=PATIENCE_S,
                hint="No Celery worker is free, or none is there: start one, with the environment of this process.",
            )
        self._has_complained = is_late
