"""Composition root: the only file that names concrete adapters. Reads settings, hands plain values down.

opened(settings) ─▶ Parts (stores, files, index, handlers)
assemble(parts, run) ─▶ System (what the API serves), with the runner handed in by the worker that has one
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from morag.control.auth import NOTE_USE_S, APIKeyService
from morag.control.failover.policy import decide
from morag.control.fleet.gateway import Gateway
from morag.control.fleet.registry import REFRESH_S, Registry
from morag.control.ports import KeyStore, Run, Signals, TaskStore, UploadStore, WorkerStore
from morag.control.routing import UserTaskRouter
from morag.control.tasks.executors.background import BackgroundTasksExecutor, Door
from morag.control.tasks.intake import NAMESPACE, Intake, new_id
from morag.control.tasks.loops import Loops
from morag.control.tasks.manager import TaskManager
from morag.control.tasks.supervisor import Chore, Supervisor
from morag.control.webhooks import Webhooks
from morag.domain.content import Generation
from morag.domain.errors import InvalidRequest, StartupError, Unavailable
from morag.domain.identity import LOCAL_LANE
from morag.domain.task import Offers, Worker
from morag.pipeline.handlers import CONVERT, Handlers
from morag.pipeline.ingestion.embedders.local import LocalEmbedder
from morag.pipeline.ingestion.ingestor import Ingestor
from morag.pipeline.ingestion.sweep import IndexSweep
from morag.pipeline.library import Library
from morag.pipeline.ports import ReportProgress
from morag.pipeline.search import Searcher
from morag.protocol import MAX_DOCUMENT_BYTES
from morag.settings import Settings, check_executor, unused_notes
from morag.storage.backup import copy_blobs, make_room
from morag.storage.blobs import FolderBlobStore
from morag.storage.fetching.fetcher import GuardedFetcher
from morag.storage.fetching.poster import GuardedPoster
from morag.storage.folder import DataFolder, prepare
from morag.storage.host import SystemClock, boot_id, this_worker
from morag.storage.partial import PartialUploads
from morag.storage.redis.key_copies import key_copies
from morag.storage.redis.keys import key_authority
from morag.storage.redis.workers import shared_workers
from morag.storage.signals import LocalSignals
from morag.storage.sql.database import Database, open_database
from morag.storage.vectors.embedded import EmbeddedIndex
from morag.telemetry import log

DATABASE = "morag.db"
INGESTS_AT_ONCE = 4
"""Light tasks wait mostly for files and threads; each may embed, which has its own limit."""
SWEEP_INDEX_S = 30.0
CLEAN_S = 600.0
SEND_S = 1.0
INDEX_IS_WHOLE = "index_is_whole"
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
class Parts:
    """What a running server is made of, before there is something that runs tasks."""

    settings: Settings
    worker: Worker
    signals: Signals
    database: Database
    blobs: FolderBlobStore
    index: EmbeddedIndex
    embedder: LocalEmbedder
    fetcher: GuardedFetcher
    handlers: Handlers
    sweep: IndexSweep
    registry: Registry
    router: UserTaskRouter
    keys: APIKeyService
    is_index_current: bool
    is_index_whole: bool
    """False: documents were there before the index was, as in a backup that is put to use."""


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


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[Parts]:
    """Lock and open the data folder, migrate it, free what a dead server held. Raises StartupError."""
    check_executor()
    with DataFolder.lock(settings.data_dir, boot_id=boot_id()):
        folder = settings.data_dir
        signals = LocalSignals()
        database = await open_database(folder / DATABASE, clock=SystemClock(), signals=signals)
        try:
            worker = this_worker("local")
            freed = await database.tasks.reclaim(keep=worker)
            await database.tasks.set_limits(None, settings.everybody)
            log.info("data_folder_opened", tasks_taken_up_again=freed)
            async with _keys(settings, database) as keys, _registry(settings, database) as registry:
                parts = await _parts(settings, database, signals, worker, keys, registry)
                try:
                    yield parts
                finally:
                    parts.index.close()
        finally:
            await database.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """What is known of users: their keys, and what they may use and do use."""

    keys: APIKeyService
    tasks: TaskStore


@asynccontextmanager
async def opened_users(settings: Settings) -> AsyncGenerator[Users]:
    """Keys and limits, also while a server runs on the same store. Raises StartupError."""
    prepare(settings.data_dir)
    database = await open_database(settings.data_dir / DATABASE, clock=SystemClock(), signals=LocalSignals())
    try:
        async with _keys(settings, database) as keys:
            yield Users(keys=keys, tasks=database.tasks)
    finally:
        await database.close()


@asynccontextmanager
async def opened_keys(settings: Settings) -> AsyncGenerator[APIKeyService]:
    """The keys alone, also while a server runs on the same store. Raises StartupError."""
    if settings.key_store == "redis":
        async with key_authority(_redis_url(settings)) as store:
            yield APIKeyService(store, SystemClock())
        return
    async with opened_users(settings) as users:
        yield users.keys


@asynccontextmanager
async def _keys(settings: Settings, database: Database) -> AsyncGenerator[APIKeyService]:
    async with _key_store(settings, database) as store:
        keys = APIKeyService(store, SystemClock())
        try:
            yield keys
        finally:
            with suppress(Unavailable):  # when a key was last used is not worth an error at the end
                await keys.note_use()


def _key_store(settings: Settings, database: Database) -> AbstractAsyncContextManager[KeyStore]:
    if settings.key_store == "redis":
        return key_authority(_redis_url(settings))
    if settings.redis_url is None:
        return nullcontext(database.keys)
    return _copied_keys(settings.redis_url, database)


@asynccontextmanager
async def _copied_keys(redis_url: str, database: Database) -> AsyncGenerator[KeyStore]:
    async with key_copies(redis_url, database.keys, store_id=await _store_id(database)) as store:
        yield store


@asynccontextmanager
async def _registry(settings: Settings, database: Database) -> AsyncGenerator[Registry]:
    """Users' machines: kept in Redis where there is one, else in the database."""
    async with _worker_store(settings.redis_url, await _store_id(database), database) as store:
        registry = Registry(store, SystemClock())
        with suppress(Unavailable):  # a chore reads them again and again
            await registry.refresh()
        yield registry


