"""What runs behind a TaskManager: composition root of the library, as `bootstrap` is that of the server.

Apart from it because a server's parts (converters, index, embedder) must not be loaded for tasks alone.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from morag.control.ports import BlobStore, Signals, TaskStore
from morag.control.tasks.definitions import Nature, Registry
from morag.control.tasks.executors.background import BackgroundTasksExecutor
from morag.control.tasks.loops import Loops
from morag.control.tasks.manager import TaskManager
from morag.control.tasks.schedules import Scheduler
from morag.control.tasks.supervisor import Chore, Supervisor
from morag.domain.identity import LOCAL_LANE
from morag.domain.task import NewTask, Offers, Task
from morag.storage.blobs import FolderBlobStore
from morag.storage.folder import prepare
from morag.storage.host import SystemClock, this_worker
from morag.storage.signals import LocalSignals
from morag.storage.sql.database import Database, open_database
from morag.telemetry import log, settle_in
from morag.worker.functions.children import Children
from morag.worker.functions.runner import FunctionRunner

DATABASE = "morag.db"
CLEAN_S = 600.0
UNKNOWN_S = 30.0
"""How often names are looked for that nobody here knows."""
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the application asked for."""

    namespace: str
    data_dir: Path | None
    slots: dict[Nature, int]
    child_memory_bytes: int | None
    drain_s: float


@dataclass(frozen=True, slots=True)
class FunctionDoor:
    """Claims the functions of one nature (`executors.background.AnyDoor`), as many as its slots that are not stuck."""

    nature: Nature
    most: int
    namespace: str
    registry: Registry
    stuck: Callable[[Nature], int]

    @property
    def lanes(self) -> tuple[str, ...]:
        """The server's own lane."""
        return (LOCAL_LANE,)

    @property
    def offers(self) -> Offers:
        """What is registered by now."""
        return Offers(namespace=self.namespace, names=self.registry.names(self.nature))

    @property
    def slots(self) -> int:
        """How many may run at once, less those that do not end."""
        return self.most - self.stuck(self.nature)


class Engine:
    """The open file and the loops that serve it. Made by `open_engine`, on the event loop it then lives on."""

    def __init__(
        self, wishes: Wishes, registry: Registry, database: Database, signals: Signals, *, folder: Path, memory: int
    ) -> None:
        self._folder = folder
        self._signals = signals
        self._wishes = wishes
        self._registry = registry
        self._database = database
        self._blobs: FolderBlobStore | None = None
        self._children = Children(memory_bytes=memory)
        self._loops = Loops()
        self._warned: set[str] = set()
        self._worker = this_worker("tasks")
        runner = FunctionRunner(registry, self.blobs, children=self._children, kin=database.tasks.children)
        doors = [
            FunctionDoor(nature, n, wishes.namespace, registry, runner.stuck) for nature, n in wishes.slots.items()
        ]
        self._executor = BackgroundTasksExecutor(database.tasks, signals, runner.run, worker=self._worker, doors=doors)
        self.loop = asyncio.get_running_loop()
        self.store: TaskStore = database.tasks
        self.manager = TaskManager(database.tasks, signals, on_cancel=self._check)

    def serve(self, scheduler: Scheduler, *, retention_s: float) -> None:
        """Run tasks until closed."""
        supervisor = Supervisor(self.store, self._worker, self._chores(retention_s))
        self._loops.start("executor", self._executor.serve)
        self._loops.start("supervisor", supervisor.serve)
        self._loops.start("scheduler", scheduler.serve)

    async def submit(self, new: NewTask) -> Task:
        """Store the task. The doors are rung before it is committed: their claim then joins the same commit."""
        storing = asyncio.ensure_future(self.manager.submit([new]))
        if new.delay_s <= 0:
            self._signals.lane(LOCAL_LANE)
        (stored,) = await storing
        return stored

    async def blobs(self) -> BlobStore:
        """Where large arguments and results are; its folders are made when first needed."""
        if self._blobs is None:
            self._blobs = await asyncio.to_thread(FolderBlobStore, self._folder / "blobs", min_free_bytes=0)
        return self._blobs

    async def close(self) -> None:
        """Let what runs end, for as long as the application said; give back the rest, and close."""
        if self.loop is asyncio.get_running_loop():
            await self._executor.drain(self._wishes.drain_s)
            await self._loops.close()
            await self._children.close()
        await self._database.close()

    async def _check(self) -> None:
        """Let the executor look at its leases at once, on its own loop."""
        if self.loop is asyncio.get_running_loop():
            await self._executor.check()
        elif self.loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._executor.check(), self.loop))

    def _chores(self, retention_s: float) -> list[Chore]:
        async def retire() -> int:
            return await self.store.retire(older_than_s=retention_s)

        async def sweep_blobs() -> int:
            if not (self._folder / "blobs").exists():
                return 0
            await self.blobs()
            return await self._blobs.sweep(self.store.referenced) if self._blobs else 0

        return [
            Chore(name="retire", every_s=CLEAN_S, act=retire),
            Chore(name="sweep_blobs", every_s=CLEAN_S, act=sweep_blobs),
            Chore(name="warn_of_unknown_names", every_s=UNKNOWN_S, act=self._warn_of_unknown, is_own=True),
        ]

    async def _warn_of_unknown(self) -> int:
        """Say once of each name that its tasks wait for a process that knows it."""
        waiting = await self.store.ready_names(LOCAL_LANE, self._wishes.namespace)
        known = {definition.name for definition in self._registry}
        for name in sorted(waiting - known - self._warned):
            log.warning("unknown_task_waits", task=name, namespace=self._wishes.namespace)
            self._warned.add(name)
        return 0


async def open_engine(
    wishes: Wishes, registry: Registry, submit: Callable[[str, float], Coroutine[Any, Any, None]]
) -> Engine:
    """Open the file and serve it; `submit(name, tick)` is called when a schedule is due. Raises StartupError."""
    from morag.settings import check_executor, load, unused_notes  # noqa: PLC0415 - pydantic costs 200 ms

    settle_in()
    check_executor()
    settings = await asyncio.to_thread(load)
    for note in unused_notes():
        log.warning("note", note=note)
    folder = wishes.data_dir or settings.data_dir
    await asyncio.to_thread(prepare, folder)
    signals = LocalSignals()
    database = await open_database(folder / DATABASE, clock=SystemClock(), signals=signals)
    memory = wishes.child_memory_bytes or settings.child_memory_bytes
    engine = Engine(wishes, registry, database, signals, folder=folder, memory=memory)

    def scheduled() -> Any:
        return [(each.name, each.schedule) for each in registry if each.schedule]

    engine.serve(Scheduler(scheduled, submit, SystemClock()), retention_s=settings.retention_days * DAY_S)
    return engine
