import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from morag.domain.content import ContentType, Document, Generation, Publication, StoredDocument
from morag.domain.errors import ConversionError, NotFound, Unavailable
from morag.domain.json import JsonObject
from morag.pipeline.ingestion.chunk import ChunkOptions, chunk
from morag.pipeline.ingestion.ingestor import Ingestor
from morag.pipeline.ports import Filters, Point, Scored
from morag.protocol import encode_document

GENERATION = Generation(document_id="doc", task_id="task", fence=1)
LONG = " ".join(f"Sentence number {n} has some words." for n in range(800))


def document(markdown: str, title: str | None = "The Title") -> Document:
    return Document(
        markdown=markdown, content_type=ContentType.WEB, media_type="text/html", title=title, metadata={}, segments=()
    )


@dataclass
class NotedEmbedder:
    """Vectors of a text's length; notes what it was given."""

    given: list[str] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0
    model, dimensions, max_tokens = "noted@1", 1, 100

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        self.given.extend(texts)
        self.busy -= 1
        return [[float(len(text))] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [float(len(text))]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


@dataclass
class NotedIndex:
    """Keeps points; fails the write of that number."""

    points: list[Point] = field(default_factory=list)
    writes: int = 0
    fails_at: int | None = None

    def add(self, points: Sequence[Point]) -> None:
        if not points:
            return
        self.writes += 1
        if self.writes == self.fails_at:
            raise OSError("disk full")
        self.points.extend(points)

    def dense(self, user_id: str, vector: Sequence[float], *, limit: int, filters: Filters) -> list[Scored]:
        raise AssertionError(user_id, vector, limit, filters)

    def keyword(self, user_id: str, text: str, *, limit: int, filters: Filters) -> list[Scored]:
        raise AssertionError(user_id, text, limit, filters)

    def delete(self, user_id: str, document_id: str, *, keep: Generation | None) -> None:
        raise AssertionError(user_id, document_id, keep)

    def generations(self) -> Mapping[Generation, str]:
        return {}

    def count(self, user_id: str) -> int:
        return sum(point.user_id == user_id for point in self.points)

    def close(self) -> None:
        return


@dataclass
class Reported:
    lines: list[tuple[float, str, str]] = field(default_factory=list)

    def __call__(self, fraction: float, stage: str, message: str) -> None:
        self.lines.append((fraction, stage, message))


async def ingest(ingestor: Ingestor, given: Document, metadata: JsonObject | None = None) -> tuple[int, Reported]:
    reported = Reported()
    count = await ingestor.index_document("ann", GENERATION, given, ChunkOptions(), metadata or {}, reported)
    return count, reported


async def test_every_chunk_is_stored_with_its_vector_user_and_metadata() -> None:
    embedder, index = NotedEmbedder(), NotedIndex()
    count, _ = await ingest(Ingestor(embedder, index), document(LONG), {"lang": "en"})
    assert count == len(index.points) > 64
    assert index.writes > 2
    assert [point.chunk.index for point in index.points] == list(range(count))
    for point, text in zip(index.points, embedder.given, strict=True):
        assert text.endswith(point.chunk.text)
        assert list(point.vector) == [len(text)]
        assert (point.user_id, point.generation, point.content_type) == ("ann", GENERATION, ContentType.WEB)
        assert point.metadata == {"lang": "en"}


async def test_title_and_headings_are_embedded_with_a_chunk_within_what_the_model_reads() -> None:
    embedder = NotedEmbedder()
    await ingest(Ingestor(embedder, NotedIndex()), document(f"# Part\n\n## Detail\n\n{LONG}"))
    assert embedder.given[3].startswith("The Title > Part > Detail\n")
    assert max(embedder.count_tokens(embedder.given)) <= embedder.max_tokens


async def test_a_document_without_text_is_an_error() -> None:
    index = NotedIndex()
    with pytest.raises(ConversionError) as failed:
        await ingest(Ingestor(NotedEmbedder(), index), document(" \n---\n"))
    assert failed.value.code == "no_text_found"
    assert index.points == []


async def test_progress_rises_through_the_stages() -> None:
    _, reported = await ingest(Ingestor(NotedEmbedder(), NotedIndex()), document(LONG))
    fractions = [fraction for fraction, _, _ in reported.lines]
    assert fractions == sorted(fractions)
    assert list(dict.fromkeys(stage for _, stage, _ in reported.lines)) == ["chunking", "embedding", "storing"]


@pytest.mark.parametrize("at", [1, 3])
async def test_a_failed_write_fails_the_ingest(at: int) -> None:
    with pytest.raises(OSError, match="disk full"):
        await ingest(Ingestor(NotedEmbedder(), NotedIndex(fails_at=at)), document(LONG))


async def test_documents_take_turns_at_the_embedder() -> None:
    embedder = NotedEmbedder()
    ingestor = Ingestor(embedder, NotedIndex())
    await asyncio.gather(*(ingest(ingestor, document(f"{LONG} {n}")) for n in range(4)))
    assert embedder.most_busy == 1


async def test_an_index_of_another_model_takes_nothing() -> None:
    index = NotedIndex()
    with pytest.raises(Unavailable, match="another embedding model"):
        await ingest(Ingestor(NotedEmbedder(), index, is_current=False), document(LONG))
    assert index.points == []


@dataclass
class Stored:
    """Documents and the blobs they point to."""

    rows: list[StoredDocument] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def store(self, document_id: str, given: Document, chunking: JsonObject) -> None:
        self.blobs[document_id] = encode_document(given)
        publication = Publication(
            document_id=document_id,
            title="t",
            source="s",
            content_type=given.content_type,
            media_type=given.media_type,
            content_hash="",
            options_digest="",
            metadata={"of": document_id},
            chunks=1,
            size_bytes=1,
            document_blob=document_id,
            original_blob=None,
            chunking=chunking,
        )
        generation = Generation(document_id=document_id, task_id=f"task of {document_id}", fence=7)
        self.rows.append(
            StoredDocument(
                user_id=f"user of {document_id}",
                publication=publication,
                generation=generation,
                created_at=0,
                updated_at=0,
            )
        )

    async def document(self, user_id: str, document_id: str) -> StoredDocument | None:
        raise AssertionError(user_id, document_id)

    async def visible(self, user_id: str, document_ids: Sequence[str]) -> Mapping[str, StoredDocument]:
        raise AssertionError(user_id, document_ids)

    async def recognise(self, user_id: str, content_hash: str, options_digest: str) -> str | None:
        raise AssertionError(user_id, content_hash, options_digest)

    async def every(self) -> AsyncIterator[StoredDocument]:
        for each in self.rows:
            yield each

    async def documents(self, user_id: str, *, limit: int, after: str | None = None) -> list[StoredDocument]:
        raise AssertionError(user_id, limit, after)

    async def remove(self, user_id: str, document_id: str) -> bool:
        raise AssertionError(user_id, document_id)

    async def put(self, content: bytes) -> str:
        raise AssertionError(content)

    async def get(self, sha256: str) -> bytes:
        if sha256 not in self.blobs:
            raise NotFound("no such blob")
        return self.blobs[sha256]

    def path(self, sha256: str) -> Path:
        raise AssertionError(sha256)


async def test_reindex_writes_every_visible_generation_anew_as_it_was_cut() -> None:
    stored, index, reported = Stored(), NotedIndex(), Reported()
    small: JsonObject = {"chunk_size": 60, "strategy": "sentence"}
    stored.store("a", document(LONG), small)
    stored.store("b", document("A short one."), {})
    assert await Ingestor(NotedEmbedder(), index).reindex(stored, stored, reported) == 2
    of_a = [point for point in index.points if point.user_id == "user of a"]
    assert {point.generation for point in index.points} == {each.generation for each in stored.rows}
    assert [point.chunk for point in of_a] == chunk(document(LONG), ChunkOptions.of(small))
    assert of_a[0].metadata == {"of": "a"}
    fractions = [fraction for fraction, _, _ in reported.lines]
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1


async def test_reindex_says_when_a_stored_conversion_is_missing() -> None:
    stored = Stored()
    stored.store("a", document(LONG), {})
    stored.blobs.clear()
    with pytest.raises(NotFound):
        await Ingestor(NotedEmbedder(), NotedIndex()).reindex(stored, stored, Reported())
