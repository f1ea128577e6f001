from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from morag.domain.content import Chunk, ContentType, Generation, Place, Publication, StoredDocument
from morag.domain.errors import InvalidRequest, Unavailable
from morag.pipeline.ports import Filters, Point, Scored
from morag.pipeline.search import MAX_QUERY, Mode, Searcher, fused


def generation(document_id: str, fence: int = 1) -> Generation:
    return Generation(document_id=document_id, task_id="task", fence=fence)


def scored(
    text: str, *, i: int = 0, of: Generation | None = None, score: float = 0.5, place: Place | None = None
) -> Scored:
    chunk = Chunk(index=i, text=text, text_start=0, text_end=len(text), place=place or Place())
    return Scored(generation=of or generation("doc"), chunk=chunk, score=score)


def stored(document_id: str, fence: int = 1) -> StoredDocument:
    publication = Publication(
        document_id=document_id,
        title=f"Title of {document_id}",
        source=f"{document_id}.pdf",
        content_type=ContentType.DOCUMENT,
        media_type="application/pdf",
        content_hash="",
        options_digest="",
        metadata={"lang": "en"},
        chunks=1,
        size_bytes=1,
        document_blob="",
        original_blob=None,
    )
    return StoredDocument(
        user_id="ann", publication=publication, generation=generation(document_id, fence), created_at=0, updated_at=0
    )


@dataclass
class ListedIndex:
    """Rankings as given; notes how each was asked."""

    by_meaning: Sequence[Scored] = ()
    by_words: Sequence[Scored] = ()
    asked: list[tuple[str, str, int, Filters]] = field(default_factory=list)

    def dense(self, user_id: str, vector: Sequence[float], *, limit: int, filters: Filters) -> list[Scored]:
        assert vector == [1.0]
        self.asked.append(("dense", user_id, limit, filters))
        return list(self.by_meaning[:limit])

    def keyword(self, user_id: str, text: str, *, limit: int, filters: Filters) -> list[Scored]:
        assert text
        self.asked.append(("keyword", user_id, limit, filters))
        return list(self.by_words[:limit])

    def add(self, points: Sequence[Point]) -> None:
        raise AssertionError(points)

    def delete(self, user_id: str, document_id: str, *, keep: Generation | None) -> None:
        raise AssertionError(user_id, document_id, keep)

    def generations(self) -> Mapping[Generation, str]:
        return {}

    def count(self, user_id: str) -> int:
        return len(user_id)

    def close(self) -> None:
        return


class OneVector:
    model, dimensions, max_tokens = "one@1", 1, 256

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        assert text
        return [1.0]


@dataclass
class ListedDocuments:
    """The visible documents of ann."""

    listed: Sequence[StoredDocument]

    async def document(self, user_id: str, document_id: str) -> StoredDocument | None:
        return (await self.visible(user_id, [document_id])).get(document_id)

    async def visible(self, user_id: str, document_ids: Sequence[str]) -> Mapping[str, StoredDocument]:
        mine = {each.publication.document_id: each for each in self.listed if each.user_id == user_id}
        return {document_id: mine[document_id] for document_id in document_ids if document_id in mine}

    async def recognise(self, user_id: str, content_hash: str, options_digest: str) -> str | None:
        raise AssertionError(user_id, content_hash, options_digest)

    async def every(self) -> AsyncIterator[StoredDocument]:
        for each in self.listed:
            yield each

    async def documents(self, user_id: str, *, limit: int, after: str | None = None) -> list[StoredDocument]:
        raise AssertionError(user_id, limit, after)

    async def remove(self, user_id: str, document_id: str) -> bool:
        raise AssertionError(user_id, document_id)


def searcher(index: ListedIndex, *documents: StoredDocument, dense_enabled: bool = True) -> Searcher:
    return Searcher(OneVector(), index, ListedDocuments(documents or [stored("doc")]), dense_enabled=dense_enabled)


async def test_a_chunk_both_rankers_find_comes_before_what_one_puts_first() -> None:
    meaning = [scored("only meaning", i=1), scored("both", i=2)]
    words = [scored("only words", i=3), scored("both", i=2)]
    hits = await searcher(ListedIndex(meaning, words)).search("ann", "question")
    assert [hit.text for hit in hits] == ["both", "only words", "only meaning"]


