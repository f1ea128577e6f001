"""Rows in reading order to blocks of Markdown: headings, paragraphs, list items, code, tables."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import median

from morag.pipeline.conversion.layout.columns import in_columns
from morag.pipeline.conversion.layout.furniture import furniture_of
from morag.pipeline.conversion.layout.geometry import Box, Line, PageText
from morag.pipeline.conversion.layout.looks import Looks
from morag.pipeline.conversion.layout.markers import BULLET, NUMBER
from morag.pipeline.conversion.layout.rows import Row, rows_of, with_tables
from morag.pipeline.conversion.layout.tables import Table, ruled_tables
from morag.pipeline.conversion.markdown import escape, fenced

_INDENT = 6.0
"""Points from which on an item stands deeper than another."""
_SENTENCE_END = (".", "!", "?", ":", "。", "؟")
_WIDE = 1.35
"""Pitch over the usual one from which on a new paragraph begins."""
_LEAST_PROSE = 40
_ROOMY = 0.75
"""Share of a region's width that lines of running text fill at least."""
_WIDE_CODE = 2.5
_WIDE_HEADING = 1.45
"""Pitch over the size of large type from which on a new heading begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A piece of a page; a heading if `level` is over 0."""

    text: str
    box: Box
    level: int = 0
    is_item: bool = False
    is_prose: bool = False


def blocks_of(page: PageText, looks: Looks) -> Iterator[Block]:
    """The page's blocks in the order of reading, without running headers and footers."""
    furniture = left_out(page, looks)
    lines = [_as_code(line, looks) for line in page.lines if line not in furniture]
    tables = ruled_tables(page.rules, lines)
    free = [line for line in lines if not any(one.box.holds_center_of(line.box) for one in tables)]
    free.extend(_anchor(one) for one in tables)
    yield from _over_columns(list(_lists(_region_blocks(region, tables, looks))) for region in in_columns(free))
    for text in _grouped(page.stray):
        yield Block(text=escape(text), box=Box(0, 0, page.width, page.height))


def left_out(page: PageText, looks: Looks) -> list[Line]:
    """The page's headers and footers."""
    alone = furniture_of(page, looks.body)
    return [line for line in page.lines if line in alone or looks.is_repeated(line, page)]


def _over_columns(regions: Iterable[list[Block]]) -> Iterator[Block]:
    """The blocks of all columns, a sentence that goes on in the next one made whole."""
    last: Block | None = None
    for region in regions:
        for at, block in enumerate(region):
            if last is not None and at == 0 and _goes_on(last, block):
                last = replace(last, text=_run_on(last.text, block.text))
                continue
            if last is not None:
                yield last
            last = block
    if last is not None:
        yield last


def _goes_on(last: Block, block: Block) -> bool:
    """Whether a paragraph breaks off in the middle of a sentence, and the next begins there."""
    is_text = last.is_prose and block.is_prose
    return is_text and last.text[-1:] not in _SENTENCE_END and block.text[:1].islower()


def _as_code(line: Line, looks: Looks) -> Line:
    """Fixed-pitch type stands for code, but not in a list, nor where everything is set in it."""
    is_code = line.is_mono and not looks.is_typewritten and not BULLET.match(line.text)
    return line if is_code == line.is_mono else replace(line, is_mono=is_code)


_ANCHOR = "\ufffc"


def _anchor(one: Table) -> Line:
    """A table holds its place among the lines as a line of its own."""
    return Line(text=_ANCHOR, box=one.box, size=0.0, is_bold=False, is_mono=False)


def _grouped(words: Sequence[str]) -> Iterator[str]:
    if words:
        yield " ".join(words)


def _region_blocks(lines: Sequence[Line], tables: Sequence[Table], looks: Looks) -> Iterator[Block]:
    boxes = {one.box: one for one in tables}
    pending: list[Line] = []
    for line in sorted(lines, key=lambda line: line.box.top):
        if line.text == _ANCHOR and line.box in boxes:
            yield from _text_blocks(pending, looks)
            pending = []
            yield Block(text=boxes[line.box].markdown, box=line.box)
        else:
            pending.append(line)
    yield from _text_blocks(pending, looks)


def _text_blocks(lines: Sequence[Line], looks: Looks) -> Iterator[Block]:
    pending: list[Line] = []
    for found in with_tables(rows_of(lines)):
        if isinstance(found, Row):
            pending.append(found.joined())
            continue
        yield from _paragraphs(pending, looks)
        pending = []
        yield Block(text=found.markdown, box=found.box)
    yield from _paragraphs(pending, looks)


def _paragraphs(lines: Sequence[Line], looks: Looks) -> Iterator[Block]:
    if not lines:
        return
    extent = Box.around(line.box for line in lines)
    pitch = _usual_pitch(lines, looks.body)
    group: list[Line] = []
    for line in lines:
        if group and _begins(group, line, extent, pitch, looks):
            yield _block(group, looks)
            group = []
        group.append(line)
    yield _block(group, looks)


