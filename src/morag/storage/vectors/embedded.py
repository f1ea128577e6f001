"""The index inside the server's own process: qdrant-edge, vectors and BM25 words in one shard.

Chosen by measurement, see docs/adr/0002-embedded-index.md. Vectors are compared exactly, one user's at a time. The
shard opens at the first call, so that a server nobody searches stays light. One process owns the folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from qdrant_edge import (
    Bm25,
    CountRequest,
    EdgeShard,
    FacetRequest,
    IdfParams,
    Query,
    QueryRequest,
    ScoredPoint,
    SearchParams,
    UpdateOperation,
)
from qdrant_edge import Point as EdgePoint

from morag.domain.content import Generation
from morag.pipeline.ports import Filters, Point, Scored
from morag.storage.vectors import records
from morag.storage.vectors.shard import DENSE, WORDS, matching, opened, word_weights
from morag.storage.vectors.words import spaced


class EmbeddedIndex:
    """Implements `pipeline.ports.VectorIndex` in `folder`, for vectors of one model only.

    `dimensions` is the length of the vectors; a folder that exists knows its own.
    """

    def __init__(self, folder: Path, *, dimensions: int) -> None:
        self._folder = folder
        self._dimensions = dimensions
        self._lock = Lock()
        self._writing = Lock()
        self._shard: EdgeShard | None = None
        self._bm25: Bm25 | None = None

    def add(self, points: Sequence[Point]) -> None:
        """Store points, durable when it returns."""
        if not points:
            return
        shard, words = self._open(), self._words()
        rows = [
            EdgePoint(
                records.point_id(point),
                {DENSE: list(point.vector), WORDS: words.embed_document(_searched_text(point))},
                records.payload(point),
            )
            for point in points
        ]
        self._write(shard, UpdateOperation.upsert_points(rows))

    def dense(self, user_id: str, vector: Sequence[float], *, limit: int, filters: Filters) -> list[Scored]:
        """Nearest by cosine, exactly."""
        shard = self._open()
        request = QueryRequest(
            limit=limit,
            query=Query.Nearest(list(vector), using=DENSE),
            filter=matching(records.exact_terms(user_id, filters)),
            with_payload=True,
            params=SearchParams(exact=True),
        )
        return [_scored(found) for found in shard.query(request)]

    def keyword(self, user_id: str, text: str, *, limit: int, filters: Filters) -> list[Scored]:
        """Best by BM25; how rare a word is, is counted over this user's chunks alone."""
        words = self._words().embed_query(spaced(text))
        if not words.indices:
            return []
        request = QueryRequest(
            limit=limit,
            query=Query.Nearest(words, using=WORDS),
            filter=matching(records.exact_terms(user_id, filters)),
            with_payload=True,
            params=SearchParams(idf=IdfParams(matching([(records.USER, user_id)]))),
        )
        return [_scored(found) for found in self._open().query(request)]

    def delete(self, user_id: str, document_id: str, *, keep: Generation | None) -> None:
        """Drop a document's points, those of `keep` aside; durable when it returns."""
        doomed = matching(
            [(records.USER, user_id), (records.DOCUMENT, document_id)],
            but_not=[(records.OWNER, records.owner(user_id, keep))] if keep else [],
        )
        self._write(self._open(), UpdateOperation.delete_points_by_filter(doomed))

    def generations(self) -> Mapping[Generation, str]:
        """Every generation with its user."""
        shard = self._open()
        every = max(shard.info().points_count, 1)
        owners = shard.facet(FacetRequest(records.OWNER, limit=every, exact=True)).hits
        pairs = (records.read_owner(str(hit.value)) for hit in owners if hit.count)
        return {generation: user_id for user_id, generation in pairs}

    def count(self, user_id: str) -> int:
        """A user's points."""
        return self._open().count(CountRequest(exact=True, filter=matching([(records.USER, user_id)])))

    def points(self) -> int | None:
        """Everybody's points; None while the index is not open, so that asking costs nothing."""
        with self._lock:
            return None if self._shard is None else self._shard.info().points_count

    def close(self) -> None:
        """Flush and let go of the files; the next call opens them again."""
        with self._lock:
            if self._shard is not None:
                self._shard.flush()
                self._shard.close()
                self._shard = None

    def _write(self, shard: EdgeShard, operation: UpdateOperation) -> None:
        with self._writing:
            shard.update(operation)
            shard.flush()

    def _open(self) -> EdgeShard:
        with self._lock:
            self._shard = self._shard or opened(self._folder, self._dimensions)
            return self._shard

    def _words(self) -> Bm25:
        with self._lock:
            self._bm25 = self._bm25 or word_weights()
            return self._bm25


def _searched_text(point: Point) -> str:
    """The chunk, under the headings it stands under: they are often the words a question uses."""
    return spaced("\n".join((*point.chunk.place.heading_path, point.chunk.text)))


def _scored(found: ScoredPoint) -> Scored:
    payload = found.payload or {}
    _, generation = records.read_owner(payload[records.OWNER])
    return Scored(generation=generation, chunk=records.read_chunk(payload), score=found.score)
