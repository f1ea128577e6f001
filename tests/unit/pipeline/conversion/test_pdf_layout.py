from morag.pipeline.conversion.converters.document.pdf.blocks import blocks_of
from morag.pipeline.conversion.converters.document.pdf.columns import in_columns
from morag.pipeline.conversion.converters.document.pdf.geometry import Box, Line, PageText, Word
from morag.pipeline.conversion.converters.document.pdf.lines import lines_of
from morag.pipeline.conversion.converters.document.pdf.looks import looks_of
from morag.pipeline.conversion.converters.document.pdf.tables import ruled_tables

PROSE = "words of running text that fill the column"


def line(text: str, left: float, top: float, *, width: float | None = None, size: float = 10.0) -> Line:
    right = left + (width if width is not None else 0.5 * size * len(text))
    return Line(text=text, box=Box(left, top, right, top + size), size=size, is_bold=False, is_mono=False)


def page(lines: list[Line], rules: list[Box] | None = None) -> PageText:
    return PageText(width=600, height=800, lines=lines, stray=[], rules=rules or [], has_pictures=False)


def texts(lines: list[Line], rules: list[Box] | None = None) -> list[str]:
    whole = page(lines, rules)
    return [block.text for block in blocks_of(whole, looks_of([whole]))]


def test_two_columns_are_read_one_after_the_other_below_their_title() -> None:
    title = line("A title over both columns", 100, 100, width=400)
    left = [line(f"left {at} {PROSE}", 50, 200 + 12 * at, width=240) for at in range(5)]
    right = [line(f"right {at} {PROSE}", 310, 200 + 12 * at, width=240) for at in range(5)]
    mixed = [title, *(one for pair in zip(left, right, strict=True) for one in pair)]
    read = [one.text.split()[0] for region in in_columns(mixed) for one in region]
    assert read == ["A", *["left"] * 5, *["right"] * 5]


def test_aligned_rows_become_a_table() -> None:
    rows = [("Name", "Qty", "Price"), ("Apples", "3", "1.20"), ("Pears", "10", "2.50"), ("Plums", "7", "0.99")]
    lines = [line(text, 50 + 100 * x, 200 + 15 * y) for y, row in enumerate(rows) for x, text in enumerate(row)]
    expected = ["| Name | Qty | Price |", "| --- | --- | --- |", "| Apples | 3 | 1.20 |", "| Pears | 10 | 2.50 |"]
    assert texts(lines) == ["\n".join([*expected, "| Plums | 7 | 0.99 |"])]


def test_grid_of_rules_becomes_a_table_where_it_stands() -> None:
    rules = [Box(50, y, 250, y) for y in (200, 220, 240)] + [Box(x, 200, x, 240) for x in (50, 150, 250)]
    cells = [line("a", 60, 205), line("b", 160, 205), line("c", 60, 225), line("d", 160, 225)]
    assert [one.markdown for one in ruled_tables(rules, cells)] == ["| a | b |\n| --- | --- |\n| c | d |"]
    around = [line("Before it.", 50, 170), *cells, line("After it.", 50, 270)]
    assert texts(around, rules) == ["Before it.", "| a | b |\n| --- | --- |\n| c | d |", "After it."]


def test_word_cut_at_a_lines_end_is_made_whole() -> None:
    assert texts([line("Inter-", 50, 200), line("national law", 50, 212)]) == ["International law"]


def test_larger_type_is_a_heading_and_body_is_not() -> None:
    whole = page([line("Title", 50, 150, size=18), *(line(f"{PROSE}.", 50, 200 + 30 * at) for at in range(4))])
    found = [(block.level, block.text) for block in blocks_of(whole, looks_of([whole]))]
    assert found[0] == (1, "Title")
    assert {level for level, _ in found[1:]} == {0}


def test_running_header_and_page_number_are_left_out() -> None:
    pages = [
        page([line("The Book", 50, 20), line(f"{PROSE} {at}", 50, 300), line(str(at), 300, 780)]) for at in range(1, 5)
    ]
    looks = looks_of(pages)
    assert [block.text for one in pages for block in blocks_of(one, looks)] == [f"{PROSE} {at}" for at in range(1, 5)]


def test_number_that_ends_a_single_page_stays() -> None:
    assert texts([line(PROSE, 50, 300), line("42", 300, 780)]) == [PROSE, "42"]


def test_indented_items_nest() -> None:
    lines = [line("• one", 50, 200), line("• two", 70, 212), line("• three", 50, 224)]
    assert texts(lines) == ["- one\n  - two\n- three"]


def test_even_gaps_of_a_justified_line_do_not_cut_it() -> None:
    def word(text: str, left: float) -> Word:
        return Word(text=text, box=Box(left, 100, left + 30, 110), size=10, is_bold=False, is_mono=False)

    assert [one.text for one in lines_of([word("wide", 0), word("blanks", 50), word("here", 100)])] == [
        "wide blanks here"
    ]
    assert [one.text for one in lines_of([word("left", 0), word("right", 100)])] == ["left", "right"]
