"""The ruling lines of a page, from its drawn paths."""

import ctypes
from collections.abc import Iterator
from typing import Any

from morag.pipeline.conversion.layout.geometry import Box

_THIN = 2.5
"""Points up to which a filled box counts as a line."""
_SHORT = 4.0
_MAX_OBJECTS = 20_000
"""Drawn objects looked at; maps and plots have more, and no tables in them."""
_MAX_SEGMENTS = 2_000
_MAX_RULES = 4_000

_Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: _Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
_Point = tuple[float, float]


def rules_of(page: Any, raw: Any) -> tuple[list[Box], list[Box]]:
    """Horizontal and vertical lines, and the boxes of pictures; upwards negative."""
    rules: list[Box] = []
    pictures: list[Box] = []
    kinds = [raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_IMAGE]
    for count, drawn in enumerate(page.get_objects(filter=kinds, max_depth=4)):
        if drawn.type == raw.FPDF_PAGEOBJ_IMAGE:
            left, bottom, right, top = drawn.get_bounds()
            pictures.append(Box(left, -top, right, -bottom))
        elif len(rules) < _MAX_RULES:
            rules.extend(_edges(drawn, raw))
        if count > _MAX_OBJECTS:
            break
    return rules[:_MAX_RULES], pictures[:_MAX_RULES]


def _edges(drawn: Any, raw: Any) -> Iterator[Box]:
    segments = raw.FPDFPath_CountSegments(drawn.raw)
    if not 2 <= segments <= _MAX_SEGMENTS:
        return
    points = list(_strokes(drawn, raw, segments))
    if not points:
        return
    bounds = Box.around(Box(min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])) for a, b in points)
    if min(bounds.width, bounds.height) <= _THIN:  # a line, or a box so thin that it looks like one
        yield from _straight((bounds.left, bounds.top), (bounds.right, bounds.bottom))
        return
    for start, end in points:
        yield from _straight(start, end)


def _straight(start: _Point, end: _Point) -> Iterator[Box]:
    """The stretch between two points if it runs level or upright."""
    width, height = abs(end[0] - start[0]), abs(end[1] - start[1])
    if height <= _THIN and width >= _SHORT:
        middle = (start[1] + end[1]) / 2
        yield Box(min(start[0], end[0]), middle, max(start[0], end[0]), middle)
    elif width <= _THIN and height >= _SHORT:
        middle = (start[0] + end[0]) / 2
        yield Box(middle, min(start[1], end[1]), middle, max(start[1], end[1]))


def _strokes(drawn: Any, raw: Any, segments: int) -> Iterator[tuple[_Point, _Point]]:
    """The straight pieces of a path, upwards negative; nothing for a path with curves other than at its corners."""
    matrix = _matrix(drawn)
    x, y = ctypes.c_float(), ctypes.c_float()
    first = last = None
    for at in range(segments):
        segment = raw.FPDFPath_GetPathSegment(drawn.raw, at)
        kind = raw.FPDFPathSegment_GetType(segment)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        point = _apply(matrix, x.value, y.value)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            first = point
        elif kind == raw.FPDF_SEGMENT_LINETO and last is not None:
            yield last, point
        last = point
        if raw.FPDFPathSegment_GetClose(segment) and first is not None:
            yield point, first


def _matrix(drawn: Any) -> _Matrix:
    """From the object's space to the page's, through the forms it lies in."""
    matrix = _IDENTITY
    at = drawn
    while at is not None:
        own = at.get_matrix()
        matrix = _combined(matrix, (own.a, own.b, own.c, own.d, own.e, own.f))
        at = at.container
    return matrix


def _combined(inner: _Matrix, outer: _Matrix) -> _Matrix:
    a, b, c, d, e, f = inner
    oa, ob, oc, od, oe, of = outer
    return (
        a * oa + b * oc,
        a * ob + b * od,
        c * oa + d * oc,
        c * ob + d * od,
        e * oa + f * oc + oe,
        e * ob + f * od + of,
    )


def _apply(matrix: _Matrix, x: float, y: float) -> _Point:
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, -(b * x + d * y + f)