def _usual_pitch(lines: Sequence[Line], body: float) -> float:
    pitches = [below.box.bottom - above.box.bottom for above, below in pairwise(lines) if above.size == below.size]
    close = [pitch for pitch in pitches if 0 < pitch < 2.2 * body]
    return median(close) if close else 1.3 * body


def _begins(group: Sequence[Line], line: Line, extent: Box, pitch: float, looks: Looks) -> bool:
    """Whether a new block begins with `line`."""
    last = group[-1]
    if last.is_mono and line.is_mono:
        return line.box.bottom - last.box.bottom > _WIDE_CODE * max(pitch, line.size)
    if last.is_mono != line.is_mono or abs(last.size - line.size) > 0.1 * max(last.size, line.size):
        return True
    limit = _WIDE * pitch if abs(line.size - looks.body) < 1 else _WIDE_HEADING * line.size
    if line.box.bottom - last.box.bottom > limit or line.box.bottom < last.box.top:
        return True
    return _is_told_apart(group, line, looks) or _ends_paragraph(group, line, extent)


def _is_told_apart(group: Sequence[Line], line: Line, looks: Looks) -> bool:
    """Whether the line's own look makes it another block: a list item, a heading, text below a bold heading."""
    if BULLET.match(line.text):
        return True
    if NUMBER.match(line.text):
        is_item = NUMBER.match(group[0].text) or group[-1].text.endswith((*_SENTENCE_END, ";", ","))
        return bool(is_item) or looks.level(line.text, line.size, is_bold=False) > 0
    is_heading = looks.level(_joined(group), group[0].size, is_bold=group[0].is_bold) > 0
    return group[-1].is_bold != line.is_bold and is_heading


def _ends_paragraph(group: Sequence[Line], line: Line, extent: Box) -> bool:
    """Whether a sentence ended on a short line, or the next one is indented."""
    last = group[-1]
    if _is_broken_off(last, line, extent):
        return True
    is_short = last.box.right < extent.right - 0.12 * extent.width
    is_indented = line.box.left > max(last.box.left, extent.left) + 0.8 * line.size
    return last.text.endswith(_SENTENCE_END) and (is_short or (is_indented and len(group) > 1))


def _is_broken_off(last: Line, line: Line, extent: Box) -> bool:
    """Whether a line ends where the next one's first word would have stood well: an address, a signature, a verse."""
    word = line.text.partition(" ")[0]
    width = line.box.width * len(word) / max(len(line.text), 1)
    is_left = abs(last.box.left - line.box.left) < line.size
    room = extent.left + _ROOMY * extent.width - last.box.right
    return is_left and room > width and not word[:1].islower() and not last.text.endswith("-")


def _block(lines: Sequence[Line], looks: Looks) -> Block:
    box = Box.around(line.box for line in lines)
    if all(line.is_mono for line in lines):
        return Block(text=fenced("\n".join(_indented(line, box.left) for line in lines)), box=box)
    text = _joined(lines)
    if bullet := BULLET.match(text):
        return Block(text=f"- {escape(text[bullet.end() :])}", box=box, is_item=True)
    level = looks.level(text, lines[0].size, is_bold=all(line.is_bold for line in lines)) if len(lines) <= 4 else 0
    if level:
        return Block(text=escape(text), box=box, level=level)
    is_item = NUMBER.match(text) is not None
    return Block(text=escape(text), box=box, is_item=is_item, is_prose=not is_item and len(text) > _LEAST_PROSE)


def _lists(blocks: Iterable[Block]) -> Iterator[Block]:
    """Items that follow each other as one list, nested as they are indented."""
    for is_item, group in groupby(blocks, key=lambda block: block.is_item):
        found = list(group)
        if not is_item:
            yield from found
            continue
        lefts = _levels(block.box.left for block in found)
        lines = (f"{'  ' * _level_of(lefts, block.box.left)}{block.text}" for block in found)
        yield Block(text="\n".join(lines), box=Box.around(block.box for block in found))


def _levels(lefts: Iterable[float]) -> list[float]:
    """The indents of a list, outermost first; those a few points apart are one."""
    found: list[float] = []
    for left in sorted(lefts):
        if not found or left - found[-1] > _INDENT:
            found.append(left)
    return found


def _level_of(lefts: Sequence[float], left: float) -> int:
    return min(range(len(lefts)), key=lambda at: abs(lefts[at] - left))


def _indented(line: Line, left: float) -> str:
    """A line of code with the blanks it begins with, a letter being 0.6 of its size wide."""
    return " " * round((line.box.left - left) / (0.6 * max(line.size, 1.0))) + line.text


def _joined(lines: Sequence[Line]) -> str:
    """The lines as one, words that were cut at a line's end made whole."""
    text = ""
    for line in lines:
        text = _run_on(text, line.text) if text else line.text
    return text


def _run_on(text: str, more: str) -> str:
    if text.endswith("-") and len(text) > 2 and text[-2].isalpha() and more[:1].islower():
        return text[:-1] + more
    return f"{text} {more}"
