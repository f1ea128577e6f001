"""What an operator does with a data folder: back it up, build its index anew."""

import asyncio
from pathlib import Path

from morag.bootstrap.parts import INDEX_IS_WHOLE, opened
from morag.bootstrap.users import DATABASE
from morag.control.tasks.intake import new_id
from morag.domain.errors import InvalidRequest
from morag.pipeline.ingestion.ingestor import Ingestor
from morag.pipeline.ports import ReportProgress
from morag.settings import Settings
from morag.storage.backup import copy_blobs, make_room
from morag.storage.host import SystemClock
from morag.storage.signals import LocalSignals
from morag.storage.sql.database import open_database
from morag.storage.vectors.embedded import EmbeddedIndex


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
