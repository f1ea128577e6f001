"""Reading order: from boxes of text in a picture to blocks of Markdown. Pure; stands behind `ocr`.

What was read is laid out as a page of print, so that columns, paragraphs, lists and tables are found as they are in a
PDF; the sizes of type are told from the height and width of the letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from morag.pipeline.conversion.layout import geometry
from morag.pipeline.conversion.layout.blocks import blocks_of
from morag.pipeline.conversion.layout.geometry import Box, PageText
from morag.pipeline.conversion.layout.looks import looks_of

BULLETS = "•·●▪■◦‣"
HEADING_RATIO = 1.3
"""Letters this much larger than those of the body make a heading (mean of height and width per character)."""
HEADING_HEIGHT = 1.1
CAPITALS_WIDER = 0.3
"""How much wider capitals are set than small letters."""
HEADING_LIMIT = 90
"""Longer lines are no headings, in characters."""
BODY = 10.0
"""The size the body is given, in points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of text as read, its box in pixels from the top left."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    confidence: float
    """0 to 1."""

    @property
    def height(self) -> float:
        """Pixels, at least one."""
        return max(self.bottom - self.top, 1.0)

    @property
    def pitch(self) -> float:
        """Pixels per character."""
        return max(self.right - self.left, 1.0) / max(len(self.text), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A heading (level > 0), paragraph, list or table, and its box in pixels (left, top, right, bottom)."""

    level: int
    text: str
    box: tuple[float, float, float, float]

    @property
    def markdown(self) -> str:
        """The block as it stands in Markdown."""
        return f"{'#' * self.level} {self.text}" if self.level else self.text


def blocks(lines: Sequence[Line], *, height: int, width: int = 0, rules: Sequence[Box] = ()) -> list[Block]:
    """What is on a page, in reading order. `height` and `width` (pixels) are those of the page.

    `rules` are the straight lines drawn on it, as boxes without width or height, in pixels.
    """
    if not lines:
        return []
    typical = _typical(lines, height)
    scale = BODY / typical[0]
    page = PageText(
        width=max(width, *(line.right for line in lines)) * scale,
        height=height * scale,
        lines=[_printed(line, typical, scale) for line in lines],
        stray=[],
        rules=[_scaled(rule, scale) for rule in rules],
        pictures=[],
        has_ink=True,
    )
    found = blocks_of(page, looks_of([page]))
    return [Block(level=one.level, text=one.text, box=_scaled(one.box, 1 / scale)) for one in found]


def _typical(lines: Sequence[Line], height: int) -> tuple[float, float]:
    """Height and pitch of the body: the medians over all characters."""
    usual = [line for line in lines if line.height < height / 3] or lines
    weights = [(line, max(len(line.text) // 4, 1)) for line in usual]
    heights = median([line.height for line, weight in weights for _ in range(weight)])
    return heights, median([line.pitch for line, weight in weights for _ in range(weight)])


def _printed(line: Line, typical: tuple[float, float], scale: float) -> geometry.Line:
    """A line as one of print; a bullet that stands tight before its item gets its blank."""
    text = f"{line.text[0]} {line.text[1:].lstrip()}" if line.text[0] in BULLETS and line.text[1:] else line.text
    box = _scaled((line.left, line.top, line.right, line.bottom), scale)
    return geometry.Line(text=text, box=box, size=_size(line, typical), is_bold=False, is_mono=False)


def _size(line: Line, typical: tuple[float, float]) -> float:
    """The size of the type in steps wide enough for what a reading is off by."""
    letters = sum(map(str.isalpha, line.text))
    capitals = sum(map(str.isupper, line.text)) / max(letters, 1)
    tall = line.height / typical[0]
    ratio = (tall + line.pitch / typical[1] / (1 + CAPITALS_WIDER * capitals)) / 2
    is_heading = ratio >= HEADING_RATIO and tall >= HEADING_HEIGHT and letters > 0 and len(line.text) <= HEADING_LIMIT
    if not is_heading or line.text[0] in BULLETS:
        return BODY
    return 1.8 * BODY if ratio >= HEADING_RATIO * 1.2 else 1.4 * BODY


def _scaled(box: tuple[float, float, float, float], scale: float) -> Box:
    left, top, right, bottom = box
    return Box(left * scale, top * scale, right * scale, bottom * scale)
