"""Layout of read lines; the model itself runs in tests/integration."""

from morag.pipeline.conversion.ocr import Line, to_markdown
from morag.pipeline.conversion.ocr_layout import blocks


def line(text: str, left: float, top: float, *, height: float = 30, pitch: float = 13) -> Line:
    return Line(text=text, left=left, top=top, right=left + pitch * len(text), bottom=top + height, confidence=0.99)


def test_no_lines_are_no_text() -> None:
    assert to_markdown([], height=1000) == ""


def test_lines_are_read_from_top_to_bottom_in_whatever_order_they_were_found() -> None:
    lines = [line("third line here", 50, 180), line("first line here", 50, 100), line("second line here", 50, 140)]
    assert to_markdown(lines, height=1000) == "first line here\nsecond line here\nthird line here"


def test_a_wider_gap_begins_a_paragraph() -> None:
    lines = [line(f"line number {n}", 50, top) for n, top in enumerate((100, 140, 180, 260, 300))]
    assert to_markdown(lines, height=1000).split("\n\n") == [
        "line number 0\nline number 1\nline number 2",
        "line number 3\nline number 4",
    ]


def test_parts_of_one_row_of_a_slightly_turned_page_stay_together() -> None:
    lines = [line("left part", 50, 100), line("right part", 400, 92), line("below", 50, 150)]
    assert to_markdown(lines, height=1000).splitlines()[0] == "left part right part"


def test_larger_letters_make_a_heading() -> None:
    body = [line("plain words of the body text", 50, 200 + 40 * n) for n in range(4)]
    found = to_markdown([line("THE TITLE", 50, 80, height=60, pitch=30), *body], height=1000)
    assert found.startswith("# THE TITLE\n\nplain words")


def test_the_left_column_is_read_before_the_right_one() -> None:
    left = [line(f"left column line number {n}", 50, 200 + 40 * n) for n in range(5)]
    right = [line(f"right column line number {n}", 600, 205 + 40 * n) for n in range(5)]
    banner = line("a line across both of the columns, from margin to margin, as long as it gets", 50, 120)
    text = to_markdown([*right, banner, *left], height=1000)
    assert (
        text.index("a line across") < text.index("left column line number 4") < text.index("right column line number 0")
    )


def test_cells_that_line_up_become_a_table() -> None:
    rows = [("Month", "Tide"), ("January", "5.71"), ("February", "5.88"), ("March", "6.05")]
    lines = [
        line(text, 50 + 300 * column, 100 + 40 * r) for r, row in enumerate(rows) for column, text in enumerate(row)
    ]
    assert to_markdown(lines, height=1000).splitlines()[:3] == [
        "| Month | Tide |",
        "| --- | --- |",
        "| January | 5.71 |",
    ]


def test_a_word_cut_at_the_end_of_a_line_is_made_whole() -> None:
    assert to_markdown([line("the baro-", 50, 100), line("meter fell", 50, 140)], height=1000) == "the barometer fell"


def test_a_bullet_becomes_a_list_item() -> None:
    assert to_markdown([line("• first", 50, 100), line("• second", 50, 140)], height=900) == "- first\n- second"


def test_text_that_looks_like_markup_stays_text() -> None:
    assert to_markdown([line("# not a heading", 50, 100)], height=1000) == "\\# not a heading"


def test_a_block_knows_its_box() -> None:
    found = blocks([line("one line here", 50, 100), line("two line here", 60, 140)], height=1000)
    assert found[0].box == (50, 100, 60 + 13 * 13, 170)
