"""The shapes of a slide in the order a person reads them, and what its layout says of them."""

from collections.abc import Iterator

from morag.pipeline.conversion.converters.document.ooxml import MC, A, Element, P

_BAND = 250_000
"""Shapes whose upper edges differ by less (in EMU, 7 mm) stand in one row."""
_TITLES = frozenset({"title", "ctrTitle"})
_FURNITURE = frozenset({"dt", "ftr", "sldNum", "hdr", "sldImg"})
_SHAPES = frozenset({f"{P}sp", f"{P}graphicFrame"})
_MAX_NESTING = 20


def placeholder(shape: Element) -> tuple[str | None, str | None]:
    """Type and index of the placeholder that the shape fills; (None, None) for any other shape."""
    found = next(shape.iter(f"{P}ph"), None)
    return (None, None) if found is None else (found.get("type", "obj"), found.get("idx", "0"))


def is_title(shape: Element) -> bool:
    """Whether it is the slide's title."""
    return placeholder(shape)[0] in _TITLES


class Layout:
    """What a slide inherits from its layout: where its placeholders stand and whether they are lists."""

    def __init__(self, tree: Element | None) -> None:
        shapes = list(tree.iter(f"{P}sp")) if tree is not None else []
        self._by_index = {placeholder(shape)[1]: shape for shape in shapes if placeholder(shape)[1] is not None}

    def position(self, shape: Element) -> tuple[int, int] | None:
        """Left and top of the shape in EMU, its own or inherited."""
        inherited = self._by_index.get(placeholder(shape)[1])
        return _offset(shape) or (_offset(inherited) if inherited is not None else None)

    def is_bulleted(self, shape: Element) -> bool:
        """Whether paragraphs of the shape are list items unless they say otherwise."""
        kind, index = placeholder(shape)
        if kind not in {"body", "obj"}:
            return False
        for source in (shape, self._by_index.get(index)):
            style = next(source.iter(f"{A}lstStyle"), None) if source is not None else None
            first = style.find(f"{A}lvl1pPr") if style is not None else None
            if first is not None and first.find(f"{A}buNone") is not None:
                return False
        return True


def in_reading_order(slide: Element, layout: Layout) -> list[Element]:
    """Title first, then row by row, left to right; shapes of unknown place stay where the file has them."""
    tree = next(slide.iter(f"{P}spTree"), None)
    found: list[tuple[tuple[int, int], Element]] = []
    last = (0, 0)
    for place, shape in _shapes(tree, layout, None, 0) if tree is not None else ():
        if placeholder(shape)[0] in _FURNITURE:
            continue
        last = place or last
        found.append((last, shape))
    tops = _bands([place[1] for place, _ in found])
    ordered = sorted(found, key=lambda entry: (not is_title(entry[1]), tops[entry[0][1]], entry[0][0]))
    return [shape for _, shape in ordered]


def _bands(tops: list[int]) -> dict[int, int]:
    """The first of the row that each upper edge belongs to."""
    bands: dict[int, int] = {}
    start = None
    for top in sorted(set(tops)):
        if start is None or top - start > _BAND:
            start = top
        bands[top] = start
    return bands


def _shapes(
    parent: Element, layout: Layout, inherited: tuple[int, int] | None, depth: int
) -> Iterator[tuple[tuple[int, int] | None, Element]]:
    """Each shape with its place; the shapes of a group stand where the group stands."""
    for child in parent.iterchildren():
        if child.tag in _SHAPES:
            yield inherited or layout.position(child), child
        elif child.tag == f"{P}grpSp" and depth < _MAX_NESTING:
            yield from _shapes(child, layout, inherited or _offset(child), depth + 1)
        elif child.tag in {f"{MC}AlternateContent", f"{MC}Choice"} and depth < _MAX_NESTING:
            yield from _shapes(child, layout, inherited, depth + 1)


def _offset(shape: Element) -> tuple[int, int] | None:
    frame = next(shape.iter(f"{A}xfrm", f"{P}xfrm"), None)
    offset = frame.find(f"{A}off") if frame is not None else None
    if offset is None:
        return None
    try:
        return int(offset.get("x", "0")), int(offset.get("y", "0"))
    except ValueError:
        return None
