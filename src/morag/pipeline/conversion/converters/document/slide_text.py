"""Text of a slide's shapes: paragraphs and bullets, tables, charts, diagrams."""

from collections.abc import Iterator

from morag.pipeline.conversion.converters.document.inline import Run, inline
from morag.pipeline.conversion.converters.document.ooxml import A, Element
from morag.pipeline.conversion.markdown import escape, one_line, table

_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DGM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"


def title_text(shape: Element) -> str:
    """The words of a title on one line."""
    return one_line(" ".join(inline(_runs(paragraph), is_plain=True) for paragraph in shape.iter(f"{A}p")))


def paragraphs(shape: Element, *, is_bulleted: bool) -> str:
    """The shape's text: list items where they are, paragraphs elsewhere."""
    lines: list[str] = []
    was_item = False
    counts: dict[int, int] = {}
    for paragraph in shape.iter(f"{A}p"):
        text = inline(_runs(paragraph))
        if not text:
            continue
        level = _level(paragraph)
        marker = _marker(paragraph, counts, level, is_bulleted=is_bulleted)
        is_item = marker is not None
        if lines and not (is_item and was_item):
            lines.append("")
        indent = "  " * level if is_item else ""
        lines.append(f"{indent}{marker} {text.replace(chr(10), ' ')}" if is_item else text)
        was_item = is_item
    return "\n".join(lines)


def _level(paragraph: Element) -> int:
    properties = paragraph.find(f"{A}pPr")
    level = properties.get("lvl", "0") if properties is not None else "0"
    return min(int(level), 8) if level.isdigit() else 0


def _marker(paragraph: Element, counts: dict[int, int], level: int, *, is_bulleted: bool) -> str | None:
    properties = paragraph.find(f"{A}pPr")
    if properties is not None and properties.find(f"{A}buNone") is not None:
        return None
    if properties is not None and properties.find(f"{A}buAutoNum") is not None:
        for deeper in [key for key in counts if key > level]:
            del counts[deeper]
        counts[level] = counts.get(level, 0) + 1
        return f"{counts[level]}."
    counts.clear()
    has_mark = properties is not None and any(
        properties.find(f"{A}{kind}") is not None for kind in ("buChar", "buBlip")
    )
    return "-" if is_bulleted or has_mark else None


def _runs(paragraph: Element) -> Iterator[Run]:
    for child in paragraph.iterchildren():
        if child.tag == f"{A}br":
            yield Run(text="\n")
        if child.tag not in {f"{A}r", f"{A}fld"}:
            continue
        look = child.find(f"{A}rPr")
        text = child.findtext(f"{A}t") or ""
        if look is None:
            yield Run(text=text)
        else:
            yield Run(text=text, is_bold=look.get("b") in {"1", "true"}, is_italic=look.get("i") in {"1", "true"})


def table_of(frame: Element) -> str:
    """The table in a frame; "" if there is none."""
    found = next(frame.iter(f"{A}tbl"), None)
    if found is None:
        return ""
    return table([[_cell(cell) for cell in row.iterchildren(f"{A}tc")] for row in found.iterchildren(f"{A}tr")])


def _cell(cell: Element) -> str:
    """The cell's text; "" for one that another spans."""
    if cell.get("hMerge") in {"1", "true"} or cell.get("vMerge") in {"1", "true"}:
        return ""
    return "\n".join(filter(None, (inline(_runs(paragraph), is_plain=True) for paragraph in cell.iter(f"{A}p"))))


def chart_table(chart: Element) -> str:
    """The figures behind a chart: a row for each category, a column for each series."""
    series = list(chart.iter(f"{_C}ser"))
    if not series:
        return ""
    names = ["".join(one.findtext(f".//{_C}tx//{_C}v") or "") for one in series]
    labels = _points(series[0], "cat") or _points(series[0], "xVal")
    columns = [_points(one, "val") or _points(one, "yVal") for one in series]
    keys = sorted({key for column in [labels, *columns] for key in column})
    rows = [[labels.get(key, ""), *(column.get(key, "") for column in columns)] for key in keys]
    title = one_line("".join(text.text or "" for text in chart.iterfind(f".//{_C}title//{A}t")))
    text = table([["", *names], *rows])
    return f"**{escape(title)}**\n\n{text}" if title and text else text


def _points(series: Element, name: str) -> dict[int, str]:
    """The cached values of a series by their index."""
    found = series.find(f"{_C}{name}")
    points = found.iter(f"{_C}pt") if found is not None else ()
    return {
        int(point.get("idx", "0")): point.findtext(f"{_C}v") or "" for point in points if point.get("idx", "").isdigit()
    }


def diagram_list(data: Element) -> str:
    """The words of a diagram's nodes as a list."""
    nodes = (one_line(" ".join(text.text or "" for text in node.iter(f"{A}t"))) for node in data.iter(f"{_DGM}pt"))
    return "\n".join(f"- {escape(words)}" for words in nodes if words)
