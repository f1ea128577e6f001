"""Lines of one region to rows, and rows that line up to tables though nothing is drawn around them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from morag.pipeline.conversion.layout.geometry import Box, Line
from morag.pipeline.conversion.layout.markers import MARKER, SECTION
from morag.pipeline.conversion.layout.tables import Table
from morag.pipeline.conversion.markdown import escape, table

_COUNT = re.compile(r"\d{1,2}")
_LEADER = re.compile(r"(?:[.·…_]\s?){4,}")
_LEAST_ROWS = 3
_MOST_HEADS = 2
_INDENTED = 20.0
"""Points by which the labels of a first column may be indented under each other."""
_MARKER_REACH = 4.0
"""How far behind its marker, in type sizes, the text of a list item may begin."""


@dataclass(frozen=True, slots=True)
class Row:
    """What stands on one row of a region, from left to right."""

    lines: list[Line]

    @property
    def box(self) -> Box:
        """All of it."""
        return Box.around(line.box for line in self.lines)

    def joined(self) -> Line:
        """The row as one line."""
        whole = self.lines[0]
        for line in self.lines[1:]:
            whole = whole.beside(line, blanks=_blanks(whole, line) if self.is_code else 1)
        return whole

    @property
    def is_code(self) -> bool:
        """Whether all of it is set in type of a fixed pitch."""
        return all(line.is_mono for line in self.lines)


def _blanks(last: Line, line: Line) -> int:
    """How many blanks of fixed-pitch type the gap is wide."""
    return max(round((line.box.left - last.box.right) / (0.6 * max(line.size, 1.0))), 1)


def rows_of(lines: Sequence[Line]) -> list[Row]:
    """The rows of a region; list markers belong to the text behind them, dot leaders are left out."""
    rows: list[list[Line]] = []
    for found in sorted(lines, key=lambda line: line.box.top):
        line = _without_leader(found)
        if line is None:
            continue
        same = next((row for row in reversed(rows[-3:]) if row[0].box.shares_rows_with(line.box, 0.6)), None)
        if same is None:
            rows.append([line])
        else:
            same.append(line)
    return _counted([Row(_with_markers(sorted(row, key=lambda line: line.box.left))) for row in rows])


def _counted(rows: list[Row]) -> list[Row]:
    """The rows, those of a list that is numbered without dots given theirs: 1, 2, 3 before the only text of a row."""
    found = [row for row in rows if _is_counted(row)]
    if len(found) < 2 or [row.lines[0].text for row in found] != [str(at + 1) for at in range(len(found))]:
        return rows
    if len({round(row.lines[1].box.left / 4) for row in found}) > 1:
        return rows
    return [Row([_counted_line(row)]) if row in found else row for row in rows]


def _is_counted(row: Row) -> bool:
    if len(row.lines) != 2 or not _COUNT.fullmatch(row.lines[0].text):
        return False
    number, text = row.lines
    return text.box.left - number.box.right < _MARKER_REACH * text.size and text.text[0].isalpha()


def _counted_line(row: Row) -> Line:
    number, text = row.lines
    return replace(number, text=f"{number.text}.").beside(text)


def _without_leader(line: Line) -> Line | None:
    """The line with its row of dots as an ellipsis; None if it is nothing else."""
    if line.is_mono or not _LEADER.search(line.text):
        return line
    text = _LEADER.sub(" … ", line.text).strip()
    return None if text == "…" else replace(line, text=" ".join(text.split()))


def _with_markers(lines: list[Line]) -> list[Line]:
    found: list[Line] = []
    for line in lines:
        last = found[-1] if found else None
        if last is not None and _touches(last, line):
            found[-1] = last.beside(line)
        else:
            found.append(line)
    return found


def _touches(last: Line, line: Line) -> bool:
    """Whether two pieces of a row are one: a marker and its item, or words that the file holds apart."""
    gap = line.box.left - last.box.right
    if MARKER.fullmatch(last.text) or (SECTION.fullmatch(last.text) and line.text[0].isalpha()):
        return gap < _MARKER_REACH * last.size
    return gap < 0.5 * min(last.size, line.size)


def with_tables(rows: Sequence[Row]) -> Iterator[Row | Table]:
    """The rows, those that line up in columns gathered into tables."""
    at = 0
    while at < len(rows):
        start = at + _spanning_heads(rows, at)
        length = _table_length(rows, start) if start < len(rows) else 0
        if length and start > at and not _stand_over(rows[at:start], rows[start : start + length]):
            start, length = at, 0
        if length:
            yield _as_table(rows[at : start + length])
            at = start + length
        else:
            yield rows[at]
            at += 1


def _spanning_heads(rows: Sequence[Row], at: int) -> int:
    """How many rows with a single cell, such as a title over several columns, stand right over one with several."""
    for count in range(1, _MOST_HEADS + 1):
        if at + count >= len(rows) or len(rows[at + count - 1].lines) > 1:
            return 0
        if len(rows[at + count].lines) > 1:
            return count
    return 0


def _stand_over(heads: Sequence[Row], rows: Sequence[Row]) -> bool:
    """Whether lines over a table are heads of its columns: close to it, within it, and not over its first column."""
    columns = _columns(rows)
    right = columns[-1][1]
    low = heads[-1].box.bottom
    is_close = rows[0].box.top - low < 1.2 * heads[-1].box.height
    return is_close and all(
        head.box.left > columns[0][1] and head.box.right <= right + _INDENTED and not head.is_code for head in heads
    )


def _table_length(rows: Sequence[Row], start: int) -> int:
    """How many rows from `start` on make a table; 0 if they make none."""
    if len(rows[start].lines) < 2 or rows[start].is_code:
        return 0
    end = last = start
    pitch = _pitch(rows[start:])
    while end < len(rows):
        row = rows[end]
        if row.is_code or (end > start and row.box.top - rows[end - 1].box.bottom > 2.5 * pitch):
            break
        if len(row.lines) >= 2:
            last = end
        elif end - last >= 2:
            break
        end += 1
    for length in range(last - start + 1, _LEAST_ROWS - 1, -1):
        if _lines_up(rows[start : start + length]):
            return length
    return 0


def _pitch(rows: Sequence[Row]) -> float:
    return median(row.box.height for row in rows[:20])


def _columns(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """The stretches that cells occupy; a row with fewer cells than most, a title over several columns, has no say."""
    usual = max(len(row.lines) for row in rows)
    full = [row for row in rows if len(row.lines) == usual]
    telling = [row for row in rows if len(row.lines) >= max(2, usual - 1)]
    loose, strict = _merged(telling), _merged(full)
    return strict if len(strict) > len(loose) and len(full) >= _LEAST_ROWS else loose


def _merged(rows: Sequence[Row]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for left, right in sorted((line.box.left, line.box.right) for row in rows for line in row.lines):
        if merged and left <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], right))
        else:
            merged.append((left, right))
    return merged


def _lines_up(rows: Sequence[Row]) -> bool:
    columns = _columns(rows)
    several = [row for row in rows if len(row.lines) >= 2]
    if len(columns) < 2 or len(several) < _LEAST_ROWS or len(several) < 0.6 * len(rows):
        return False
    cells = sum(len({_column(columns, line) for line in row.lines}) for row in several)
    return cells >= 0.6 * len(columns) * len(several) and _has_edges(rows, columns)


def _has_edges(rows: Sequence[Row], columns: Sequence[tuple[float, float]]) -> bool:
    """Whether in each column most cells begin, or end, or are centred at the same place."""
    for left, right in columns:
        cells = [line for row in rows for line in row.lines if left <= (line.box.left + line.box.right) / 2 <= right]
        if len(cells) < 2:
            continue
        edges = (
            [line.box.left for line in cells],
            [line.box.right for line in cells],
            [(line.box.left + line.box.right) / 2 for line in cells],
        )
        reach = _INDENTED if left == columns[0][0] else 3.0
        if not any(sum(abs(at - median(ats)) < reach for at in ats) >= 0.6 * len(ats) for ats in edges):
            return False
    return True


def _column(columns: Sequence[tuple[float, float]], line: Line) -> int:
    """The column a cell stands in: that of its middle, else the nearest."""
    middle = (line.box.left + line.box.right) / 2
    distances = [max(left - middle, middle - right, 0.0) for left, right in columns]
    return distances.index(min(distances))


def _placed(columns: Sequence[tuple[float, float]], line: Line) -> list[tuple[int, str]]:
    """The line by its column; one that lies over several and has a word for each by those."""
    over = [at for at, (left, right) in enumerate(columns) if line.box.left < right and left < line.box.right]
    words = line.text.split()
    if len(over) > 1 and len(words) == len(over) and 0 not in over:
        return list(zip(over, words, strict=True))
    return [(_column(columns, line), line.text)]


def _as_table(rows: Sequence[Row]) -> Table:
    """Cells by column; a row without a first cell that follows closely goes on with the row above."""
    columns = _columns(rows)
    pitch = median([below.box.top - above.box.top for above, below in pairwise(rows)] or [0.0])
    grid: list[list[str]] = []
    last: Row | None = None
    for row in rows:
        cells = [""] * len(columns)
        for line in row.lines:
            for at, text in _placed(columns, line):
                cells[at] = f"{cells[at]} {text}".strip()
        is_close = last is not None and row.box.top - last.box.top < 0.9 * pitch
        if grid and is_close and not cells[0]:
            grid[-1] = [f"{above} {below}".strip() for above, below in zip(grid[-1], cells, strict=True)]
        else:
            grid.append(cells)
        last = row
    cells = [[escape(text) for text in row] for row in grid]
    return Table(box=Box.around(row.box for row in rows), markdown=table(cells))
