"""Reading order: from boxes of text on a page to blocks of Markdown. Pure; stands behind `ocr`.

A page is cut at its gutter into columns, each column into rows by height, rows into paragraphs by the gaps between
them. Rows of cells that line up become a table, rows of larger letters a heading.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TypeAlias

from morag.pipeline.conversion.markdown import escape, one_line, table

BULLETS = "•·●▪■◦‣"
HEADING_RATIO = 1.3
"""Letters this much larger than those of the body make a heading (mean of height and width per character)."""
HEADING_LIMIT = 90
"""Longer lines are no headings, in characters."""
COLUMN_TEXT = 14
"""Shorter lines, in characters at the median, are cells of a table rather than columns of prose."""
LEAST_COLUMN = 3
"""Fewer lines make no column, and fewer rows no table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of text as read, its box in pixels from the top left."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    confidence: float
    """0 to 1."""

    @property
    def height(self) -> float:
        """Pixels, at least one."""
        return max(self.bottom - self.top, 1.0)

    @property
    def pitch(self) -> float:
        """Pixels per character."""
        return max(self.right - self.left, 1.0) / max(len(self.text), 1)


Row: TypeAlias = list[Line]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A heading (level > 0), paragraph, list or table, and its box in pixels (left, top, right, bottom)."""

    level: int
    text: str
    box: tuple[float, float, float, float]

    @property
    def markdown(self) -> str:
        """The block as it stands in Markdown."""
        return f"{'#' * self.level} {self.text}" if self.level else self.text


def blocks(lines: Sequence[Line], *, height: int) -> list[Block]:
    """What is on a page, in reading order. `height` (pixels) is that of the page."""
    if not lines:
        return []
    typical = _typical(lines, height)
    return [block for column in _columns(lines, typical[0]) for block in _column_blocks(column, typical)]


def _typical(lines: Sequence[Line], height: int) -> tuple[float, float]:
    """Height and pitch of the body: the medians over all characters."""
    usual = [line for line in lines if line.height < height / 3] or lines
    weights = [(line, max(len(line.text) // 4, 1)) for line in usual]
    heights = median([line.height for line, weight in weights for _ in range(weight)])
    return heights, median([line.pitch for line, weight in weights for _ in range(weight)])


def _columns(lines: Sequence[Line], unit: float) -> Iterator[Sequence[Line]]:
    """Cut at the best gutter: between lines that cross it, the left side is read before the right."""
    gutter = _gutter(lines, unit)
    if gutter is None:
        yield lines
        return
    banners = sorted((line for line in lines if line.left < gutter < line.right), key=lambda line: line.top)
    edges = [float("-inf"), *(banner.top for banner in banners), float("inf")]
    for index, (top, bottom) in enumerate(pairwise(edges)):
        if index:
            yield [banners[index - 1]]
        band = [line for line in lines if top <= line.top < bottom and line not in banners]
        for side in (
            [line for line in band if line.right <= gutter],
            [line for line in band if line.left >= gutter],
        ):
            if side:
                yield from _columns(side, unit)


def _gutter(lines: Sequence[Line], unit: float) -> float | None:
    """The x that fewest lines cross, with prose on both sides; None where the page is one column."""
    best: tuple[int, int] | None = None
    found = None
    for x in sorted({line.right + unit / 2 for line in lines}):
        left = [line for line in lines if line.right <= x]
        right = [line for line in lines if line.left >= x]
        crossing = len(lines) - len(left) - len(right)
        if crossing > len(lines) // 4 or not (_is_prose(left) and _is_prose(right) and _beside(left, right)):
            continue
        rank = (crossing, abs(len(left) - len(right)))
        if best is None or rank < best:
            best, found = rank, x
    return found


def _is_prose(lines: Sequence[Line]) -> bool:
    return len(lines) >= LEAST_COLUMN and median(len(line.text) for line in lines) >= COLUMN_TEXT


def _beside(left: Sequence[Line], right: Sequence[Line]) -> bool:
    """Whether the two share at least half of the shorter one's height."""
    tops = (min(line.top for line in left), min(line.top for line in right))
    bottoms = (max(line.bottom for line in left), max(line.bottom for line in right))
    shared = min(bottoms) - max(tops)
    return shared >= min(bottoms[0] - tops[0], bottoms[1] - tops[1]) / 2


