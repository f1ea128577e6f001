"""Reading order: columns of running text are read one after the other, everything else row by row."""

from collections.abc import Iterator, Sequence
from statistics import median

from morag.pipeline.conversion.converters.document.pdf.geometry import Box, Line

_LEAST_LINES = 3
"""Lines a column must have beside another one."""
_GUTTER = 0.6
"""Width of the white between columns, in type sizes."""
_FULL = 0.55
"""Share of its column's width that the middle line of running text fills; cells of tables fill less."""
_CROSSED = (0.0, 0.05, 0.12, 0.25)
"""Shares of the lines that may cross a strip for it to be looked at: titles, captions, wide tables."""
_MAX_DEPTH = 6


def in_columns(lines: Sequence[Line], depth: int = 0) -> Iterator[list[Line]]:
    """The page's regions in the order of reading, the lines of each from top to bottom."""
    if not lines:
        return
    gutter = _gutter(lines) if depth < _MAX_DEPTH and len(lines) >= 2 * _LEAST_LINES else None
    if gutter is None:
        yield sorted(lines, key=lambda line: (line.box.top, line.box.left))
        return
    for band, is_split in _bands(lines, gutter):
        if not is_split:
            yield from in_columns(band, depth + 1) if len(band) < len(lines) else iter([band])
            continue
        left = [line for line in band if line.box.right <= gutter]
        right = [line for line in band if line.box.left >= gutter]
        yield from in_columns(left, depth + 1)
        yield from in_columns(right, depth + 1)


def _gutter(lines: Sequence[Line]) -> float | None:
    """Where a vertical white strip parts most running text; None if there is no such strip."""
    best, best_score = None, 0
    for at in _candidates(lines):
        score = sum(_lines_parted(band, at) for band, is_split in _bands(lines, at) if is_split)
        if score > best_score:
            best, best_score = at, score
    return best


def _candidates(lines: Sequence[Line]) -> list[float]:
    """Middles of the strips that few lines cross."""
    extent = Box.around(line.box for line in lines)
    size = median(line.size for line in lines)
    crossed = [0] * (int(extent.width) + 2)
    for line in lines:
        for at in range(int(line.box.left - extent.left) + 1, int(line.box.right - extent.left) + 1):
            crossed[at] += 1
    found: set[float] = set()
    for share in _CROSSED:
        for start, end in _runs([count <= share * len(lines) for count in crossed]):
            at = extent.left + (start + end) / 2
            if end - start >= _GUTTER * size and 0.15 < (at - extent.left) / max(extent.width, 1.0) < 0.85:
                found.add(at)
    return sorted(found)


def _runs(flags: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Stretches of True as (start, end), end exclusive."""
    start = None
    for at, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = at
        elif not flag and start is not None:
            yield start, at
            start = None


def _bands(lines: Sequence[Line], at: float) -> Iterator[tuple[list[Line], bool]]:
    """The page cut at the lines that cross the strip: (lines, whether they are columns on both sides)."""
    crossing = sorted((line for line in lines if line.box.left < at < line.box.right), key=lambda line: line.box.top)
    beside = sorted((line for line in lines if not line.box.left < at < line.box.right), key=lambda line: line.box.top)
    plain: list[Line] = []
    for cut in [*crossing, None]:
        above = [line for line in beside if cut is None or _middle(line) < _middle(cut)]
        beside = beside[len(above) :]
        if _is_columnar(above, at):
            if plain:
                yield plain, False
            plain = []
            yield above, True
        else:
            plain.extend(above)
        if cut is not None:
            plain.append(cut)
    if plain:
        yield plain, False


def _middle(line: Line) -> float:
    return (line.box.top + line.box.bottom) / 2


def _is_columnar(band: Sequence[Line], at: float) -> bool:
    left = [line for line in band if line.box.right <= at]
    right = [line for line in band if line.box.left >= at]
    if min(len(left), len(right)) < _LEAST_LINES:
        return False
    one, other = Box.around(line.box for line in left), Box.around(line.box for line in right)
    return one.shares_rows_with(other, 0.3) and _is_running(left, one) and _is_running(right, other)


def _is_running(lines: Sequence[Line], extent: Box) -> bool:
    """Whether the lines are sentences rather than cells: long, and filling their column."""
    return (
        median(line.box.width for line in lines) >= _FULL * extent.width
        and median(len(line.text) for line in lines) > 18
    )


def _lines_parted(band: Sequence[Line], at: float) -> int:
    left = sum(line.box.right <= at for line in band)
    return min(left, len(band) - left)