def test_first_in_every_ranking_scores_one() -> None:
    best = scored("best")
    assert fused([(1, [best]), (3, [best])])[0].score == pytest.approx(1.0)
    assert fused([(1, [best, scored("next", i=1)]), (3, [])])[0].score == pytest.approx(0.25)
    assert fused([(2, [best])]) == [best]


async def test_a_hit_tells_where_it_is_from() -> None:
    place = Place(page=2, start_s=1.0, end_s=2.0, speaker="A", sheet="S", slide=3, heading_path=("H",))
    index = ListedIndex([scored("text", i=4, place=place)])
    (hit,) = await searcher(index).search("ann", "question", mode="dense")
    assert (hit.title, hit.source, hit.document_id, hit.chunk_index) == ("Title of doc", "doc.pdf", "doc", 4)
    assert (hit.page, hit.start_s, hit.end_s, hit.speaker, hit.sheet, hit.slide) == (2, 1.0, 2.0, "A", "S", 3)
    assert (hit.heading_path, hit.metadata, hit.score) == (("H",), {"lang": "en"}, 0.5)


async def test_generations_that_are_not_visible_are_dropped_and_the_search_goes_deeper() -> None:
    stale = [scored(f"stale {i}", i=i, of=generation("doc", fence=1)) for i in range(300)]
    gone = [scored(f"gone {i}", i=i, of=generation("gone")) for i in range(300)]
    fresh = [scored(f"fresh {i}", i=i, of=generation("doc", fence=2)) for i in range(5)]
    index = ListedIndex([*stale, *gone, *fresh])
    hits = await searcher(index, stored("doc", fence=2)).search("ann", "question", limit=5, mode="dense")
    assert [hit.text for hit in hits] == [f"fresh {i}" for i in range(5)]
    assert len(index.asked) > 1


async def test_an_exhausted_index_ends_the_search() -> None:
    index = ListedIndex([scored(str(i), i=i, of=generation("gone")) for i in range(120)])
    assert await searcher(index).search("ann", "question", limit=10) == []


async def test_no_more_hits_than_asked_for() -> None:
    index = ListedIndex([scored(str(i), i=i) for i in range(300)])
    assert len(await searcher(index).search("ann", "question", limit=100)) == 100
    assert len(index.asked) == 2


@pytest.mark.parametrize(
    ("mode", "asked"), [("dense", ["dense"]), ("keyword", ["keyword"]), ("hybrid", ["dense", "keyword"])]
)
async def test_each_mode_asks_its_rankers_for_the_user_with_the_filters(mode: Mode, asked: list[str]) -> None:
    index, filters = ListedIndex(), Filters(document_id="doc")
    await searcher(index).search("ann", "question", mode=mode, filters=filters)
    assert sorted((ranker, user) for ranker, user, _, _ in index.asked) == sorted((each, "ann") for each in asked)
    assert all(given == filters for _, _, _, given in index.asked)


async def test_an_index_of_another_model_is_searched_by_words_alone() -> None:
    index = ListedIndex([scored("meaning")], [scored("words", i=1)])
    old = searcher(index, dense_enabled=False)
    assert [hit.text for hit in await old.search("ann", "question")] == ["words"]
    with pytest.raises(Unavailable) as refused:
        await old.search("ann", "question", mode="dense")
    assert "reindex" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("query", "limit", "mode", "field"),
    [
        ("", 10, "hybrid", "query"),
        (" \n", 10, "hybrid", "query"),
        ("\ud83d", 10, "hybrid", "query"),
        ("x" * (MAX_QUERY + 1), 10, "hybrid", "query"),
        ("x", 0, "hybrid", "limit"),
        ("x", 101, "hybrid", "limit"),
        ("x", 10, "magic", "mode"),  # what a caller without types may pass
    ],
)
async def test_a_search_that_cannot_be_is_refused_by_field(query: str, limit: int, mode: Mode, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await searcher(ListedIndex()).search("ann", query, limit=limit, mode=mode)
    assert refused.value.field == field
