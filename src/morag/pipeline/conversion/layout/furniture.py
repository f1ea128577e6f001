"""Headers and footers of a single page, told by where and how they stand; `looks` tells those that pages repeat.

A page that is sent alone repeats nothing. Its outermost rows are furniture where white parts them from the text, they
are set no larger than it, and they look like what is printed there: a page number, a publisher, a running title.
"""

import re
from collections.abc import Iterator, Sequence

from morag.pipeline.conversion.layout.geometry import Box, Line, PageText
from morag.pipeline.conversion.layout.looks import PAGE_NUMBER

_ZONE = 0.1
"""Share of the page's height in which furniture stands."""
_WHITE = 0.9
"""White between furniture and text, in type sizes of the body."""
_MOST_ROWS = 3
_MOST_LETTERS = 160
_DENSE = 12
"""Lines that a page must have beside its furniture; title pages, slides and cards keep all they show."""
_SMALLER = 0.93
_TITLE = 60
_WORDS = re.compile(
    r"©|\(c\)\s*\d{4}|copyright|all rights reserved|https?://|\bwww\.|\bdoi\b|\bissn\b|\bisbn\b|\bvol(?:\.|ume)\s*\d"
    r"|\bpage\s+\d|\barxiv:|\bconfidential\b|\bdownloaded (?:from|by)\b|\bpreprint\b|\bpp\.\s*\d|\bet al\.?$",
    re.IGNORECASE,
)
_NOTE = re.compile(r"[\d*†‡§¹²³⁴-⁹]{1,2}[.)]?\s*\S|(?:notes?|sources?)\b", re.IGNORECASE)
_NUMBER_FIRST = re.compile(r"\d{1,4}\b\s*[|·•–—-]?\s+\D")  # noqa: RUF001 - dashes as printed
_NUMBER_LAST = re.compile(r"[|·•–—]\s*\d{1,4}$")  # noqa: RUF001


def furniture_of(page: PageText, body: float) -> list[Line]:
    """The lines of a page that are its headers and footers; `body` is the type size of the text, in points."""
    top = [line for line in page.lines if line.box.bottom < _ZONE * page.height]
    low = [line for line in page.lines if line.box.top > (1 - _ZONE) * page.height]
    found = [*_outermost(page, top, body, is_top=True), *_outermost(page, low, body, is_top=False)]
    return found if len(page.lines) - len(found) >= _DENSE else []


def _outermost(page: PageText, zone: Sequence[Line], body: float, *, is_top: bool) -> Iterator[Line]:
    """From the edge inwards, the rows that are furniture; the first that is none ends it."""
    rows = _rows(zone) if is_top else _rows(zone)[::-1]
    taken: list[Line] = []
    for row in rows[:_MOST_ROWS]:
        taken.extend(row)
        if not _is_apart(page, taken, body, is_top=is_top):
            continue
        if not _looks_it(page, taken, body, is_top=is_top):
            return
        yield from taken
        taken = []


def _rows(lines: Sequence[Line]) -> list[list[Line]]:
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.box.top):
        if rows and rows[-1][0].box.shares_rows_with(line.box):
            rows[-1].append(line)
        else:
            rows.append([line])
    return rows


def _is_apart(page: PageText, taken: Sequence[Line], body: float, *, is_top: bool) -> bool:
    """Whether white runs between these lines and all further in."""
    low, high = max(line.box.bottom for line in taken), min(line.box.top for line in taken)
    if is_top:
        return all(line.box.top - low > _WHITE * body for line in page.lines if line.box.top > low - 1)
    return all(high - line.box.bottom > _WHITE * body for line in page.lines if line.box.bottom < high + 1)


def _looks_it(page: PageText, lines: Sequence[Line], body: float, *, is_top: bool) -> bool:
    text = " ".join(line.text for line in sorted(lines, key=lambda line: line.box.left))
    if len(text) > _MOST_LETTERS or any(line.size > 1.05 * body for line in lines):
        return False
    if any(PAGE_NUMBER.fullmatch(line.text.strip()) for line in lines) or _WORDS.search(text):
        return True
    if _NUMBER_LAST.search(text):
        return True
    if not is_top and _NOTE.match(text):
        return False
    return (
        all(line.size <= _SMALLER * body for line in lines)
        or _is_spread(page, lines)
        or (is_top and (_NUMBER_FIRST.match(text) is not None or (text.isupper() and len(text) < _TITLE)))
    )


def _is_spread(page: PageText, lines: Sequence[Line]) -> bool:
    """Whether several pieces stand far apart, as left and right of a header do."""
    return len(lines) > 1 and Box.around(line.box for line in lines).width > 0.5 * page.width
