"""Document → chunks → vectors → index: the last steps of an ingest, and of `reindex`, which repeats them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from morag.domain.content import Chunk, Document, Generation
from morag.domain.errors import ConversionError, Unavailable
from morag.domain.json import JsonObject
from morag.pipeline.ingestion.chunk import ChunkOptions, chunk
from morag.pipeline.ports import BlobStore, DocumentStore, Embedder, Point, ReportProgress, VectorIndex
from morag.protocol import decode_document

BATCH = 32
"""Chunks to one write of the index, about a second of embedding: a flush is 7 ms, and progress shows after each."""
_CONTEXT_CHARACTERS = 120
_CONTEXT_TOKENS = 40
"""Left free of a chunk's tokens for the headings that are embedded with it."""


@runtime_checkable
class _CountsTokens(Protocol):
    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...


class Ingestor:
    """Writes generations of documents into an index; nothing it writes is visible before its settlement.

    One batch of one document is embedded at a time, in turns between the documents, while the batch before is stored.
    `is_current` False: the index holds vectors of another model, so nothing may be added.
    """

    def __init__(self, embedder: Embedder, index: VectorIndex, *, is_current: bool = True) -> None:
        self._embedder = embedder
        self._index = index
        self._is_current = is_current
        self._turn = asyncio.Semaphore(1)

    async def index_document(
        self,
        user_id: str,
        generation: Generation,
        document: Document,
        options: ChunkOptions,
        metadata: JsonObject,
        report: ReportProgress,
    ) -> int:
        """Chunks written, durable. Raises ConversionError `no_text_found` if there are none, Unavailable."""
        self._check_model()
        report(0.0, "chunking", "")
        chunks = await asyncio.to_thread(self._chunks, document, options)
        if not chunks:
            raise ConversionError(
                "No text was found in the document.",
                code="no_text_found",
                hint="Check that the text of a scan or photo can be read, or that somebody speaks in a recording.",
            )
        stored: list[Point] = []
        for start in range(0, len(chunks), BATCH):
            batch = chunks[start : start + BATCH]
            report(0.05 + 0.9 * start / len(chunks), "embedding", f"{start} of {len(chunks)} chunks")
            vectors, _ = await asyncio.gather(self._embed(document, batch), asyncio.to_thread(self._index.add, stored))
            stored = [
                Point(
                    user_id=user_id,
                    generation=generation,
                    chunk=each,
                    vector=vector,
                    content_type=document.content_type,
                    metadata=metadata,
                )
                for each, vector in zip(batch, vectors, strict=True)
            ]
        report(0.95, "storing", f"{len(chunks)} chunks")
        await asyncio.to_thread(self._index.add, stored)
        return len(chunks)

    async def reindex(self, documents: DocumentStore, blobs: BlobStore, report: ReportProgress) -> int:
        """Write every visible document of every user anew, from its stored conversion; how many. Raises NotFound."""
        every = [each async for each in documents.every()]
        for done, each in enumerate(every):
            publication = each.publication
            await self.index_document(
                each.user_id,
                each.generation,
                decode_document(await blobs.get(publication.document_blob)),
                ChunkOptions.of(publication.chunking),
                publication.metadata,
                _within(report, done, len(every)),
            )
        return len(every)

    def _check_model(self) -> None:
        if not self._is_current:
            raise Unavailable(
                "The index holds vectors of another embedding model.",
                code="embedding_model_changed",
                hint="Run `morag reindex`, or set MORAG_EMBEDDING_MODEL back to what it was.",
            )

    def _chunks(self, document: Document, options: ChunkOptions) -> list[Chunk]:
        if isinstance(self._embedder, _CountsTokens):
            room = self._embedder.max_tokens - _CONTEXT_TOKENS
            options = replace(options, max_tokens=room, count_tokens=self._embedder.count_tokens)
        return chunk(document, options)

    async def _embed(self, document: Document, chunks: Sequence[Chunk]) -> list[list[float]]:
        async with self._turn:
            return await asyncio.to_thread(self._embedder.embed, [_passage(document, each) for each in chunks])


def _passage(document: Document, given: Chunk) -> str:
    """The chunk's text under the document's title and its headings, which say what it is about."""
    names = dict.fromkeys(name for name in (document.title, *given.place.heading_path) if name)
    context = " > ".join(names)[:_CONTEXT_CHARACTERS]
    return f"{context}\n{given.text}" if context else given.text


def _within(report: ReportProgress, done: int, total: int) -> ReportProgress:
    """Progress of one document as progress of them all."""
    return lambda fraction, stage, message: report((done + fraction) / total, stage, message)
