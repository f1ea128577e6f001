from morag.domain.content import ContentType, Document, Place
from morag.pipeline.conversion.markdown import MarkdownBuilder, cell, demote, escape, fenced, plain, sections, table


def built(builder: MarkdownBuilder) -> Document:
    return builder.document(content_type=ContentType.DOCUMENT, media_type="text/plain")


def test_segments_cover_the_text_in_order() -> None:
    builder = MarkdownBuilder()
    builder.heading(1, "One", Place(page=1))
    builder.block("first", Place(page=1))
    builder.heading(2, "Two", Place(page=2))
    builder.block("second", Place(page=2))
    document = built(builder)
    assert document.markdown == "# One\n\nfirst\n\n## Two\n\nsecond\n"
    assert [(segment.place.page, segment.place.heading_path) for segment in document.segments] == [
        (1, ("One",)),
        (2, ("One", "Two")),
    ]
    assert document.segments[0].text_start == 0
    assert document.segments[0].text_end == document.segments[1].text_start
    assert document.markdown[document.segments[1].text_start :] == "## Two\n\nsecond\n"


def test_heading_of_the_same_level_replaces_the_one_before() -> None:
    builder = MarkdownBuilder()
    builder.markdown("# A\n\n## B\n\ntext\n\n# C\n\nmore")
    assert [segment.place.heading_path for segment in built(builder).segments] == [("A",), ("A", "B"), ("C",)]


def test_hash_inside_a_fence_is_no_heading() -> None:
    found = list(sections("# A\n```\n# not\n```\nafter"))
    assert found == [((1, "A"), "```\n# not\n```\nafter")]


def test_inner_fence_of_fewer_ticks_does_not_close_the_outer() -> None:
    assert list(sections("````\n```\n# not\n```\n````\n# B")) == [(None, "````\n```\n# not\n```\n````"), ((1, "B"), "")]


def test_included_document_keeps_its_places_under_a_deeper_heading() -> None:
    inner = MarkdownBuilder()
    inner.heading(1, "Inner", Place(page=3))
    inner.block("text", Place(page=3))
    outer = MarkdownBuilder()
    outer.heading(2, "Attachment")
    outer.include(built(inner), under=2)
    document = built(outer)
    assert document.markdown == "## Attachment\n\n### Inner\n\ntext\n"
    assert document.segments[-1].place == Place(page=3, heading_path=("Attachment", "Inner"))


def test_table_escapes_pipes_fills_short_rows_and_drops_empty_columns() -> None:
    assert table([["a|b", "", "c"], ["1"], []]) == "| a\\|b | c |\n| --- | --- |\n| 1 |  |"


def test_table_of_nothing_is_nothing() -> None:
    assert table([["", " "], []]) == ""


def test_cell_stands_on_one_line() -> None:
    assert cell(" a \n\n b\tc ") == "a<br>b c"


def test_escaped_text_has_no_structure_of_its_own() -> None:
    assert escape("# a\n> b\n---\n<b> 1 < 2 <a@b.c>") == "\\# a\n\\> b\n\\---\n\\<b> 1 < 2 <a@b.c>"


def test_fence_is_longer_than_any_inside() -> None:
    assert fenced("```\nx\n```", "md") == "````md\n```\nx\n```\n````"


def test_plain_heading_text_has_no_marks() -> None:
    assert plain("A **bold** [link](http://x) `code` \\*") == "A bold link code *"


def test_demoted_headings_stop_at_level_six() -> None:
    assert demote("# A\n##### B", 2) == "### A\n\n###### B\n"