def _worker_store(redis_url: str | None, store_id: str, database: Database) -> AbstractAsyncContextManager[WorkerStore]:
    if redis_url is None:
        return nullcontext(database.workers)
    return shared_workers(redis_url, SystemClock(), store_id=store_id)


async def _store_id(database: Database) -> str:
    """What the store's things are known by in a Redis that holds those of others too."""
    return await database.meta.keep("store_id", new_id())


def _redis_url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise StartupError(
            "MORAG_KEY_STORE=redis needs REDIS_URL.",
            code="bad_setting",
            hint="Set REDIS_URL, or leave MORAG_KEY_STORE out to keep keys in the database.",
        )
    return settings.redis_url


async def _parts(
    settings: Settings,
    database: Database,
    signals: Signals,
    worker: Worker,
    keys: APIKeyService,
    registry: Registry,
) -> Parts:
    folder = settings.data_dir
    blobs = FolderBlobStore(folder / "blobs", min_free_bytes=settings.min_free_bytes)
    embedder = LocalEmbedder(settings.embedding_model)
    index_folder, is_current = await _index_folder(folder, database, embedder)
    is_whole = await database.meta.get(INDEX_IS_WHOLE) != "no"
    index = EmbeddedIndex(index_folder, dimensions=embedder.dimensions)

    async def is_open(generation: Generation) -> bool:
        task = await database.tasks.get(generation.task_id)
        return task is not None and not task.state.is_terminal and task.fence == generation.fence

    sweep = IndexSweep(index, database.documents, is_open)
    fetcher = GuardedFetcher(blobs, allow=settings.fetch_allow, max_bytes=settings.max_upload_bytes)
    router = UserTaskRouter(registry, database.tasks, is_enabled=settings.remote_conversion_enabled)
    handlers = Handlers(
        blobs=blobs,
        fetcher=fetcher,
        documents=database.documents,
        ingestor=Ingestor(embedder, index, is_current=is_current),
        route=router.route,
        keep_originals=settings.keep_originals,
        on_indexed=sweep.mark,
    )
    return Parts(
        settings=settings,
        worker=worker,
        signals=signals,
        database=database,
        blobs=blobs,
        index=index,
        embedder=embedder,
        fetcher=fetcher,
        handlers=handlers,
        sweep=sweep,
        registry=registry,
        router=router,
        keys=keys,
        is_index_current=is_current,
        is_index_whole=is_whole,
    )


