"""TaskManager: functions of an application as durable tasks. The one name that applications import.

@tasks.task(...) def f      await tasks.submit("f", ...) ─▶ record ─▶ engine: claim ─▶ run ─▶ settle ─▶ get_result
"""

import asyncio
import inspect
import os
import signal
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from morag.control.tasks.definitions import Nature, Registry, Terms, define
from morag.control.tasks.keeping import result_of
from morag.control.tasks.results import TaskResult, shown
from morag.control.tasks.schedules import schedule_of
from morag.domain.errors import NotFound
from morag.domain.history import Event
from morag.domain.task import Priority, Task, TaskState
from morag.tasks import namespaces
from morag.tasks.engine import Engine, Wishes, celery_app, open_engine
from morag.tasks.holding import HOLD_S, BackgroundTasks, Hold
from morag.tasks.inline import Inline
from morag.tasks.life import Life
from morag.tasks.submission import PriorityName, Ticket, new_task, priority_of

if TYPE_CHECKING:
    from celery import Celery  # pyright: ignore[reportMissingTypeStubs]
    from fastapi import APIRouter

P = ParamSpec("P")
R = TypeVar("R")

LOOP_SLOTS = 100
THREAD_SLOTS = 32
DRAIN_S = 10.0
LEASE_S = 30.0
SCHEDULE = "schedule"
"""Whose tasks those of schedules are."""
OPEN_STATES = tuple(state for state in TaskState if not state.is_terminal)


