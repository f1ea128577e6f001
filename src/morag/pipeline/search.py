"""A question → the chunks that answer it best: by meaning and by words, fused by rank, of visible documents only."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from morag.domain.content import Generation, StoredDocument
from morag.domain.errors import InvalidRequest, Unavailable
from morag.domain.json import JsonObject
from morag.pipeline.ports import DocumentStore, Embedder, Filters, Scored, VectorIndex

Mode = Literal["hybrid", "dense", "keyword"]
Weighted = tuple[float, Sequence[Scored]]
"""A ranking, best first, and its weight."""

MAX_QUERY = 4_000
"""Characters of a question."""
MAX_LIMIT = 100
RRF_K = 10
DENSE_WEIGHT, KEYWORD_WEIGHT = 1.0, 1.5
"""Reciprocal rank fusion. Measured on 105 headings cut out of package descriptions, asked for with and without the name
of the package: recall in the first five .848 and .629, with the usual K of 60 and equal weights .819 and .552."""
_DEPTH = 50
"""Least hits asked of each ranker: the fusion needs more than it returns."""
_DEEPER = 4
"""How much further to look when too few of the hits are visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that answers, and where it stands."""

    text: str
    score: float
    """Best first. Hybrid: 1.0 is first in both rankings; else the ranker's own."""
    document_id: str
    title: str
    source: str
    chunk_index: int
    page: int | None
    start_s: float | None
    end_s: float | None
    speaker: str | None
    sheet: str | None
    slide: int | None
    heading_path: tuple[str, ...]
    metadata: JsonObject


class Searcher:
    """Asks the index and keeps what the document store says is visible.

    `dense_enabled` False: the index holds vectors of another model, so words alone are searched.
    """

    def __init__(
        self, embedder: Embedder, index: VectorIndex, documents: DocumentStore, *, dense_enabled: bool = True
    ) -> None:
        self._embedder = embedder
        self._index = index
        self._documents = documents
        self._dense_enabled = dense_enabled

    async def search(
        self, user_id: str, query: str, *, limit: int = 10, mode: Mode = "hybrid", filters: Filters | None = None
    ) -> list[Hit]:
        """The user's best chunks, at most `limit` (1 to 100). Raises InvalidRequest, Unavailable."""
        _check(query, limit, mode)
        is_dense, is_keyword = self._rankers(mode)
        filters = filters or Filters()
        vector = asyncio.create_task(asyncio.to_thread(self._embedder.embed_query, query)) if is_dense else None
        words = query if is_keyword else None
        depth = max(_DEPTH, 2 * limit)
        while True:
            rankings = await self._rankings(user_id, vector, words, depth, filters)
            hits = await self._visible(user_id, fused(rankings))
            if len(hits) >= limit or all(len(ranking) < depth for _, ranking in rankings):
                return hits[:limit]
            depth *= _DEEPER

    def _rankers(self, mode: Mode) -> tuple[bool, bool]:
        """Whether to ask by meaning, and whether by words."""
        if mode == "dense" and not self._dense_enabled:
            raise Unavailable(
                "Search by meaning is off: the index holds vectors of another embedding model.",
                code="embedding_model_changed",
                hint="Run `morag reindex`; keyword search works meanwhile.",
            )
        return mode != "keyword" and self._dense_enabled, mode != "dense"

    async def _rankings(
        self, user_id: str, vector: asyncio.Task[list[float]] | None, words: str | None, depth: int, filters: Filters
    ) -> list[Weighted]:
        """By meaning and by words at once: the words are looked up while the question is still being embedded."""

        async def dense(vector: asyncio.Task[list[float]]) -> Weighted:
            found = await asyncio.to_thread(self._index.dense, user_id, await vector, limit=depth, filters=filters)
            return DENSE_WEIGHT, found

        async def keyword(words: str) -> Weighted:
            found = await asyncio.to_thread(self._index.keyword, user_id, words, limit=depth, filters=filters)
            return KEYWORD_WEIGHT, found

        by_meaning = [dense(vector)] if vector else []
        by_words = [keyword(words)] if words is not None else []
        return await asyncio.gather(*by_meaning, *by_words)

    async def _visible(self, user_id: str, found: Sequence[Scored]) -> list[Hit]:
        ids = list(dict.fromkeys(each.generation.document_id for each in found))
        visible = await self._documents.visible(user_id, ids)
        pairs = ((each, visible.get(each.generation.document_id)) for each in found)
        return [_hit(each, stored) for each, stored in pairs if stored and stored.generation == each.generation]


def fused(rankings: Sequence[Weighted]) -> list[Scored]:
    """One ranking of several by reciprocal rank; a score of 1.0 is first in all. One ranking stays as it is."""
    if len(rankings) == 1:
        return list(rankings[0][1])
    total = sum(weight for weight, _ in rankings)
    scores: dict[tuple[Generation, int], float] = {}
    found: dict[tuple[Generation, int], Scored] = {}
    for weight, ranking in rankings:
        for rank, each in enumerate(ranking, start=1):
            key = (each.generation, each.chunk.index)
            found[key] = each
            scores[key] = scores.get(key, 0.0) + weight / total * (RRF_K + 1) / (RRF_K + rank)
    best = sorted(scores, key=lambda key: -scores[key])
    return [replace(found[key], score=scores[key]) for key in best]


def _check(query: str, limit: int, mode: str) -> None:
    if not query.strip():
        raise InvalidRequest("The query is empty.", field="query")
    if len(query) > MAX_QUERY:
        raise InvalidRequest(f"The query is longer than {MAX_QUERY} characters.", field="query")
    if any("\ud800" <= sign <= "\udfff" for sign in query):
        raise InvalidRequest("The query is not Unicode text: it holds half a surrogate pair.", field="query")
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit must be from 1 to {MAX_LIMIT}.", field="limit")
    if mode not in get_args(Mode):
        raise InvalidRequest(f"mode must be one of: {', '.join(get_args(Mode))}.", field="mode")


def _hit(found: Scored, stored: StoredDocument) -> Hit:
    place, publication = found.chunk.place, stored.publication
    return Hit(
        text=found.chunk.text,
        score=found.score,
        document_id=publication.document_id,
        title=publication.title,
        source=publication.source,
        chunk_index=found.chunk.index,
        page=place.page,
        start_s=place.start_s,
        end_s=place.end_s,
        speaker=place.speaker,
        sheet=place.sheet,
        slide=place.slide,
        heading_path=place.heading_path,
        metadata=publication.metadata,
    )
