"""What commands need that work without a server and keep nothing."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from morag.pipeline.ingestion.embedders.local import LocalEmbedder
from morag.settings import Settings
from morag.storage.blobs import FolderBlobStore
from morag.storage.fetching.fetcher import GuardedFetcher


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