class TaskManager:
    """Registers functions, submits calls of them, and runs what was submitted, in this process.

    Everything is in one SQLite file in `data_dir`; several processes and applications may share it.
    """

    def __init__(
        self,
        namespace: str | None = None,
        *,
        data_dir: "str | os.PathLike[str] | None" = None,
        loop_slots: int = LOOP_SLOTS,
        thread_slots: int = THREAD_SLOTS,
        child_slots: int | None = None,
        child_memory_bytes: int | None = None,
        drain_s: float = DRAIN_S,
        lease_s: float = LEASE_S,
    ) -> None:
        """Nothing is opened yet.

        `namespace` defaults to the module that calls this, `data_dir` to MORAG_DATA_DIR, `child_slots` to the cores,
        `child_memory_bytes` to MORAG_CHILD_MEMORY_BYTES. `drain_s`: how long closing waits for what runs.
        `lease_s`: after how long the others take over from a process that hangs; from a dead one they do at once.
        """
        self.namespace = namespaces.checked(namespace or namespaces.of_caller(_caller()))
        self._registry = Registry()
        self._wishes = Wishes(
            namespace=self.namespace,
            data_dir=Path(data_dir) if data_dir is not None else None,
            slots={
                Nature.LOOP: loop_slots,
                Nature.THREAD: thread_slots,
                Nature.CHILD: child_slots or os.cpu_count() or 1,
            },
            child_memory_bytes=child_memory_bytes,
            drain_s=drain_s,
            lease_s=lease_s,
        )
        self._is_celery_worker = False
        self._life = Life(
            lambda: open_engine(self._wishes, self._registry, self._submit_due, is_celery_worker=self._is_celery_worker)
        )
        self._inline: Inline | None = None
        _managers.setdefault(self.namespace, self)

    def task(
        self,
        name: str | None = None,
        *,
        retries: int = 0,
        backoff_s: float = 1.0,
        timeout_s: float | None = None,
        heavy: bool = False,
        priority: Priority | PriorityName = Priority.NORMAL,
        trigger: str | None = None,
        every: float | None = None,
        cron: str | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Register the function below; it stays an ordinary function. Raises InvalidRequest, Conflict.

        `retries=n` is n + 1 attempts; the pause before the first retry is `backoff_s`, doubled each time, with jitter.
        `timeout_s`: running time of one attempt. `heavy`: run it in a child process. `trigger`: the path under
        /api/tasks/ that starts it. `every`: seconds between scheduled runs; `cron`: their times in UTC.
        """
        terms = Terms(
            name=name,
            retries=retries,
            backoff_s=backoff_s,
            timeout_s=timeout_s,
            heavy=heavy,
            priority=priority_of(priority),
            trigger=trigger,
            schedule=schedule_of(every, cron),
        )

        def register(function: Callable[P, R]) -> Callable[P, R]:
            self._registry.add(define(function, terms))
            return function

        return register

    async def submit(
        self,
        task: str | Callable[..., Any],
        /,
        *args: Any,
        background_tasks: BackgroundTasks | None = None,
        user_id: str | None = None,
        priority: Priority | PriorityName | None = None,
        delay: float = 0.0,
        deadline: float | None = None,
        idempotency_key: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Store a call of the task; its id, once it is durable. With `background_tasks` it starts after the response.

        `delay`: seconds before it may start. `deadline`: seconds it may wait for its start, and as many from then on.
        The same `idempotency_key` of a user gives the same task for a day. Raises InvalidRequest for an unknown name
        and for arguments that do not fit or are not JSON, IdempotencyConflict, StorageFull.
        """
        definition = self._registry.find(task)
        is_held = background_tasks is not None and delay <= 0 and self._inline is None
        ticket = Ticket(
            namespace=self.namespace,
            user_id=user_id,
            priority=priority,
            delay_s=HOLD_S if is_held else delay,
            deadline_s=deadline,
            idempotency_key=idempotency_key,
        )
        here = await self._here()
        new = await new_task(definition, args, kwargs, ticket, here.blobs)
        stored = await here.submit(new)
        if background_tasks is not None and is_held and stored.id == new.id:
            background_tasks.add_task(Hold(partial(here.store.hasten, stored.id)).end)
        return stored.id

    async def get_result(self, task_id: str) -> TaskResult | None:
        """How the task stands; None for an unknown id."""
        here = await self._here()
        task = await self._find(here, task_id)
        return await self._shown(here, task) if task else None

    async def cancel(self, task_id: str) -> bool:
        """Stop the task; True only if it will not complete.

        A function in a thread cannot be stopped: True then means that its result will be thrown away.
        """
        here = await self._here()
        task = await self._find(here, task_id)
        if task is None:
            return False
        return (await here.manager.cancel(task.user_id, task_id)).state is TaskState.CANCELLED

    async def wait(self, task_id: str, timeout: float | None = None) -> TaskResult:  # noqa: ASYNC109 - of the wait, not of the call
        """The result as soon as the task has ended. Raises TimeoutError after `timeout` seconds, and NotFound."""
        here = await self._here()
        limit_s = float("inf") if timeout is None else timeout
        ended = await here.manager.ended(task_id, lambda: self._at_first(here, task_id), timeout_s=limit_s)
        if not ended.state.is_terminal:
            raise TimeoutError(f"Task {task_id} is {ended.state} after {timeout:g} s.")
        return await self._shown(here, ended)

    async def events(self, task_id: str, *, after: int = 0) -> AsyncGenerator[Event]:
        """What happens to the task, from the beginning or after a sequence number to its end. Raises NotFound."""
        here = await self._here()
        task = await self._known(here, task_id)
        async for event in here.manager.follow(task.user_id, task_id, after=after):
            if event is not None:
                yield event

    async def trigger(self, trigger: str) -> str | None:
        """Submit the task registered with that trigger: its id, None if there is none."""
        found = self._registry.triggered(trigger)
        return await self.submit(found.name) if found else None

    def router(self, dependencies: Sequence[Any] = ()) -> "APIRouter":
        """Routes under /api/tasks for a FastAPI application: status, cancel, triggers. `dependencies` guard them."""
        from morag.tasks.router import router_of  # noqa: PLC0415 - FastAPI is loaded for those who ask for routes

        return router_of(self, dependencies)

    def celery_app(self) -> "Celery | None":
        """For `celery = tasks.celery_app()` in the module that `celery -A module:celery worker` names.

        None where CELERY_BROKER_URL is not set, so that the same module works without a broker, and without Celery.
        Raises StartupError.
        """
        return celery_app(self.namespace, self._attend, self.close)

    @contextmanager
    def inline(self) -> Generator[Self]:
        """For tests: until the block ends, what is submitted has run when `submit` returns, in memory."""
        before, self._inline = self._inline, Inline(self.namespace, self._registry)
        try:
            yield self
        finally:
            self._inline = before

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None]:
        """Open, and close at the end: `FastAPI(lifespan=tasks.lifespan)`."""
        del app
        async with self:
            yield

    def run(self) -> None:
        """Serve in a process of its own, until SIGINT or SIGTERM: `if __name__ == "__main__": tasks.run()`."""
        asyncio.run(self._serve())

    async def close(self) -> None:
        """Claim nothing more, let what runs end, give back what does not, and close the file."""
        await self._life.close()

    async def __aenter__(self) -> Self:
        """Open now instead of at the first use. Raises StartupError."""
        await self._here()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def _serve(self) -> None:
        told = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        async with self:
            await told.wait()

    async def _attend(self, namespace: str, lane: str, task_id: str) -> None:
        """In a Celery worker: answer a doorbell."""
        self._is_celery_worker = True
        await (await self._life.engine()).attend(namespace, lane, task_id)

    async def _here(self) -> Engine | Inline:
        return self._inline or await self._life.engine()

    async def _find(self, here: Engine | Inline, task_id: str) -> Task | None:
        task = await here.store.get(task_id)
        return task if task and task.namespace == self.namespace else None

    async def _at_first(self, here: Engine | Inline, task_id: str) -> Task:
        return here.manager.unchanged(task_id) or await self._known(here, task_id)

    async def _known(self, here: Engine | Inline, task_id: str) -> Task:
        task = await self._find(here, task_id)
        if task is None:
            raise NotFound(f"There is no task {task_id}.", hint="Ended tasks are kept for MORAG_RETENTION_DAYS.")
        return task

    @staticmethod
    async def _shown(here: Engine | Inline, task: Task) -> TaskResult:
        return shown(task, await result_of(task, here.blobs))

    async def _submit_due(self, name: str, tick: float) -> None:
        """Once in all processes; not while the one before is still at it."""
        store = (await self._life.engine()).store
        at_it = await store.find(user_id=SCHEDULE, name=name, states=OPEN_STATES)
        if not any(task.namespace == self.namespace for task in at_it):
            await self.submit(name, user_id=SCHEDULE, idempotency_key=f"{SCHEDULE}:{name}:{tick:.3f}")


_managers: dict[str, TaskManager] = {}


def get_task_manager(namespace: str | None = None) -> TaskManager:
    """The manager of this process: that of the namespace, or the first that was made; made now if there is none."""
    if namespace is not None:
        return _managers.get(namespace) or TaskManager(namespace)
    return next(iter(_managers.values()), None) or TaskManager(namespaces.of_caller(_caller()))


def _caller() -> FrameType | None:
    """The frame that called the function that calls this."""
    here = inspect.currentframe()
    return here.f_back.f_back if here and here.f_back else None
