"""What the API serves: the control plane on top of the parts, with the runner handed in by the worker that has one."""

from collections.abc import Callable
from dataclasses import dataclass

from morag.bootstrap.parts import Parts
from morag.control.auth import NOTE_USE_S, APIKeyService
from morag.control.failover.policy import decide
from morag.control.fleet.gateway import Gateway
from morag.control.fleet.registry import REFRESH_S, Registry
from morag.control.ports import Run, TaskStore, UploadStore
from morag.control.routing import UserTaskRouter
from morag.control.tasks.executors.background import BackgroundTasksExecutor, Door
from morag.control.tasks.intake import NAMESPACE, Intake
from morag.control.tasks.loops import Loops
from morag.control.tasks.manager import TaskManager
from morag.control.tasks.supervisor import Chore, Supervisor
from morag.control.webhooks import Webhooks
from morag.domain.identity import LOCAL_LANE
from morag.domain.task import Offers
from morag.pipeline.handlers import CONVERT
from morag.pipeline.library import Library
from morag.pipeline.search import Searcher
from morag.protocol import MAX_DOCUMENT_BYTES
from morag.settings import Settings, unused_notes
from morag.storage.blobs import FolderBlobStore
from morag.storage.fetching.poster import GuardedPoster
from morag.storage.host import SystemClock
from morag.storage.partial import PartialUploads
from morag.storage.vectors.embedded import EmbeddedIndex

INGESTS_AT_ONCE = 4
"""Light tasks wait mostly for files and threads; each may embed, which has its own limit."""


SWEEP_INDEX_S = 30.0


CLEAN_S = 600.0


SEND_S = 1.0


DAY_S = 86_400.0


_OTHER_MODEL = "The index was built with another embedding model: search is by words only until `morag reindex` is run."


_NOT_WHOLE = "The index does not hold all documents: search finds only newer ones until `morag reindex` is run."


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether requests can be answered, and what an operator should know."""

    is_ready: bool
    checks: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What the API serves."""

    settings: Settings
    worker_id: str
    manager: TaskManager
    intake: Intake
    library: Library
    searcher: Searcher
    keys: APIKeyService
    webhooks: Webhooks
    registry: Registry
    router: UserTaskRouter
    gateway: Gateway
    partial_uploads: PartialUploads
    uploads: UploadStore
    blobs: FolderBlobStore
    index: EmbeddedIndex
    store: TaskStore
    executor: BackgroundTasksExecutor
    supervisor: Supervisor
    loops: Loops
    check_url: Callable[[str], None]
    notes: tuple[str, ...]

    async def health(self) -> Health:
        """Ask the database, the disk, and the loops that run tasks."""
        await self.store.lanes()
        free = self.blobs.free_bytes()
        has_room = free >= self.settings.min_free_bytes
        ailing = self.loops.ailing
        checks = {
            "database": "ok",
            "disk": "ok" if has_room else "low: uploads are refused",
            "loops": f"{', '.join(ailing)}: broke, started again; see the log" if ailing else "ok",
        }
        return Health(is_ready=not ailing, checks=checks, notes=self.notes)


def assemble(parts: Parts, *, run: Run, names: frozenset[str]) -> System:
    """Put the control plane on top of the parts; `run` does the tasks of those `names`."""
    settings, database = parts.settings, parts.database
    executor = BackgroundTasksExecutor(
        database.tasks, parts.signals, run, worker=parts.worker, doors=_doors(settings, names)
    )
    manager = TaskManager(database.tasks, parts.signals, on_cancel=executor.check)
    registry = parts.registry
    uploads = PartialUploads(settings.data_dir / "partial", max_bytes=MAX_DOCUMENT_BYTES)
    poster = GuardedPoster(allow=settings.fetch_allow)
    webhooks = Webhooks(database.deliveries, database.tasks.get, poster, SystemClock())
    return System(
        settings=settings,
        worker_id=parts.worker.id,
        manager=manager,
        intake=Intake(manager, database.documents, parts.router.route, deadline_s=settings.task_deadline_s),
        library=Library(documents=database.documents, index=parts.index, blobs=parts.blobs, on_removed=executor.check),
        searcher=Searcher(parts.embedder, parts.index, database.documents, dense_enabled=parts.is_index_current),
        keys=parts.keys,
        webhooks=webhooks,
        registry=registry,
        router=parts.router,
        gateway=_gateway(parts, registry),
        partial_uploads=uploads,
        uploads=database.uploads,
        blobs=parts.blobs,
        index=parts.index,
        store=database.tasks,
        executor=executor,
        supervisor=Supervisor(database.tasks, parts.worker, _chores(parts, webhooks, registry, uploads)),
        loops=Loops(),
        check_url=parts.fetcher.check_url,
        notes=_notes(parts),
    )


def _gateway(parts: Parts, registry: Registry) -> Gateway:
    """Users' machines may take conversions, and nothing else."""
    return Gateway(
        registry,
        parts.database.tasks,
        parts.signals,
        SystemClock(),
        offers=Offers(namespace=NAMESPACE, names=frozenset({CONVERT})),
        decide=lambda failure, task, jitter: decide(failure, task, jitter=jitter),
    )


def _notes(parts: Parts) -> tuple[str, ...]:
    notes = unused_notes()
    if not parts.is_index_current:
        notes += (_OTHER_MODEL,)
    if not parts.is_index_whole:
        notes += (_NOT_WHOLE,)
    return notes


def _doors(settings: Settings, names: frozenset[str]) -> list[Door]:
    """Conversions by cores; everything else waits mostly and has slots of its own, so that neither blocks the other."""

    def door(offered: frozenset[str], slots: int) -> Door:
        return Door(lanes=(LOCAL_LANE,), offers=Offers(namespace=NAMESPACE, names=offered), slots=slots)

    heavy = [door(frozenset({CONVERT}), settings.workers)] if settings.workers else []
    return [*heavy, door(names - {CONVERT}, INGESTS_AT_ONCE)]


def _chores(parts: Parts, webhooks: Webhooks, registry: Registry, uploads: PartialUploads) -> list[Chore]:
    database, retention_s = parts.database, parts.settings.retention_days * DAY_S

    async def retire() -> int:
        return await database.tasks.retire(older_than_s=retention_s)

    async def sweep_blobs() -> int:
        return await parts.blobs.sweep(database.tasks.referenced)

    async def forget_deliveries() -> int:
        return await webhooks.forget(retention_s)

    # whoever leads may be a library's process, which knows of tasks and their blobs only
    async def note_key_use() -> int:
        await parts.keys.note_use()
        return 0  # that keys are used is no news

    return [
        Chore(name="retire_tasks", every_s=CLEAN_S, act=retire),
        Chore(name="sweep_blobs", every_s=CLEAN_S, act=sweep_blobs),
        Chore(name="sweep_index", every_s=SWEEP_INDEX_S, act=parts.sweep.run, is_own=True),
        Chore(name="read_workers", every_s=REFRESH_S, act=registry.refresh, is_own=True),
        Chore(name="forget_uploads", every_s=CLEAN_S, act=database.uploads.forget, is_own=True),
        Chore(name="sweep_uploads", every_s=CLEAN_S, act=uploads.sweep, is_own=True),
        Chore(name="send_webhooks", every_s=SEND_S, act=webhooks.act, is_own=True),
        Chore(name="forget_deliveries", every_s=CLEAN_S, act=forget_deliveries, is_own=True),
        Chore(name="note_key_use", every_s=NOTE_USE_S, act=note_key_use, is_own=True),
    ]
