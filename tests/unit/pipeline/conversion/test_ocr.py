"""Layout of read lines; the model itself runs in tests/integration."""

import numpy as np
import pytest

from morag.pipeline.conversion.layout.geometry import Box
from morag.pipeline.conversion.ocr import Line, to_markdown
from morag.pipeline.conversion.ocr_layout import blocks
from morag.pipeline.conversion.ocr_turn import Boxes, is_flipped, is_tall, quarters_of, upright


def line(text: str, left: float, top: float, *, height: float = 30, pitch: float = 13) -> Line:
    return Line(text=text, left=left, top=top, right=left + pitch * len(text), bottom=top + height, confidence=0.99)


def test_no_lines_are_no_text() -> None:
    assert to_markdown([], height=1000) == ""


def test_lines_are_read_from_top_to_bottom_in_whatever_order_they_were_found() -> None:
    lines = [line("third line here", 50, 180), line("first line here", 50, 100), line("second line here", 50, 140)]
    assert to_markdown(lines, height=1000) == "first line here second line here third line here"


def test_a_wider_gap_begins_a_paragraph() -> None:
    lines = [line(f"line number {n}", 50, top) for n, top in enumerate((100, 140, 180, 260, 300))]
    assert to_markdown(lines, height=1000).split("\n\n") == [
        "line number 0 line number 1 line number 2",
        "line number 3 line number 4",
    ]


def test_parts_of_one_row_of_a_slightly_turned_page_stay_together() -> None:
    lines = [line("left part", 50, 100), line("right part", 400, 92), line("below", 50, 150)]
    assert to_markdown(lines, height=1000).startswith("left part right part")


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
    assert found[0].box == pytest.approx((50, 100, 60 + 13 * 13, 170))


def test_drawn_lines_part_the_cells_of_a_table() -> None:
    rules = [Box(40, y, 640, y) for y in (90, 150, 210)] + [Box(x, 90, x, 210) for x in (40, 340, 640)]
    lines = [line("Alba", 60, 105), line("12.1", 360, 105), line("Boro", 60, 165), line("9.4", 360, 165)]
    assert blocks(lines, height=1000, rules=rules)[0].text == "| Alba | 12.1 |\n| --- | --- |\n| Boro | 9.4 |"


def quad(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def boxes(*quads: list[tuple[float, float]]) -> Boxes:
    return np.array(quads, dtype=np.float32)


def test_page_on_its_side_is_told_by_most_of_its_lines() -> None:
    tall = is_tall(boxes(quad(10, 10, 30, 300), quad(50, 10, 70, 300), quad(10, 350, 300, 370)))
    assert tall.tolist() == [True, True, False]
    assert quarters_of(tall, wide_flipped=False, tall_flipped=False) == 1
    assert quarters_of(tall, wide_flipped=False, tall_flipped=True) == 3
    assert quarters_of(~tall, wide_flipped=True, tall_flipped=False) == 2


def test_a_single_misjudged_line_does_not_turn_the_page() -> None:
    assert not is_flipped([("180", 0.99), ("0", 0.99), ("0", 0.95), ("180", 0.5)])
    assert is_flipped([("180", 0.99), ("180", 0.97), ("0", 0.95)])


@pytest.mark.parametrize(
    ("quarters", "expected"),
    [(0, (10, 20, 60, 30)), (1, (20, 140, 30, 190)), (2, (140, 70, 190, 80)), (3, (70, 10, 80, 60))],
)
def test_boxes_follow_the_picture_when_it_is_turned(quarters: int, expected: tuple[float, ...]) -> None:
    picture = np.zeros((100, 200), dtype=np.uint8)
    picture[20:30, 10:60] = 1
    found, _ = upright(boxes(quad(10, 20, 60, 30)), quarters, width=200, height=100)
    assert (*found[0].min(axis=0), *found[0].max(axis=0)) == expected
    ys, xs = np.nonzero(np.rot90(picture, quarters))
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == expected


def test_lines_of_a_page_askew_are_set_level() -> None:
    sloping = [[(100, y), (900, y + 40), (899, y + 60), (99, y + 20)] for y in (100, 200, 300)]
    found, turn = upright(np.array(sloping, dtype=np.float32), 0, width=1000, height=1000)
    assert turn.skew == pytest.approx(0.05, abs=0.001)
    assert np.ptp(found[0][:2, 1]) < 1
