"""A document's text as pieces that a cut should not go through: headings, lines, sentences, words; under `chunk.py`."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

Span = tuple[int, int]
"""Start and end in the text, end exclusive."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+([^\n]{1,500})")
_WHOLE_LINE = re.compile(r"[ \t]*(?:\||[-*+] |\d{1,9}[.)] |>)")
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE_END = re.compile(r"[.!?\u2026][\"'\u00bb\u201d\u2019)\]]*\s+(?=[^\sa-z])|[\u3002\uff01\uff1f]\s*")
"""A full stop with what closes behind it, before anything but a small letter; or one of the full-width signs."""
_LINE_END = re.compile(r"\n(?:[ \t]*\n)*")
"""With the blank lines that follow."""


class Break(IntEnum):
    """How good a place for a cut lies before a piece."""

    WORD = 0
    SENTENCE = 1
    LINE = 2
    PARAGRAPH = 3
    HEADING = 4
    PART = 5
    """Another slide or sheet begins."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text, with the space that follows it."""

    start: int
    end: int
    before: Break
    heading_path: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Characters."""
        return self.end - self.start


class _Line(IntEnum):
    PROSE = 1
    WHOLE = 2
    """A row of a table, an item of a list, a line of code: not parted into sentences."""
    HEADING = 3


def markdown_pieces(text: str) -> Iterator[Piece]:
    """Headings, table rows, list items and lines of code whole; prose by sentences. In order, and all of the text."""
    levels: dict[int, str] = {}
    path, before = (), Break.PARAGRAPH
    for kind, (start, end) in _blocks(text):
        if kind is _Line.HEADING:
            level, title = _heading(text[start:end])
            levels = {above: name for above, name in levels.items() if above < level} | {level: title}
            path, before = tuple(levels.values()), Break.HEADING
        if kind is _Line.PROSE:
            yield from _sentences(text, (start, end), before, path)
        else:
            yield Piece(start, end, before, path)
        before = Break.PARAGRAPH if _is_before_blank(text, end) else Break.LINE


def paragraph_pieces(text: str) -> Iterator[Piece]:
    """Runs of lines between blank ones."""
    return (Piece(*span, Break.PARAGRAPH) for span in _parted((0, len(text)), _BLANK_LINES.finditer(text)))


def sentence_pieces(text: str) -> Iterator[Piece]:
    """Sentences, whatever lines they stand on."""
    return _sentences(text, (0, len(text)), Break.SENTENCE, ())


def parts(text: str, piece: Piece, *, step: int, longest: int) -> Iterator[Piece]:
    """The piece in parts of about `step` characters, cut at spaces; a word is cut only if it is over `longest`."""
    before, start = piece.before, piece.start
    while piece.end - start > step:
        cut = _space(text, start, step, min(start + longest, piece.end))
        yield Piece(start, cut, before, piece.heading_path)
        before, start = Break.WORD, cut
    if start < piece.end:
        yield Piece(start, piece.end, before, piece.heading_path)


def _space(text: str, start: int, step: int, farthest: int) -> int:
    """The end of the last space within `step`, else of the first one after it, else `farthest`."""
    for at in range(min(start + step, farthest), start, -1):
        if text[at - 1].isspace():
            return at
    for at in range(start + step, farthest):
        if text[at].isspace():
            return at + 1
    return farthest


def _blocks(text: str) -> Iterator[tuple[_Line, Span]]:
    """Lines with what they are; lines of prose without a blank one between them are one block."""
    prose: Span | None = None
    for kind, (start, end) in _lines(text):
        if kind is _Line.PROSE:
            prose = (prose[0] if prose else start, end)
        if prose and (kind is not _Line.PROSE or _is_before_blank(text, end)):
            yield _Line.PROSE, prose
            prose = None
        if kind is not _Line.PROSE:
            yield kind, (start, end)
    if prose:
        yield _Line.PROSE, prose


def _is_before_blank(text: str, end: int) -> bool:
    """Whether what ends at `end` ends in a blank line."""
    last = text.rfind("\n", 0, end)
    return last == end - 1 and not text[text.rfind("\n", 0, last) + 1 : last].strip()


def _lines(text: str) -> Iterator[tuple[_Line, Span]]:
    fence = ""
    for start, end in _parted((0, len(text)), _LINE_END.finditer(text)):
        mark = _FENCE.match(text, start, end)
        if mark or fence:
            yield _Line.WHOLE, (start, end)
            fence = _open_fence(fence, mark[1] if mark else "", text[start:end])
        else:
            yield _kind(text, start, end), (start, end)


def _open_fence(fence: str, mark: str, line: str) -> str:
    """The fence that is open after a line with this mark; "" if none."""
    if not fence:
        return mark
    closes = mark.startswith(fence) and line.strip() == mark
    return "" if closes else fence


def _kind(text: str, start: int, end: int) -> _Line:
    if _HEADING.match(text, start, end):
        return _Line.HEADING
    return _Line.WHOLE if _WHOLE_LINE.match(text, start, end) else _Line.PROSE


def _heading(line: str) -> tuple[int, str]:
    marks, _, title = line.strip().partition(" ")
    return len(marks), title.strip().rstrip("#").strip()


def _sentences(text: str, span: Span, before: Break, path: tuple[str, ...]) -> Iterator[Piece]:
    for start, end in _parted(span, _SENTENCE_END.finditer(text, *span)):
        yield Piece(start, end, before, path)
        before = Break.SENTENCE


def _parted(span: Span, ends: Iterable[re.Match[str]]) -> Iterator[Span]:
    start, end = span
    for match in ends:
        if match.end() < end:
            yield start, match.end()
            start = match.end()
    if start < end:
        yield start, end
