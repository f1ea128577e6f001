import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morag.domain.content import Chunk, ContentType, Document, Place, Segment
from morag.domain.errors import InvalidRequest
from morag.domain.json import Json
from morag.pipeline.ingestion.chunk import ChunkOptions, ChunkStrategy, chunk


def document(markdown: str, segments: Sequence[Segment] = ()) -> Document:
    return Document(
        markdown=markdown,
        content_type=ContentType.DOCUMENT,
        media_type="text/markdown",
        title=None,
        metadata={},
        segments=tuple(segments),
    )


def cut(
    markdown: str, *, size: int = 200, overlap: int = 0, strategy: ChunkStrategy = ChunkStrategy.MARKDOWN
) -> list[Chunk]:
    return chunk(document(markdown), ChunkOptions(chunk_size=size, chunk_overlap=overlap, strategy=strategy))


def words(texts: Sequence[str]) -> list[int]:
    """A stand-in for a tokenizer: one token to a word."""
    return [len(text.split()) for text in texts]


PROSE = " ".join(f"Sentence number {n} says little." for n in range(60))
MARKDOWN = st.lists(
    st.sampled_from(
        [
            "# H\n",
            "## Sub\n",
            "word ",
            "Ende. ",
            "\n",
            "\n\n",
            "- item\n",
            "| a | b |\n",
            "```\n",
            "x = 1\n",
            "北京",
            " ",
        ]
    ),
    max_size=80,
).map("".join)


@given(markdown=MARKDOWN, size=st.integers(50, 90), overlap=st.integers(0, 40), strategy=st.sampled_from(ChunkStrategy))
@settings(max_examples=150, deadline=None)
def test_chunks_are_slices_that_fit_and_lose_no_word(
    markdown: str, size: int, overlap: int, strategy: ChunkStrategy
) -> None:
    chunks = cut(markdown, size=size, overlap=overlap, strategy=strategy)
    covered = [False] * len(markdown)
    for index, each in enumerate(chunks):
        assert each.index == index
        assert each.text == markdown[each.text_start : each.text_end] == each.text.strip()
        assert 0 < len(each.text) <= size
        covered[each.text_start : each.text_end] = [True] * len(each.text)
    lost = "".join(sign for sign, is_in in zip(markdown, covered, strict=True) if not is_in)
    assert not any(sign.isalnum() for sign in lost)


@pytest.mark.parametrize("strategy", list(ChunkStrategy))
def test_no_strategy_cuts_inside_a_word(strategy: ChunkStrategy) -> None:
    long_word = "x" * 90
    text = f"{PROSE} {long_word} {PROSE}"
    chunks = cut(text, size=100, overlap=10, strategy=strategy)
    assert len(chunks) > 10
    whole = set(text.split())
    assert all(set(each.text.split()) <= whole for each in chunks)


def test_a_word_longer_than_a_chunk_is_cut() -> None:
    assert [len(each.text) for each in cut("y" * 450, size=200)] == [200, 200, 50]


@pytest.mark.parametrize("text", ["", "  \n\n ", "---\n\n***\n", "| --- | --- |"])
def test_text_without_letters_or_digits_has_no_chunks(text: str) -> None:
    assert cut(text) == []


def test_prose_is_cut_between_sentences() -> None:
    for each in cut(PROSE):
        assert re.match(r"Sentence number \d+", each.text)
        assert each.text.endswith("little.")


def test_wrapped_prose_is_cut_between_sentences_and_not_between_lines() -> None:
    wrapped = PROSE.replace(" says", "\nsays")
    assert all(each.text.endswith("little.") for each in cut(wrapped))


def test_tables_are_cut_between_rows() -> None:
    rows = [f"| {n} | A sentence. Another one. | {n * n} |" for n in range(40)]
    for each in cut("\n".join(["| a | b | c |", "| --- | --- | --- |", *rows]), overlap=50):
        assert all(line in rows or line.startswith(("| a |", "| ---")) for line in each.text.splitlines())


def test_code_is_cut_between_lines_and_its_comments_are_no_headings() -> None:
    lines = [f"value_{n} = compute({n})  # Says. Something." for n in range(30)]
    chunks = cut("\n".join(["# Top", "```python", "# not a heading", *lines, "```", "", "After."]))
    assert {each.place.heading_path for each in chunks} == {("Top",)}
    inside = [line for each in chunks for line in each.text.splitlines() if line.startswith("value_")]
    assert inside == lines


def test_a_heading_begins_a_chunk_unless_the_one_before_is_short() -> None:
    body = "Some words of a section. " * 4
    chunks = cut(f"# Title\n\nShort.\n\n## One\n\n{body}\n\n## Two\n\n{body}", size=180)
    assert [each.text.splitlines()[0] for each in chunks] == ["# Title", "## Two"]


