"""Reading order: columns of running text are read one after the other, everything else row by row."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from morag.pipeline.conversion.layout.geometry import Box, Line

_LEAST_LINES = 3
"""Lines a column must have beside another one."""
_GUTTER = 0.6
"""Width of the white between columns, in type sizes."""
_FULL = 0.55
"""Share of its column's width that the middle line of running text fills; cells of tables fill less."""
_CROSSED = (0.0, 0.05, 0.12, 0.25)
"""Shares of the lines that may cross a strip for it to be looked at: titles, captions, wide tables."""
_LEAST_LETTERS = 18
_MAX_DEPTH = 6
_STORY = 0.6
"""White between two parts of a page, in type sizes."""
_MOST_GAPS = 6
_SAME_GUTTER = 15.0
"""Points by which two gutters may differ and be one."""


def in_columns(lines: Sequence[Line], depth: int = 0) -> Iterator[list[Line]]:
    """The page's regions in the order of reading, the lines of each from top to bottom."""
    if not lines:
        return
    gutter = _gutter_if_any(lines, depth)
    if gutter is None or sum(line.box.left < gutter < line.box.right for line in lines) >= _LEAST_LINES:
        parts = _stories(lines, depth, is_parted=gutter is not None)
        if len(parts) > 1 or gutter is None:
            for part in parts:
                yield from in_columns(part, depth + 1) if len(parts) > 1 else iter([part])
            return
    for band, is_split in _bands(lines, gutter):
        if not is_split:
            yield from in_columns(band, depth + 1) if len(band) < len(lines) else iter([band])
            continue
        left = [line for line in band if line.box.right <= gutter]
        right = [line for line in band if line.box.left >= gutter]
        yield from in_columns(left, depth + 1)
        yield from in_columns(right, depth + 1)


def _gutter_if_any(lines: Sequence[Line], depth: int) -> float | None:
    if depth >= _MAX_DEPTH or len(lines) < 2 * _LEAST_LINES or not _have_neighbours(lines):
        return None
    return _gutter(lines)


def _have_neighbours(lines: Sequence[Line]) -> bool:
    """Whether enough lines stand side by side for columns; most pages of books end here."""
    ordered = sorted(lines, key=lambda line: line.box.top)
    beside = sum(below.box.top < above.box.bottom - 0.3 * above.box.height for above, below in pairwise(ordered))
    return beside >= _LEAST_LINES - 1


def _stories(lines: Sequence[Line], depth: int, *, is_parted: bool) -> list[list[Line]]:
    """Two parts one below the other whose columns are not the same, as on a page of news; else all lines as one."""
    ordered = sorted(lines, key=lambda line: (line.box.top, line.box.left))
    for at in _gaps(ordered):
        above, below = ordered[:at], ordered[at:]
        gutters = [gutter for part in (above, below) if (gutter := _gutter_if_any(part, depth)) is not None]
        if len(gutters) > is_parted and not (is_parted and abs(gutters[0] - gutters[1]) < _SAME_GUTTER):
            return [above, below]
    return [ordered]


def _gaps(ordered: Sequence[Line]) -> list[int]:
    """Where white runs through from side to side: indexes of the lines below it, widest white first."""
    size = median(line.size for line in ordered)
    found: list[tuple[float, int]] = []
    bottom = ordered[0].box.bottom
    for at, line in enumerate(ordered):
        if line.box.top - bottom > _STORY * size:
            found.append((line.box.top - bottom, at))
        bottom = max(bottom, line.box.bottom)
    return [at for _, at in sorted(found, reverse=True)[:_MOST_GAPS]]


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
    return one.shares_rows_with(other, 0.3) and _is_running(left) and _is_running(right)


def _is_running(lines: Sequence[Line]) -> bool:
    """Whether the lines are sentences rather than cells: long, and filling the column they stand in."""
    shares: list[float] = []
    for column in _stacks(lines):
        extent = Box.around(line.box for line in column)
        shares.extend(line.box.width / max(extent.width, 1.0) for line in column)
    return median(shares) >= _FULL and median(len(line.text) for line in lines) > _LEAST_LETTERS


def _stacks(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines by the column they stand in: a side may itself be several columns."""
    stacks: list[list[Line]] = []
    reach = float("-inf")
    for line in sorted(lines, key=lambda line: line.box.left):
        if line.box.left >= reach:
            stacks.append([])
        stacks[-1].append(line)
        reach = max(reach, line.box.right)
    return stacks


def _lines_parted(band: Sequence[Line], at: float) -> int:
    left = sum(line.box.right <= at for line in band)
    return min(left, len(band) - left)
