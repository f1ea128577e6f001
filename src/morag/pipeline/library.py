"""A user's stored documents: list, read, delete."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from morag.domain.content import Document, StoredDocument
from morag.domain.errors import NotFound
from morag.pipeline.ports import BlobStore, DocumentStore, VectorIndex
from morag.protocol import decode_document


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Works on the visible documents of the user it is asked for, and on nobody else's."""

    documents: DocumentStore
    index: VectorIndex
    blobs: BlobStore
    on_removed: Callable[[], Awaitable[None]]
    """Lets ingests of a removed document that still run hear of their end at once."""

    async def page(self, user_id: str, *, limit: int, after: str | None = None) -> list[StoredDocument]:
        """Documents by id, `limit` of them; go on with the last id as `after`."""
        return await self.documents.documents(user_id, limit=limit, after=after)

    async def get(self, user_id: str, document_id: str) -> StoredDocument:
        """One document. Raises NotFound."""
        found = await self.documents.document(user_id, document_id)
        if found is None:
            raise _no_such(document_id)
        return found

    async def read(self, user_id: str, document_id: str) -> Document:
        """What the document was converted to. Raises NotFound."""
        stored = await self.get(user_id, document_id)
        return decode_document(await self.blobs.get(stored.publication.document_blob))

    async def delete(self, user_id: str, document_id: str) -> None:
        """Make the document invisible, end ingests of it under way, drop its points. Raises NotFound."""
        if not await self.documents.remove(user_id, document_id):
            raise _no_such(document_id)
        await self.on_removed()
        await asyncio.to_thread(self.index.delete, user_id, document_id, keep=None)


def _no_such(document_id: str) -> NotFound:
    return NotFound(f"There is no document {document_id}.", hint="`GET /api/v1/documents` lists your documents.")
