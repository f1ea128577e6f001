"""What every `pipeline.ports.VectorIndex` must do, over each adapter."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from morag.domain.content import Chunk, ContentType, Generation, Place
from morag.domain.json import JsonObject
from morag.pipeline.ports import Filters, Point, VectorIndex
from morag.storage.vectors.embedded import EmbeddedIndex

ANY = Filters()
DIMENSIONS = 4

Make = Callable[[Path], VectorIndex]


def embedded(folder: Path) -> VectorIndex:
    return EmbeddedIndex(folder / "index", dimensions=DIMENSIONS)


@pytest.fixture(params=[embedded])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


@pytest.fixture
def index(make: Make, tmp_path: Path) -> Iterator[VectorIndex]:
    index = make(tmp_path)
    yield index
    index.close()


def generation(document_id: str = "doc", task_id: str = "task-1", fence: int = 1) -> Generation:
    return Generation(document_id=document_id, task_id=task_id, fence=fence)


def unit(angle: float) -> list[float]:
    return [math.cos(angle), math.sin(angle), 0.0, 0.0]


def point(
    text: str,
    *,
    i: int = 0,
    user_id: str = "ann",
    of: Generation | None = None,
    angle: float = 0.0,
    place: Place | None = None,
    content_type: ContentType = ContentType.DOCUMENT,
    metadata: JsonObject | None = None,
) -> Point:
    return Point(
        user_id=user_id,
        generation=of or generation(),
        chunk=Chunk(index=i, text=text, text_start=0, text_end=len(text), place=place or Place()),
        vector=unit(angle),
        content_type=content_type,
        metadata=metadata or {},
    )


def texts_by_word(index: VectorIndex, words: str, user_id: str = "ann", filters: Filters = ANY) -> list[str]:
    return [hit.chunk.text for hit in index.keyword(user_id, words, limit=10, filters=filters)]


def texts_near(index: VectorIndex, angle: float, user_id: str = "ann", filters: Filters = ANY) -> list[str]:
    return [hit.chunk.text for hit in index.dense(user_id, unit(angle), limit=10, filters=filters)]


def test_an_empty_index_answers(index: VectorIndex) -> None:
    assert texts_near(index, 0.0) == []
    assert texts_by_word(index, "anything") == []
    assert index.count("ann") == 0
    assert dict(index.generations()) == {}
    index.add([])
    index.delete("ann", "doc", keep=None)


def test_dense_gives_the_nearest_first_with_their_cosine(index: VectorIndex) -> None:
    index.add([point(f"at {tenth}", i=tenth, angle=tenth / 10) for tenth in range(10)])
    hits = index.dense("ann", unit(0.31), limit=3, filters=ANY)
    assert [hit.chunk.text for hit in hits] == ["at 3", "at 4", "at 2"]
    assert hits[0].score == pytest.approx(math.cos(0.01), abs=1e-4)  # half precision is allowed


def test_a_chunk_comes_back_whole(index: VectorIndex) -> None:
    place = Place(
        page=3, bbox=(0.0, 0.1, 0.5, 1.0), start_s=0.0, end_s=1.5, speaker="A", sheet="S", slide=2,
        heading_path=("Top", "Below"),
    )  # fmt: skip
    given = point("Ein Satz | mit\nZeilen", i=7, place=place, of=generation('d/ö "x"', "t", 9))
    index.add([given])
    for hit in (
        *index.dense("ann", unit(0), limit=1, filters=ANY),
        *index.keyword("ann", "satz", limit=1, filters=ANY),
    ):
        assert hit.chunk == given.chunk
        assert hit.generation == given.generation


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("INV-0042", "Invoice INV-0042 of 12.50 EUR"),
        ("0042", "Invoice INV-0042 of 12.50 EUR"),
        ("12.50", "Invoice INV-0042 of 12.50 EUR"),
        ("müller", "Frau MÜLLER-Lüdenscheidt wohnt hier"),
        ("cafe", "Ein Café am Platz"),
        ("connecting", "The connected pipes"),
        ("москва", "Москва зимой"),
        ("北京", "我们今天去北京"),
        ("snake_case", "rename snake_case identifiers"),
        ("the who", "The Who played"),
    ],
)
def test_keyword_finds_names_numbers_and_word_forms(index: VectorIndex, words: str, found: str) -> None:
    corpus = [
        "Invoice INV-0042 of 12.50 EUR",
        "Invoice INV-0043 of 13.75 EUR",
        "Frau MÜLLER-Lüdenscheidt wohnt hier",
        "Ein Café am Platz",
        "The connected pipes",
        "Москва зимой",
        "我们今天去北京",
        "rename snake_case identifiers",
        "The Who played",
    ]
    index.add([point(text, i=i) for i, text in enumerate(corpus)])
    assert texts_by_word(index, words)[0] == found


def test_keyword_weighs_rare_words_more_and_ignores_chunks_without_any(index: VectorIndex) -> None:
    common = [point(f"common words number {i}", i=i) for i in range(8)]
    index.add([*common, point("common zebra", i=8), point("nothing here", i=9)])
    found = texts_by_word(index, "common zebra")
    assert found[0] == "common zebra"
    assert "nothing here" not in found
    assert texts_by_word(index, "?!") == []


def test_keyword_reads_the_headings_above_a_chunk(index: VectorIndex) -> None:
    index.add([point("Thirty days.", i=0, place=Place(heading_path=("Terms", "Payment"))), point("Six weeks.", i=1)])
    assert texts_by_word(index, "payment") == ["Thirty days."]


def test_rarity_of_words_is_not_told_across_users(index: VectorIndex) -> None:
    index.add([point("zebra and lion", i=0), point("lion", i=1), point("zebra", i=2)])
    before = index.keyword("ann", "zebra lion", limit=10, filters=ANY)
    index.add([point("zebra", i=i, user_id="bob", of=generation(f"b{i}")) for i in range(50)])
    assert index.keyword("ann", "zebra lion", limit=10, filters=ANY) == before


def test_a_user_sees_counts_and_deletes_own_points_only(index: VectorIndex) -> None:
    index.add([point("secret of ann", user_id="ann"), point("secret of bob", user_id="bob")])
    same_document = Filters(document_id="doc")
    assert texts_near(index, 0, "bob", same_document) == ["secret of bob"]
    assert texts_by_word(index, "secret ann", "bob", same_document) == ["secret of bob"]
    assert texts_near(index, 0, "nobody") == []
    index.delete("bob", "doc", keep=None)
    assert (index.count("ann"), index.count("bob")) == (1, 0)


def test_filters_must_all_match(index: VectorIndex) -> None:
    index.add(
        [
            point("one", i=0, metadata={"year": 2024, "lang": "de", "draft": True, "tags": ["x"]}),
            point("two", i=1, metadata={"year": 2024, "lang": "en", "draft": False, "price": 1.5}),
            point("three", i=2, of=generation("other"), content_type=ContentType.AUDIO),
        ]
    )

    def matching(**wanted: str | float | bool) -> set[str]:
        filters = Filters(metadata=wanted)
        by_word = set(texts_by_word(index, "one two three", filters=filters))
        assert by_word == set(texts_near(index, 0, filters=filters))
        return by_word

    assert matching(year=2024) == {"one", "two"}
    assert matching(year=2024.0, lang="de") == {"one"}
    assert matching(draft=False) == {"two"}
    assert matching(draft=0) == set()
    assert matching(year="2024") == set()
    assert matching(price=1.5) == {"two"}
    assert texts_near(index, 0, filters=Filters(document_id="other")) == ["three"]
    assert texts_near(index, 0, filters=Filters(content_type=ContentType.AUDIO)) == ["three"]
    assert texts_near(index, 0, filters=Filters(document_id="other", metadata={"year": 2024})) == []


def test_adding_a_chunk_again_replaces_it(index: VectorIndex) -> None:
    index.add([point("old words")])
    index.add([point("new words")])
    assert index.count("ann") == 1
    assert texts_by_word(index, "old new") == ["new words"]


def test_delete_keeps_the_generation_it_is_told_to(index: VectorIndex) -> None:
    kept, stale = generation(task_id="task-2", fence=3), generation(task_id="task-2", fence=2)
    index.add([point("kept", of=kept), point("stale", of=stale), point("first"), point("else", of=generation("other"))])
    index.delete("ann", "doc", keep=kept)
    assert sorted(texts_near(index, 0)) == ["else", "kept"]


def test_generations_names_each_with_its_user(index: VectorIndex) -> None:
    theirs = generation("b", "task-9", 4)
    index.add([*(point(str(i), i=i) for i in range(30)), point("x", user_id="bob", of=theirs)])
    assert dict(index.generations()) == {generation(): "ann", theirs: "bob"}
    index.delete("bob", "b", keep=None)
    assert dict(index.generations()) == {generation(): "ann"}


def test_points_outlive_a_close(make: Make, index: VectorIndex, tmp_path: Path) -> None:
    index.add([point("stays")])
    index.close()
    again = make(tmp_path)
    assert texts_by_word(again, "stays") == texts_near(again, 0) == ["stays"]
    again.close()


def test_threads_may_write_and_search_at_once(index: VectorIndex) -> None:
    def write(n: int) -> None:
        index.add([point(f"words of {n}", i=i, of=generation(f"d{n}"), angle=n / 40) for i in range(5)])
        assert index.dense("ann", unit(n / 40), limit=5, filters=Filters(document_id=f"d{n}"))
        assert index.keyword("ann", "words", limit=5, filters=ANY)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(40)))
    assert index.count("ann") == 200
