"""What stands where on a page: words, lines and blocks, in points from the page's upper left corner."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self


class Box(NamedTuple):
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.bottom - self.top

    @classmethod
    def around(cls, boxes: Iterable["Box"]) -> Self:
        """The smallest rectangle that holds them all."""
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        return cls(min(lefts), min(tops), max(rights), max(bottoms))

    def holds_center_of(self, other: "Box") -> bool:
        """Whether the other's middle lies in this one."""
        across, down = (other.left + other.right) / 2, (other.top + other.bottom) / 2
        return self.left <= across <= self.right and self.top <= down <= self.bottom

    def shares_rows_with(self, other: "Box", share: float = 0.5) -> bool:
        """Whether they overlap vertically by that share of the lower one's height."""
        overlap = min(self.bottom, other.bottom) - max(self.top, other.top)
        return overlap > share * min(self.height, other.height)


@dataclass(frozen=True, slots=True)
class Word:
    """Letters without a blank between them."""

    text: str
    box: Box
    size: float
    """Of the type, in points."""
    is_bold: bool
    is_mono: bool


@dataclass(frozen=True, slots=True)
class Line:
    """Words that follow each other on one line, without a gap that a reader would jump."""

    text: str
    box: Box
    size: float
    is_bold: bool
    is_mono: bool

    @classmethod
    def of(cls, words: list[Word], separator: str = " ") -> Self:
        """The line of these words; its looks are those of most of its letters."""
        weight = sum(len(word.text) for word in words)
        by_size: dict[float, int] = {}
        for word in words:
            by_size[word.size] = by_size.get(word.size, 0) + len(word.text)
        return cls(
            text=separator.join(word.text for word in words),
            box=Box.around(word.box for word in words),
            size=max(by_size, key=lambda size: by_size[size]),
            is_bold=sum(len(word.text) for word in words if word.is_bold) > 0.8 * weight,
            is_mono=sum(len(word.text) for word in words if word.is_mono) > 0.8 * weight,
        )

    def beside(self, other: "Line", *, blanks: int = 1) -> "Line":
        """This line and what follows it on the same row as one, so many blanks between."""
        wider = self if len(self.text) >= len(other.text) else other
        return Line(
            text=f"{self.text}{' ' * blanks}{other.text}",
            box=Box.around((self.box, other.box)),
            size=wider.size,
            is_bold=self.is_bold and other.is_bold,
            is_mono=self.is_mono and other.is_mono,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PageText:
    """All that was read of a page."""

    width: float
    height: float
    lines: list[Line]
    """In the order of the file, not yet of reading."""
    stray: list[str]
    """Words that run in another direction than the rest: margin stamps, labels of axes."""
    rules: list[Box]
    """Thin lines and edges of boxes, as rectangles without width or height."""
    pictures: list[Box]
    """Where pictures are shown."""
    has_ink: bool
    """Whether anything at all is drawn."""
    is_garbled: bool = False
    """Whether the type does not tell which letters its shapes are."""
