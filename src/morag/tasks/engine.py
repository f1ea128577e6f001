"""What runs behind a TaskManager: composition root of the library, as `bootstrap` is that of the server.

Apart from it because a server's parts (converters, index, embedder) must not be loaded for tasks alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from morag.control.ports import BlobStore, Executor, Signals, TaskStore
from morag.control.tasks.definitions import Nature, Registry
from morag.control.tasks.executors.background import BackgroundTasksExecutor, Door
from morag.control.tasks.executors.celery import Broker, CeleryExecutor
from morag.control.tasks.executors.hybrid import HybridExecutor
from morag.control.tasks.loops import Loops
from morag.control.tasks.manager import TaskManager
from morag.control.tasks.schedules import Scheduler
from morag.control.tasks.supervisor import Supervisor
from morag.domain.errors import StartupError
from morag.domain.identity import LOCAL_LANE
from morag.domain.task import NewTask, Offers, Routing, Task
from morag.storage.blobs import FolderBlobStore
from morag.storage.folder import prepare
from morag.storage.host import SystemClock, this_worker
from morag.storage.signals import LocalSignals
from morag.storage.sql.database import open_database
from morag.storage.sql.postgres.database import open_postgres
from morag.tasks import brokers
from morag.tasks.chores import chores
from morag.tasks.doors import FunctionDoor
from morag.telemetry import log, settle_in
from morag.worker.functions.children import Children
from morag.worker.functions.family import local
from morag.worker.functions.loading import refuse_while_loading
from morag.worker.functions.runner import FunctionRunner

if TYPE_CHECKING:
    from morag.settings import Scale

DATABASE = "morag.db"
DAY_S = 86_400.0
AHEAD = ("morag.tasks.manager",)
"""What a child loads before it is told what to run: every application's module imports it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the application asked for."""

    namespace: str
    data_dir: Path | None
    slots: dict[Nature, int]
    child_memory_bytes: int | None
    drain_s: float
    lease_s: float


class Database(Protocol):
    """The part of an open file or server used here."""

    @property
    def tasks(self) -> TaskStore:
        """The record."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the environment says, and what is open already."""

    folder: Path
    child_memory_bytes: int
    scale: "Scale"
    database: Database
    signals: Signals
    broker: Broker | None
    """Where doorbells for Celery are left; None in a process that runs everything. Celery's own leave none."""
    is_celery_worker: bool


class Engine:
    """The open file and the loops that serve it. Made by `open_engine`, on the event loop it then lives on."""

    def __init__(self, wishes: Wishes, registry: Registry, around: Surroundings) -> None:
        self._folder = around.folder
        self._signals = around.signals
        self._wishes = wishes
        self._registry = registry
        self._around = around
        self._blobs: FolderBlobStore | None = None
        self._children = Children(memory_bytes=around.child_memory_bytes, ahead=AHEAD)
        self._loops = Loops()
        self._worker = this_worker("celery" if around.is_celery_worker else "tasks")
        runner = FunctionRunner(
            registry,
            self.blobs,
            children=self._children,
            kin=around.database.tasks.children,
            route=self._where,
        )
        self.loop = asyncio.get_running_loop()
        self.store: TaskStore = around.database.tasks
        self.manager = TaskManager(self.store, around.signals, on_cancel=self._check)
        self._celery = self._celery_by(around.broker) if around.broker else None
        self._local = BackgroundTasksExecutor(
            self.store,
            around.signals,
            runner.run,
            worker=self._worker,
            doors=self._doors(runner.stuck),
            lease_s=wishes.lease_s,
        )
        self._executor, self._route = self._composed()

    def serve(self, scheduler: Scheduler, *, retention_s: float) -> None:
        """Run tasks until closed."""
        self._loops.start("executor", self._executor.serve)
        if self._around.is_celery_worker:
            return
        todo = chores(
            self.store,
            self._swept,
            self._registry,
            self._wishes.namespace,
            retention_s=retention_s,
            is_own_folder=self._around.scale.database_url is not None,
        )
        supervisor = Supervisor(self.store, self._worker, todo)
        self._loops.start("supervisor", supervisor.serve)
        self._loops.start("scheduler", scheduler.serve)

    async def submit(self, new: NewTask) -> Task:
        """Store the task."""
        if self._celery:
            new = replace(new, routing=self._route(new.name))
        (stored,) = await self.manager.submit([new])
        return stored

    async def attend(self, namespace: str, lane: str, task_id: str) -> None:
        """Answer a doorbell of Celery: run the lane's fairest task to its end, which may not be the one it names."""
        if namespace != self._wishes.namespace:
            log.warning("ring_of_others", namespace=namespace, hint="Give each application a queue of its own.")
            return
        door = Door(lanes=(lane,), offers=self._celerys(), slots=1)
        has_run = await self._local.run_next(door)
        if not has_run and await self.store.get(task_id) is None:
            log.warning(
                "ring_for_unknown_task",
                task_id=task_id,
                hint="Is the record elsewhere? DATABASE_URL and MORAG_DATA_DIR must be those of the application.",
            )

    async def blobs(self) -> BlobStore:
        """Where large arguments and results are; its folders are made when first needed."""
        if self._blobs is None:
            self._blobs = await asyncio.to_thread(FolderBlobStore, self._folder / "blobs", min_free_bytes=0)
        return self._blobs

    async def _swept(self) -> FolderBlobStore | None:
        if (self._folder / "blobs").exists():
            await self.blobs()
        return self._blobs

    async def close(self) -> None:
        """Let what runs end, for as long as the application said; give back the rest, and close."""
        if self.loop is asyncio.get_running_loop():
            await self._executor.drain(self._wishes.drain_s)
            await self._loops.close()
            await self._children.close()
        await self._around.database.close()

    async def _check(self) -> None:
        """Let the executor look at its leases at once, on its own loop."""
        if self.loop is asyncio.get_running_loop():
            await self._executor.check()
        elif self.loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._executor.check(), self.loop))

    def _where(self, name: str) -> Routing:
        """Where a child goes that a running task asks for."""
        return self._route(name)

    def _celerys(self) -> Offers:
        """What belongs to Celery: everything, or what is heavy."""
        scale = self._around.scale
        names = {
            each.name
            for each in self._registry
            if scale.executor == "celery" or each.heavy or each.name in scale.heavy_tasks
        }
        return Offers(namespace=self._wishes.namespace, names=frozenset(names))

    def _celery_by(self, broker: Broker) -> CeleryExecutor:
        is_hybrid = self._around.scale.executor == "hybrid"
        return CeleryExecutor(
            self.store,
            self._signals,
            broker,
            lane=LOCAL_LANE,
            offers=self._celerys,
            meanwhile="heavy tasks run in this process" if is_hybrid else "tasks wait",
        )

    def _doors(self, stuck: Callable[[Nature], int]) -> list[FunctionDoor]:
        if self._around.scale.executor == "celery" or self._around.is_celery_worker:
            return []
        return [
            FunctionDoor(nature, n, self._wishes.namespace, self._registry, stuck, self._left_to_celery)
            for nature, n in self._wishes.slots.items()
        ]

    def _left_to_celery(self) -> frozenset[str]:
        return self._celery.serves if self._celery else frozenset()

    def _composed(self) -> tuple[Executor, Callable[[str], Routing]]:
        """The executor of this process, and what tells where a submitted task goes."""
        if self._celery is None:
            return self._local, local
        is_hybrid = self._around.scale.executor == "hybrid"
        whole = HybridExecutor(self._local, self._celery) if is_hybrid else self._celery
        return (self._local if self._around.is_celery_worker else whole), whole.route