async def _index_folder(folder: Path, database: Database, embedder: LocalEmbedder) -> tuple[Path, bool]:
    """The index in use, and whether today's embedding model made it; leftovers of a cut-off reindex go."""
    name = await database.meta.get("index_folder")
    if name is None:
        name = f"index-{new_id()}"
        await database.meta.set("index_model", embedder.model)
        await database.meta.set("index_folder", name)
    elif not (folder / name).exists() and await _has_documents(database):
        await database.meta.set(INDEX_IS_WHOLE, "no")
    for left_over in folder.glob("index-*"):
        if left_over.name != name:
            shutil.rmtree(left_over)
    return folder / name, await database.meta.get("index_model") == embedder.model


async def _has_documents(database: Database) -> bool:
    async for _ in database.documents.every():
        return True
    return False


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


async def backup(settings: Settings, destination: Path) -> Path:
    """Copy the database and all files into a new folder, also while a server runs; the folder serves as a data folder.

    The index is left out: `morag reindex` builds it anew from what is here. Raises InvalidRequest, StartupError.
    """
    source = settings.data_dir
    if not (source / DATABASE).exists():
        raise InvalidRequest(f"There is nothing to back up: no data folder at {source}.", field="MORAG_DATA_DIR")
    make_room(source, destination)
    database = await open_database(source / DATABASE, clock=SystemClock(), signals=LocalSignals())
    try:
        await database.backup(destination / DATABASE)
    finally:
        await database.close()
    await asyncio.to_thread(copy_blobs, source / "blobs", destination / "blobs")
    return destination


async def reindex(settings: Settings, report: ReportProgress) -> int:
    """Build the index anew from the stored documents with today's embedding model; how many. Needs the server stopped.

    The old index serves until the new one is whole. Raises StartupError if a server holds the data folder.
    """
    async with opened(settings) as parts:
        folder = settings.data_dir / f"index-{new_id()}"
        index = EmbeddedIndex(folder, dimensions=parts.embedder.dimensions)
        try:
            count = await Ingestor(parts.embedder, index).reindex(parts.database.documents, parts.blobs, report)
        finally:
            index.close()
        await parts.database.meta.set("index_model", parts.embedder.model)
        await parts.database.meta.set("index_folder", folder.name)
        await parts.database.meta.set(INDEX_IS_WHOLE, "yes")
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Standalone:
    """What `morag process` needs without a server: a way to URLs, and a place for what they bring."""

    fetcher: GuardedFetcher
    blobs: FolderBlobStore
    folder: Path


@asynccontextmanager
async def standalone(settings: Settings) -> AsyncGenerator[Standalone]:
    """A fetcher and a blob store in a temporary folder that goes with the context."""
    with TemporaryDirectory(prefix="morag-") as name:
        folder = Path(name)
        blobs = FolderBlobStore(folder / "blobs", min_free_bytes=settings.min_free_bytes)
        fetcher = GuardedFetcher(blobs, allow=settings.fetch_allow, max_bytes=settings.max_upload_bytes)
        yield Standalone(fetcher=fetcher, blobs=blobs, folder=folder)


def embedding_model(settings: Settings) -> str:
    """Name and version of what would make the vectors here. Raises Unavailable if its files are not there."""
    return LocalEmbedder(settings.embedding_model).model
