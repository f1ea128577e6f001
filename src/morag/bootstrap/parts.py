"""What a running server is made of, before there is something that runs tasks: stores, files, index, handlers."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from morag.bootstrap.users import DATABASE, keys_of, registry_of
from morag.control.auth import APIKeyService
from morag.control.fleet.registry import Registry
from morag.control.ports import Signals
from morag.control.routing import UserTaskRouter
from morag.control.tasks.intake import new_id
from morag.domain.content import Generation
from morag.domain.task import Worker
from morag.pipeline.handlers import Handlers
from morag.pipeline.ingestion.embedders.local import LocalEmbedder
from morag.pipeline.ingestion.ingestor import Ingestor
from morag.pipeline.ingestion.sweep import IndexSweep
from morag.settings import Settings, check_executor
from morag.storage.blobs import FolderBlobStore
from morag.storage.fetching.fetcher import GuardedFetcher
from morag.storage.folder import DataFolder
from morag.storage.host import SystemClock, boot_id, this_worker
from morag.storage.signals import LocalSignals
from morag.storage.sql.database import Database, open_database
from morag.storage.vectors.embedded import EmbeddedIndex
from morag.telemetry import log

INDEX_IS_WHOLE = "index_is_whole"


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
            async with keys_of(settings, database) as keys, registry_of(settings, database) as registry:
                parts = await _parts(settings, database, signals, worker, keys, registry)
                try:
                    yield parts
                finally:
                    parts.index.close()
        finally:
            await database.close()


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
