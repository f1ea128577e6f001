"""TaskManager: the one way in to the record, for the API, the CLI's server and (later) applications.

Everything here names a user; another user's task is a task that does not exist.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from morag.control.ports import Signals, TaskStore
from morag.control.tasks.timers import ring_when_due
from morag.domain.errors import NotFound
from morag.domain.history import Attempt, Event
from morag.domain.task import NewTask, Task, TaskState

FRESH_S = 0.05
"""How long a record that was just stored is taken as unchanged while nothing rings: as long as others go unheard."""
PULSE_S = 1.0
"""How long a follower sleeps at most when a doorbell got lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A task with all that happened to it."""

    task: Task
    attempts: Sequence[Attempt]
    children: Sequence[Task]
    position: int | None
    """Tasks before it in its lane; None once it runs."""


class TaskManager:
    """Submit, follow, wait for and cancel tasks of a user."""

    def __init__(self, store: TaskStore, signals: Signals, *, on_cancel: Callable[[], Awaitable[None]]) -> None:
        """Work on `store`; `on_cancel` lets the workers of this process look at their leases at once."""
        self._store = store
        self._signals = signals
        self._on_cancel = on_cancel
        self._latest: tuple[Task, int, float] | None = None
        """The record stored last, how many changes had been rung by then, and when that was."""

    async def submit(self, tasks: Sequence[NewTask]) -> list[Task]:
        """Store all of the tasks or none; durable when it returns. Raises IdempotencyConflict, DocumentExists."""
        stored = await self._store.submit(tasks)
        for new in tasks:
            ring_when_due(self._signals, new.routing.lane, new.delay_s)
        if stored:
            self._latest = stored[-1], self._signals.changes, time.monotonic()
        return stored

    def unchanged(self, task_id: str) -> Task | None:
        """The record as `submit` gave it just now, if nothing was rung since: told once, and whoever's task it is.

        Who listens to the task already need not read it then.
        """
        latest, self._latest = self._latest, None
        if latest is None:
            return None
        task, changes, at = latest
        is_fresh = changes == self._signals.changes and time.monotonic() - at < FRESH_S
        return task if task.id == task_id and is_fresh else None

    async def get(self, user_id: str, task_id: str) -> Task:
        """The record. Raises NotFound."""
        task = await self._store.get(task_id, user_id=user_id)
        if task is None:
            raise NotFound(f"There is no task {task_id}.", hint="`GET /api/v1/status/` lists your tasks.")
        return task

    async def story(self, user_id: str, task_id: str) -> Story:
        """The record, its attempts, children and place in the lane. Raises NotFound."""
        task = await self.get(user_id, task_id)
        return Story(
            task=task,
            attempts=await self._store.attempts(task_id),
            children=await self._store.children(task_id),
            position=await self._store.position(task_id),
        )

    async def find(
        self,
        user_id: str,
        *,
        states: Sequence[TaskState] = (),
        name: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Task]:
        """The user's tasks that no other task asked for, newest first; go on with the last id as `before`."""
        return await self._store.find(user_id=user_id, states=states, name=name, limit=limit, before=before)

    async def history(self, user_id: str, task_id: str, *, after: int = 0) -> list[Event]:
        """The whole log after a sequence number. Raises NotFound."""
        await self.get(user_id, task_id)
        log: list[Event] = []
        while page := await self._store.events(task_id, after=log[-1].seq if log else after):
            log += page
        return log

    async def follow(self, user_id: str, task_id: str, *, after: int = 0) -> AsyncGenerator[Event | None]:
        """The log as it grows, None at each pause; ends after the terminal event. Raises NotFound."""
        with self._signals.hear_task(task_id) as bell:
            while True:
                task = await self.get(user_id, task_id)
                while page := await self._store.events(task_id, after=after):
                    for event in page:
                        after = event.seq
                        yield event
                if task.state.is_terminal:
                    return
                await bell.wait(PULSE_S)
                yield None

    async def wait(self, user_id: str, task_id: str, *, timeout_s: float) -> Task:
        """The record as soon as the task has ended, or as it stands after `timeout_s`. Raises NotFound."""
        return await self.ended(task_id, lambda: self.get(user_id, task_id), timeout_s=timeout_s)

    async def ended(self, task_id: str, look: Callable[[], Awaitable[Task]], *, timeout_s: float) -> Task:
        """The same by a `look` of the caller's own, which raises what there is to raise."""
        until = time.monotonic() + timeout_s
        with self._signals.hear_task(task_id) as bell:
            while True:
                task = bell.ended or await look()
                left_s = until - time.monotonic()
                if task.state.is_terminal or left_s <= 0:
                    return task
                await bell.wait(min(PULSE_S, left_s))

    async def cancel(self, user_id: str, task_id: str) -> Task:
        """End the task and its children unless it has ended; the record afterwards. Raises NotFound."""
        task = await self._store.cancel(task_id, user_id=user_id)
        if task is None:
            raise NotFound(f"There is no task {task_id}.", hint="`GET /api/v1/status/` lists your tasks.")
        await self._on_cancel()
        return task