def _rows(lines: Sequence[Line]) -> list[Row]:
    """Lines that stand side by side, from left to right, the rows from top to bottom."""
    rows: list[Row] = []
    for line in sorted(lines, key=lambda line: (line.top + line.bottom) / 2):
        row = rows[-1] if rows else None
        if row is not None and _same_row(row[-1], line):
            row.append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.left) for row in rows]


def _same_row(one: Line, other: Line) -> bool:
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    apart = one.right <= other.left + 2 or other.right <= one.left + 2
    return apart and shared >= min(one.height, other.height) / 2


def _column_blocks(lines: Sequence[Line], typical: tuple[float, float]) -> Iterator[Block]:
    for group in _groups(_rows(lines), typical):
        if len(group) >= LEAST_COLUMN and len(group[0]) > 1:
            yield _block(group, 0, table([[line.text for line in row] for row in group]))
            continue
        level = _level(group[0], typical) if len(group) == 1 else 0
        text = one_line(_words(group[0])) if level else _paragraph(group)
        yield _block(group, level, text)


def _groups(rows: Sequence[Row], typical: tuple[float, float]) -> Iterator[list[Row]]:
    """Rows that belong together: tables, single headings, paragraphs."""
    limit = _gap_limit(rows, typical[0])
    group: list[Row] = []
    at = 0
    while at < len(rows):
        count = _table_length(rows[at:])
        heading = bool(_level(rows[at], typical))
        if group and (count or heading or _gap(group[-1], rows[at]) > limit):
            yield group
            group = []
        if count or heading:
            yield list(rows[at : at + max(count, 1)])
        else:
            group.append(rows[at])
        at += max(count, 1)
    if group:
        yield group


def _gap(above: Row, below: Row) -> float:
    return min(line.top for line in below) - max(line.bottom for line in above)


def _gap_limit(rows: Sequence[Row], unit: float) -> float:
    gaps = [_gap(above, below) for above, below in pairwise(rows)]
    return max(unit / 2, 1.5 * median(gaps)) if gaps else unit


def _table_length(rows: Sequence[Row]) -> int:
    """How many rows from the first on are rows of one table; 0 if they are none."""
    first = rows[0]
    count = 1
    while count < len(rows) and len(first) > 1 and _line_up(first, rows[count]):
        count += 1
    return count if count >= LEAST_COLUMN else 0


def _line_up(one: Row, other: Row) -> bool:
    if len(one) != len(other):
        return False
    return all(a.left < b.right and b.left < a.right for a, b in zip(one, other, strict=True))


def _level(row: Row, typical: tuple[float, float]) -> int:
    text = _words(row)
    if len(row) > 1 or len(text) > HEADING_LIMIT or not any(letter.isalpha() for letter in text):
        return 0
    ratio = (row[0].height / typical[0] + row[0].pitch / typical[1]) / 2
    if ratio < HEADING_RATIO or row[0].height < typical[0]:
        return 0
    return 1 if ratio >= HEADING_RATIO * 1.2 else 2


def _words(row: Row) -> str:
    return " ".join(line.text for line in row)


def _paragraph(rows: Sequence[Row]) -> str:
    """Rows as lines; a word cut at a line's end is made whole, bullets become a list."""
    text = ""
    for row in rows:
        words = _bullet(escape(_words(row)))
        if text.endswith("-") and text[-2:-1].isalpha() and words[:1].islower():
            text = text[:-1] + words
        else:
            text = f"{text}\n{words}" if text else words
    return text


def _bullet(words: str) -> str:
    return f"- {words[1:].lstrip()}" if words[0] in BULLETS else words


def _block(rows: Sequence[Row], level: int, text: str) -> Block:
    lines = [line for row in rows for line in row]
    box = (
        min(line.left for line in lines),
        min(line.top for line in lines),
        max(line.right for line in lines),
        max(line.bottom for line in lines),
    )
    return Block(level=level, text=text, box=box)
