"""What every executor behind `control.ports.Executor` promises, on a real file: in process, by Celery, and both.

Celery's broker is a list here and its worker a loop of this process; the real ones are in integration/test_celery.py.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from morag.control.ports import Executor
from morag.control.tasks.context import TaskContext
from morag.control.tasks.definitions import Registry, Terms, define
from morag.control.tasks.executors.background import BackgroundTasksExecutor, Door
from morag.control.tasks.executors.celery import CeleryExecutor, Ring
from morag.control.tasks.executors.hybrid import HybridExecutor
from morag.control.tasks.intake import new_id
from morag.control.tasks.manager import TaskManager
from morag.control.tasks.supervisor import Supervisor
from morag.domain.identity import LOCAL_LANE
from morag.domain.task import Budget, NewTask, Offers, Priority, Task, TaskState
from morag.storage.host import SystemClock, this_worker
from morag.storage.memory.blobs import MemoryBlobStore
from morag.storage.signals import LocalSignals
from morag.storage.sql.database import Database, open_database
from morag.worker.functions.runner import FunctionRunner

NAMESPACE = "test"
LIGHT = "light"


class ListBroker:
    """Doorbells in a list (`executors.celery.Broker`)."""

    def __init__(self) -> None:
        self.rings: deque[Ring] = deque()

    def waiting(self) -> int:
        return len(self.rings)

    def ring(self, rings: Sequence[Ring]) -> None:
        self.rings.extend(rings)

    def close(self) -> None:
        self.rings.clear()


@dataclass
class Application:
    """Its functions, and what they left behind."""

    registry: Registry = field(default_factory=Registry)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    order: list[Any] = field(default_factory=list[Any])

    def __post_init__(self) -> None:
        for function in (self.echo, self.flaky, self.hang, self.tell):
            self.registry.add(define(function, Terms(retries=2, backoff_s=0.02)))
        self.registry.add(define(self.echo, Terms(name=LIGHT)))

    async def echo(self, value: Any = None) -> Any:
        self.order.append(value)
        return value

    async def flaky(self, ctx: TaskContext) -> int:
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return ctx.attempt

    async def hang(self) -> str:
        self.began.set()
        try:
            await self.may_end.wait()
        finally:
            self.stopped.set()
        return "ended"

    async def tell(self, ctx: TaskContext) -> None:
        ctx.progress(0.5, "halfway", "half of it")
        await self.may_end.wait()


@dataclass
class Bench:
    app: Application
    manager: TaskManager
    executor: Executor

    async def submit(self, name: str, *args: Any, **fields: Any) -> Task:
        call: dict[str, Any] = {"args": list(args), "kwargs": {}}
        new = NewTask(id=new_id(), namespace=NAMESPACE, name=name, user_id="u", args=call, **fields)
        return (await self.manager.submit([new]))[0]

    async def ended(self, task: Task) -> Task:
        return await self.manager.wait("u", task.id, timeout_s=20)

    async def done(self, name: str, *args: Any, **fields: Any) -> Task:
        return await self.ended(await self.submit(name, *args, **fields))


Running = Callable[..., Any]


@pytest.fixture(params=["background", "celery", "hybrid"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Running:
    """An executor of one kind, serving the one file until the block ends; in hybrid all but `light` are heavy."""

    @asynccontextmanager
    async def serve(app: Application, *, slots: int = 4) -> AsyncGenerator[Bench]:
        signals = LocalSignals()
        async with AsyncExitStack() as stack:
            database = await open_database(tmp_path / "morag.db", clock=SystemClock(), signals=signals)
            stack.push_async_callback(database.close)
            rig = Rig(app, database, signals, slots)
            executor = rig.executor(request.param)
            bench = Bench(app, TaskManager(database.tasks, signals, on_cancel=executor.check), executor)
            supervisor = Supervisor(database.tasks, rig.worker, [])
            for loop in (executor.serve, supervisor.serve, rig.celery_worker):
                await stack.enter_async_context(kept(loop))
            yield bench

    return serve


@asynccontextmanager
async def kept(serve: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    task = asyncio.ensure_future(serve())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Rig:
    """The parts an executor is made of."""

    def __init__(self, app: Application, database: Database, signals: LocalSignals, slots: int) -> None:
        self._store, self._signals, self._slots = database.tasks, signals, slots
        blobs = MemoryBlobStore()

        async def kept_blobs() -> MemoryBlobStore:
            return blobs

        self._run = FunctionRunner(app.registry, kept_blobs, children=None, kin=self._store.children).run
        self._names = frozenset(each.name for each in app.registry)
        self._broker = ListBroker()
        self._theirs = self._local([])
        self.worker = this_worker("test")

    def executor(self, kind: str) -> Executor:
        if kind == "background":
            return self._local([self._door(self._names)])
        if kind == "celery":
            return self._ringing(self._names)
        return HybridExecutor(self._local([self._door({LIGHT})]), self._ringing(self._names - {LIGHT}))

    async def celery_worker(self) -> None:
        """As `tasks.engine` sets one up: it claims for each message, and asks now and then what was cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._theirs.serve())
            for _ in range(self._slots):
                group.create_task(self._answer())
            while True:
                await self._theirs.check()
                await asyncio.sleep(0.05)

    async def _answer(self) -> None:
        while True:
            if self._broker.rings:
                self._broker.rings.popleft()
                await self._theirs.run_next(self._door(self._names))
            await asyncio.sleep(0.01)

    def _local(self, doors: Sequence[Door]) -> BackgroundTasksExecutor:
        return BackgroundTasksExecutor(
            self._store, self._signals, self._run, worker=this_worker("test"), doors=doors, lease_s=5.0
        )

    def _door(self, names: frozenset[str] | set[str]) -> Door:
        offers = Offers(namespace=NAMESPACE, names=frozenset(names))
        return Door(lanes=(LOCAL_LANE,), offers=offers, slots=self._slots)

    def _ringing(self, names: frozenset[str]) -> CeleryExecutor:
        offers = Offers(namespace=NAMESPACE, names=names)
        return CeleryExecutor(
            self._store, self._signals, self._broker, lane=LOCAL_LANE, offers=lambda: offers, meanwhile="they wait"
        )


