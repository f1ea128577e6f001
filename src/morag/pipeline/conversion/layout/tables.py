"""Tables with ruling lines: the grid from the lines, by pdfplumber's geometry; the words from the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from morag.pipeline.conversion.layout.geometry import Box, Line
from morag.pipeline.conversion.markdown import escape, table

_SNAP = 3.0
_LEAST_RULES = 4
_LEAST_CELLS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table on a page."""

    box: Box
    markdown: str


def ruled_tables(rules: Sequence[Box], lines: Sequence[Line]) -> list[Table]:
    """Tables drawn with lines that hold some of the page's text, from top to bottom."""
    if len(rules) < _LEAST_RULES:
        return []
    found: list[Table] = []
    for cells in _grids(rules):
        box = Box.around(cells)
        rows = _filled(cells, [line for line in lines if box.holds_center_of(line.box)])
        markdown = table(rows)
        filled = sum(1 for row in rows for text in row if text)
        if filled >= _LEAST_CELLS and markdown.partition("\n")[0].count(" | ") >= 1 and markdown.count("\n") >= 2:
            found.append(Table(box=box, markdown=markdown))
    return sorted(found, key=lambda one: one.box.top)


def _grids(rules: Sequence[Box]) -> list[list[Box]]:
    """The cells of each table that the lines make."""
    from pdfplumber.table import (  # noqa: PLC0415 - 0.2 s that pages without lines need not pay
        cells_to_tables,
        edges_to_intersections,
        intersections_to_cells,
        merge_edges,
    )

    edges: list[dict[str, Any]] = [_edge(rule) for rule in rules]
    merged = merge_edges(edges, _SNAP, _SNAP, _SNAP, _SNAP)
    cells = intersections_to_cells(edges_to_intersections(merged, _SNAP, _SNAP))
    return [[Box(*cell) for cell in cells_of_one] for cells_of_one in cells_to_tables(cells)]


def _edge(rule: Box) -> dict[str, Any]:
    return {
        "x0": rule.left,
        "x1": rule.right,
        "top": rule.top,
        "bottom": rule.bottom,
        "width": rule.width,
        "height": rule.height,
        "orientation": "h" if rule.width > rule.height else "v",
        "object_type": "line",
    }


def _filled(cells: Sequence[Box], lines: Sequence[Line]) -> list[list[str]]:
    """The grid with its text: a cell over several rows or columns stands in the first of each."""
    tops, lefts = _distinct(cell.top for cell in cells), _distinct(cell.left for cell in cells)
    grid = [["" for _ in lefts] for _ in tops]
    for cell in cells:
        inside = [line for line in lines if cell.holds_center_of(line.box)]
        row, column = _nearest(tops, cell.top), _nearest(lefts, cell.left)
        grid[row][column] = cell_text(inside)
    return grid


def cell_text(lines: Sequence[Line]) -> str:
    """The words of a cell, its lines run together as a cell has no lines."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (line.box.top, line.box.left)):
        if rows and rows[-1][0].box.shares_rows_with(line.box):
            rows[-1].append(line)
        else:
            rows.append([line])
    ordered = (line.text for row in rows for line in sorted(row, key=lambda line: line.box.left))
    return escape(" ".join(ordered))


def _distinct(values: Any) -> list[float]:
    """The values, those closer than lines are snapped counted once."""
    found: list[float] = []
    for value in sorted(values):
        if not found or value - found[-1] > _SNAP:
            found.append(value)
    return found


def _nearest(values: Sequence[float], value: float) -> int:
    return min(range(len(values)), key=lambda at: abs(values[at] - value))
