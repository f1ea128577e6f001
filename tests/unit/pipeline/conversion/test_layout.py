from morag.pipeline.conversion.converters.document.pdf.lines import lines_of
from morag.pipeline.conversion.layout.blocks import blocks_of
from morag.pipeline.conversion.layout.columns import in_columns
from morag.pipeline.conversion.layout.geometry import Box, Line, PageText, Word
from morag.pipeline.conversion.layout.looks import looks_of
from morag.pipeline.conversion.layout.tables import ruled_tables

PROSE = "words of running text that fill the column"


def line(text: str, left: float, top: float, *, width: float | None = None, size: float = 10.0) -> Line:
    right = left + (width if width is not None else 0.5 * size * len(text))
    return Line(text=text, box=Box(left, top, right, top + size), size=size, is_bold=False, is_mono=False)


def page(lines: list[Line], rules: list[Box] | None = None) -> PageText:
    return PageText(width=600, height=800, lines=lines, stray=[], rules=rules or [], pictures=[], has_ink=True)


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


def test_three_columns_are_read_one_after_the_other() -> None:
    columns = [
        line(f"{name} {at} {PROSE}", 50 + 170 * x, 200 + 12 * at, width=160)
        for at in range(6)
        for x, name in enumerate(("first", "second", "third"))
    ]
    read = [one.text.split()[0] for region in in_columns(columns) for one in region]
    assert read == [*["first"] * 6, *["second"] * 6, *["third"] * 6]


def test_stories_below_each_other_keep_their_own_columns() -> None:
    upper = [line(f"up {x} {PROSE}", 50 + 170 * x, 100 + 12 * at, width=160) for at in range(5) for x in range(3)]
    lower = [line(f"low {x} {PROSE}", 50 + 255 * x, 200 + 12 * at, width=240) for at in range(5) for x in range(2)]
    read = [" ".join(one.text.split()[:2]) for region in in_columns([*upper, *lower]) for one in region]
    assert read == [f"{name} {x}" for name, count in (("up", 3), ("low", 2)) for x in range(count) for _ in range(5)]


def test_sentence_that_goes_on_in_the_next_column_is_one_paragraph() -> None:
    left = [line(f"{PROSE} and", 50, 200 + 12 * at, width=240) for at in range(4)]
    right = [line(f"{PROSE} and", 310, 200 + 12 * at, width=240) for at in range(4)]
    assert len(texts([*left, *right])) == 1


def test_title_over_several_columns_belongs_to_the_table() -> None:
    rows = [("", "2023", "2022"), ("Goods", "12", "11"), ("Service", "3", "4"), ("Whole", "15", "15")]
    cells = [line(text, 50 + 100 * x, 200 + 13 * y) for y, row in enumerate(rows) for x, text in enumerate(row) if text]
    assert texts([line("Year ended", 170, 188), *cells])[0].splitlines()[:3] == [
        "|  | Year ended |  |",
        "| --- | --- | --- |",
        "|  | 2023 | 2022 |",
    ]


def test_indented_labels_stay_in_their_table() -> None:
    labels = [("Income", 0), ("Goods", 10), ("Service", 10), ("Cost", 0), ("Rent", 10), ("Wages", 10), ("Profit", 0)]
    lines = [line(text, 50 + by, 200 + 13 * at) for at, (text, by) in enumerate(labels)]
    lines += [line("Year", 50, 187), line("2023", 200, 187)]
    lines += [line(str(at * 7), 200, 200 + 13 * at) for at, (_, by) in enumerate(labels) if by or at == 6]
    assert texts(lines)[0].count("\n") == 8


def test_items_numbered_without_dots_are_a_list() -> None:
    lines = [line(text, 50, 200 + 14 * at) for at, text in enumerate(("1", "2", "3"))]
    lines += [line(text, 70, 200 + 14 * at) for at, text in enumerate(("Weigh anchor", "Set sail", "Keep watch"))]
    assert texts(lines) == ["1. Weigh anchor\n2. Set sail\n3. Keep watch"]


def test_lines_that_end_early_are_not_run_together() -> None:
    lines = [
        line(f"{PROSE} to the end {PROSE}", 50, 200),
        line("Yours sincerely,", 50, 212),
        line("Ada Byron", 50, 224),
    ]
    assert texts(lines)[-1] == "Ada Byron"


def furnished(*extra: Line) -> list[str]:
    body = [line(f"{PROSE} {PROSE}", 50, 150 + 12 * at, width=500) for at in range(20)]
    return texts([*body, *extra])


def test_header_and_footer_of_a_single_page_are_left_out() -> None:
    header = [line("Journal of Tides, Vol. 12", 50, 30, size=8), line("117", 530, 30, size=8)]
    footer = line("© 2024 Harbour Press", 200, 770, size=8)
    assert len(furnished(*header, footer)) == 1


def test_footnote_at_the_foot_of_a_page_stays() -> None:
    note = line("1 The master was on leave that day.", 50, 770, size=8)
    assert "The master was on leave" in furnished(note)[-1]


def test_text_close_to_the_edge_stays() -> None:
    assert (
        "goes on to the edge"
        in furnished(*[line(f"goes on to the edge {at}", 50, 390 + 12 * at) for at in range(33)])[0]
    )


def test_page_with_little_text_keeps_what_stands_at_its_edges() -> None:
    assert texts([line("Board meeting", 50, 300, size=20), line("12", 300, 770)])[-1] == "12"
