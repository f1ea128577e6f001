"""What the type of a document means: its body size, its heading sizes, and the lines that every page repeats."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from morag.pipeline.conversion.layout.geometry import Line, PageText

_LARGER = 1.12
"""How much larger than the body a heading is set."""
_MAX_HEADING = 200
_MOST_LETTERS = 0.3
"""Share of all letters above which a size is no heading's."""
_MARGIN = 0.12
"""Share of the page's height, above and below, where running headers and footers stand."""
_MAX_LEVELS = 4
_NUMBERED = re.compile(r"(\d{1,2}(?:\.\d{1,2})*)\.?\s+\S")
_DIGITS = re.compile(r"\d+")
PAGE_NUMBER = re.compile(
    r"(?:page|seite|p\.)?\s*[-–—]?\s*(?:(?:[A-Z]-)?\d{1,4}|[ivxlc]{1,6})\s*(?:(?:/|of|von)\s*\d{1,4})?\s*[-–—]?",  # noqa: RUF001 - dashes as printed
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """The statistics of one document."""

    body: float
    """Size most letters have."""
    sizes: tuple[float, ...]
    """Sizes of headings, largest first."""
    repeated: frozenset[tuple[str, int]]
    """Running headers and footers: their text with digits made equal, and where they stand."""
    numbered: frozenset[int]
    """Where page numbers stand."""
    is_typewritten: bool
    """Whether all of it is set in type of a fixed pitch, which then says nothing of code."""

    def level(self, text: str, size: float, *, is_bold: bool) -> int:
        """The level of a heading; 0 for anything else."""
        if not _may_be_heading(text):
            return 0
        if size in self.sizes:
            return min(self.sizes.index(size) + 1, _MAX_LEVELS)
        if not is_bold or size < 0.95 * self.body or text.endswith((".", ":", ",")) or len(text) > 100:
            return 0
        numbered = _NUMBERED.match(text)
        depth = numbered[1].count(".") if numbered else 0
        return min(len(self.sizes) + 1 + depth, 6)

    def is_repeated(self, line: Line, page: PageText) -> bool:
        """Whether the line is a running header or footer, or a page number."""
        if _margin(line, page) == 0:
            return False
        position = _position(line, page)
        return (_shape(line.text), position) in self.repeated or (
            position in self.numbered and any(_is_number(other, page) and _row(other, line) for other in page.lines)
        )


def looks_of(pages: Sequence[PageText]) -> Looks:
    """The statistics of some pages; neighbours among them, so that running headers show."""
    letters: Counter[float] = Counter()
    mono = 0
    for page in pages:
        for line in page.lines:
            letters[line.size] += len(line.text)
            mono += len(line.text) if line.is_mono else 0
    total = sum(letters.values())
    body = letters.most_common(1)[0][0] if letters else 10.0
    larger = (size for size, count in letters.items() if size >= _LARGER * body and count < _MOST_LETTERS * total)
    return Looks(
        body=body,
        sizes=tuple(sorted(larger, reverse=True)),
        repeated=_repeated(pages),
        numbered=_numbered(pages),
        is_typewritten=2 * mono > total,
    )


def _numbered(pages: Sequence[PageText]) -> frozenset[int]:
    """Places where a number stands outermost on several pages."""
    seen: Counter[int] = Counter()
    for page in pages:
        seen.update({_position(line, page) for line in page.lines if _is_number(line, page)})
    least = max(2, len(pages) // 4)
    return frozenset(position for position, count in seen.items() if count >= least)


def _is_number(line: Line, page: PageText) -> bool:
    is_number = PAGE_NUMBER.fullmatch(line.text.strip()) is not None
    return is_number and _margin(line, page) != 0 and _is_outermost(line, page)


def _row(one: Line, other: Line) -> bool:
    return one is other or one.box.shares_rows_with(other.box)


def _may_be_heading(text: str) -> bool:
    return 1 < len(text) <= _MAX_HEADING and sum(map(str.isalpha, text)) >= max(2, 0.4 * len(text.replace(" ", "")))


def _repeated(pages: Sequence[PageText]) -> frozenset[tuple[str, int]]:
    """Lines in the margins that stand at the same place on several pages."""
    seen: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for at, page in enumerate(pages):
        for line in page.lines:
            if _margin(line, page):
                seen[_shape(line.text), _position(line, page)].add(at)
    least = 2 if len(pages) < 4 else max(3, len(pages) // 8)
    return frozenset(key for key, found in seen.items() if len(found) >= least)


def _margin(line: Line, page: PageText) -> int:
    """-1 in the upper margin, 1 in the lower, 0 elsewhere."""
    if line.box.bottom < _MARGIN * page.height:
        return -1
    return 1 if line.box.top > (1 - _MARGIN) * page.height else 0


def _is_outermost(line: Line, page: PageText) -> bool:
    """Whether nothing stands further out than the line."""
    if _margin(line, page) < 0:
        return all(other.box.bottom >= line.box.top for other in page.lines)
    return all(other.box.top <= line.box.bottom for other in page.lines)


def _shape(text: str) -> str:
    return _DIGITS.sub("#", text.strip().lower())


def _position(line: Line, page: PageText) -> int:
    """Distance from the nearer edge in steps of 4 points, coarse enough for rounding; negative from the upper one."""
    if _margin(line, page) < 0:
        return -1 - round(line.box.top / 4)
    return round((page.height - line.box.bottom) / 4)