def test_a_heading_is_never_the_end_of_a_chunk() -> None:
    text = "\n\n".join(f"{'Words in a section. ' * 6}\n\n## Heading {n}" for n in range(8)) + "\n\nEnd."
    assert not any(each.text.splitlines()[-1].startswith("#") for each in cut(text, size=150)[:-1])


def test_heading_paths_follow_the_levels() -> None:
    body = "Word after word goes here. " * 3
    text = f"# A\n{body}\n## B\n{body}\n#### C #\n{body}\n## D\n{body}\n# E\n{body}"
    paths = [each.place.heading_path for each in cut(text, size=100)]
    assert paths == [("A",), ("A", "B"), ("A", "B", "C"), ("A", "D"), ("E",)]


def test_the_next_chunk_repeats_the_end_of_the_one_before() -> None:
    chunks = cut(PROSE, size=200, overlap=70)
    for before, after in itertools.pairwise(chunks):
        assert 0 < before.text_end - after.text_start <= 70
    assert all(before.text_end <= after.text_start for before, after in zip(cut(PROSE), cut(PROSE)[1:], strict=False))


def test_chunks_stay_under_the_limit_of_tokens() -> None:
    options = ChunkOptions(chunk_size=400, chunk_overlap=60, max_tokens=12, count_tokens=words)
    for text in (PROSE, "a b c d e f g " * 50):
        chunks = chunk(document(text), options)
        assert max(words([each.text for each in chunks])) <= 12
        assert sum(words([each.text for each in chunks])) >= len(text.split())


def spoken(text: str, start_s: float, speaker: str) -> tuple[str, Place]:
    return text, Place(start_s=start_s, end_s=start_s + 5, speaker=speaker)


def with_places(pairs: Sequence[tuple[str, Place]]) -> Document:
    text, segments = "", list[Segment]()
    for piece, place in pairs:
        segments.append(Segment(text_start=len(text), text_end=len(text) + len(piece), place=place))
        text += piece + "\n\n"
    return document(text, segments)


def test_a_chunk_has_the_place_it_begins_at_and_the_time_it_ends_at() -> None:
    given = with_places([spoken(f"Somebody says sentence {n}.", n * 5.0, "AB"[n % 2]) for n in range(10)])
    first, second, *_ = chunk(given, ChunkOptions(chunk_size=110, chunk_overlap=0))
    assert (first.place.start_s, first.place.end_s, first.place.speaker) == (0.0, 20.0, "A")
    assert second.place.start_s == 20.0


def test_each_slide_and_each_sheet_begins_a_chunk() -> None:
    slides = [(f"## Slide {n}\n\nFew words.", Place(slide=n)) for n in (1, 2, 3)]
    sheets = [(f"Row of {name}", Place(sheet=name)) for name in ("S1", "S2")]
    chunks = chunk(with_places([*slides, *sheets]), ChunkOptions())
    assert [(each.place.slide, each.place.sheet) for each in chunks] == [
        (1, None), (2, None), (3, None), (None, "S1"), (None, "S2"),
    ]  # fmt: skip


def test_the_page_is_that_of_the_first_line_and_the_converters_headings_win() -> None:
    pages = with_places([(PROSE, Place(page=1)), (PROSE, Place(page=2, heading_path=("Given",)))])
    chunks = chunk(pages, ChunkOptions(chunk_size=500, chunk_overlap=0))
    assert {each.place.page for each in chunks} == {1, 2}
    for each in chunks:
        assert each.place.page == (1 if each.text_start < len(PROSE) else 2)
        assert each.place.heading_path == (() if each.place.page == 1 else ("Given",))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"chunk_size": 49}, "chunk_size"),
        ({"chunk_size": 100_001}, "chunk_size"),
        ({"chunk_size": "500"}, "chunk_size"),
        ({"chunk_size": True}, "chunk_size"),
        ({"chunk_overlap": -1}, "chunk_overlap"),
        ({"chunk_size": 100, "chunk_overlap": 100}, "chunk_overlap"),
        ({"strategy": "semantic"}, "strategy"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(asked: dict[str, Json], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ChunkOptions.of(asked)
    assert refused.value.field == field


def test_options_not_asked_for_have_their_defaults() -> None:
    assert ChunkOptions.of({}) == ChunkOptions()
    small = ChunkOptions.of({"chunk_size": 60, "chunk_overlap": None, "strategy": "fixed"})
    assert (small.chunk_overlap, small.strategy) == (6, ChunkStrategy.FIXED)