async def open_engine(
    wishes: Wishes,
    registry: Registry,
    submit: Callable[[str, float], Coroutine[Any, Any, None]],
    *,
    is_celery_worker: bool = False,
) -> Engine:
    """Open the record and serve it; `submit(name, tick)` is called when a schedule is due. Raises StartupError.

    A Celery worker's own engine serves nothing by itself: it attends to doorbells.
    """
    from morag.settings import load, load_scale  # noqa: PLC0415 - pydantic costs 200 ms

    refuse_while_loading()
    settle_in()
    settings, scale = await asyncio.to_thread(lambda: (load(), load_scale()))
    for note in scale.notes():
        log.warning("note", note=note)
    folder = wishes.data_dir or settings.data_dir
    # a database file must be on a disk of this machine; blobs alone may be where all machines see them
    await asyncio.to_thread(prepare, folder, () if scale.database_url else None)
    signals = LocalSignals()
    broker = await asyncio.to_thread(_broker, scale, wishes.namespace)
    around = Surroundings(
        folder=folder,
        child_memory_bytes=wishes.child_memory_bytes or settings.child_memory_bytes,
        scale=scale,
        database=await _opened(scale, folder, signals),
        signals=signals,
        broker=broker,
        is_celery_worker=is_celery_worker,
    )
    engine = Engine(wishes, registry, around)

    def scheduled() -> Any:
        return [(each.name, each.schedule) for each in registry if each.schedule]

    engine.serve(Scheduler(scheduled, submit, SystemClock()), retention_s=settings.retention_days * DAY_S)
    return engine


def celery_app(
    namespace: str, attend: Callable[[str, str, str], Awaitable[None]], close: Callable[[], Awaitable[None]]
) -> Any:
    """What `celery -A` serves, by the settings; None where no broker is set, and in children. Raises StartupError."""

    def url() -> str | None:
        from morag.settings import load_scale  # noqa: PLC0415 - as above

        return load_scale().broker_url

    return brokers.celery_app(url, namespace, attend, close)


def _broker(scale: "Scale", namespace: str) -> Broker | None:
    if scale.executor == "background" or scale.broker_url is None:
        return None
    return brokers.broker_at(scale.broker_url, namespace)


async def _opened(scale: "Scale", folder: Path, signals: Signals) -> Database:
    """The file in the folder, or the server."""
    if scale.database_url is None:
        return await open_database(folder / DATABASE, clock=SystemClock(), signals=signals)
    try:
        return await open_postgres(scale.database_url, signals=signals)
    except ValueError as error:  # the driver's own, which may hold parts of the URL
        raise StartupError(
            "DATABASE_URL cannot be read.", code="bad_setting", hint="Write postgresql://user:password@host:5432/name."
        ) from error