async def test_a_submitted_task_runs_and_its_result_is_any_json(running: Running) -> None:
    values = [None, True, 1.5, "text", [1, [2]], {"a": {"b": None}}]
    async with running(Application()) as bench:
        tasks = [await bench.done(name, value) for name in ("echo", LIGHT) for value in values]
    assert [task.result for task in tasks] == values * 2
    assert {(task.state, task.attempt) for task in tasks} == {(TaskState.COMPLETED, 1)}


async def test_what_failed_runs_again_after_its_backoff(running: Running) -> None:
    async with running(Application()) as bench:
        task = await bench.done("flaky", budget=Budget(processing=3))
        story = await bench.manager.story("u", task.id)
    assert (task.state, task.result) == (TaskState.COMPLETED, 3)
    assert [attempt.outcome for attempt in story.attempts] == ["retried", "retried", "completed"]


async def test_cancel_stops_a_running_task(running: Running) -> None:
    app = Application()
    async with running(app) as bench:
        task = await bench.submit("hang")
        await asyncio.wait_for(app.began.wait(), 10)
        await bench.manager.cancel("u", task.id)
        await asyncio.wait_for(app.stopped.wait(), 2)
        assert (await bench.manager.get("u", task.id)).state is TaskState.CANCELLED


async def test_of_one_users_tasks_the_urgent_ones_come_first(running: Running) -> None:
    app = Application()
    async with running(app, slots=1) as bench:
        blocking = await bench.submit("hang")
        await asyncio.wait_for(app.began.wait(), 10)
        queued = [
            await bench.submit("echo", priority.name, priority=priority)
            for priority in (Priority.BATCH, Priority.NORMAL, Priority.URGENT)
        ]
        app.may_end.set()
        for task in [blocking, *queued]:
            await bench.ended(task)
    assert app.order == ["URGENT", "NORMAL", "BATCH"]


async def test_a_delayed_task_starts_when_its_time_has_come(running: Running) -> None:
    async with running(Application()) as bench:
        task = await bench.done("echo", delay_s=0.3)
    assert task.started_at is not None
    assert 0.3 <= task.started_at - task.created_at < 5


async def test_progress_is_seen_while_it_runs(running: Running) -> None:
    app = Application()
    async with running(app) as bench:
        task = await bench.submit("tell")
        async with asyncio.timeout(10):
            async for event in bench.manager.follow("u", task.id):
                if event and event.kind == "progress":
                    assert (event.data["fraction"], event.data["message"]) == (0.5, "half of it")
                    app.may_end.set()
        assert (await bench.ended(task)).state is TaskState.COMPLETED


async def test_what_ran_when_all_stopped_runs_after_the_restart_and_is_not_charged(running: Running) -> None:
    app = Application()
    async with running(app) as bench:
        task = await bench.submit("hang")
        await asyncio.wait_for(app.began.wait(), 10)
    app.may_end.set()
    async with running(app) as bench:
        again = await bench.ended(task)
    assert (again.state, again.result) == (TaskState.COMPLETED, "ended")
    assert (again.processing_failures, again.infrastructure_losses) == (0, 0)


async def test_a_drained_executor_starts_nothing_new(running: Running) -> None:
    app = Application()
    async with running(app) as bench:
        assert (await bench.done("echo", 1)).result == 1
        await bench.executor.drain(1.0)
        left = [await bench.submit("echo", 2), await bench.submit(LIGHT, 2)]
    assert app.order == [1]
    async with running(app) as bench:
        assert [(await bench.ended(task)).result for task in left] == [2, 2]
