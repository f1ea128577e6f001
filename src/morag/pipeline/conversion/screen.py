"""What is written on the screen of a film: pictures that differ are read, and text that stays is told once.

Stands between `media.pictures` and the video converter.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from morag.pipeline.conversion.media import Picture
from morag.pipeline.conversion.ocr import Line
from morag.pipeline.conversion.ocr_layout import blocks

CELLS = (72, 128)
"""Rows and columns in which two pictures are compared."""
CELL_CHANGE = 12.0
"""Grey levels by which a cell must differ to have changed; film noise stays below."""
LEAST_CHANGED = 0.004
"""Share of changed cells that makes a new picture: a short line of text on a large screen."""
LEAST_CONFIDENCE = 0.7
LEAST_LETTERS = 3
"""Shorter scraps are mostly misread texture."""
SAME_TEXT = 0.8
"""Likeness from which two readings are the same text."""
REMEMBERED = 3
"""Pictures for which a text counts as still standing: a reading may miss it once."""

ReadImage = Callable[[NDArray[np.uint8]], list[Line]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """Text that appears on the screen, and until when the picture stood; seconds."""

    start_s: float
    end_s: float
    text: str


def captions(pictures: Iterable[Picture], *, end_s: float, read: ReadImage) -> Iterator[Caption]:
    """The text that is new in each picture that differs from the one before."""
    standing: deque[list[str]] = deque(maxlen=REMEMBERED)
    waiting: tuple[float, str] | None = None
    for picture in changes(pictures):
        if waiting and waiting[1]:
            yield Caption(start_s=waiting[0], end_s=picture.time_s, text=waiting[1])
        lines = [line for line in read(picture.pixels) if _is_text(line)]
        seen = [text for texts in standing for text in texts]
        fresh = [line for line in lines if not _stands(_letters(line.text), seen)]
        standing.append([_letters(line.text) for line in lines])
        waiting = (picture.time_s, _joined(fresh, picture.pixels.shape[0]))
    if waiting and waiting[1]:
        yield Caption(start_s=waiting[0], end_s=max(end_s, waiting[0]), text=waiting[1])


def changes(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Pictures that differ from the last one that did."""
    last: NDArray[np.float32] | None = None
    for picture in pictures:
        cells = _cells(picture.pixels)
        if last is None or float((np.abs(cells - last) > CELL_CHANGE).mean()) >= LEAST_CHANGED:
            last = cells
            yield picture


def _cells(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The grey mean of each cell of a grid over the picture."""
    grey = pixels.mean(axis=2, dtype=np.float32)
    for axis, count in enumerate(CELLS):
        grey = _means(grey, axis, min(count, grey.shape[axis]))
    return grey


def _means(values: NDArray[np.float32], axis: int, count: int) -> NDArray[np.float32]:
    """The means of `count` stretches along an axis, of nearly the same length."""
    length = values.shape[axis]
    edges = [length * index // count for index in range(count)]
    widths = np.diff(np.array([*edges, length], dtype=np.float32)).reshape((-1, 1) if axis == 0 else (1, -1))
    sums = np.add.reduceat(values, edges, axis=axis)
    return np.asarray(sums / widths, dtype=np.float32)


def _is_text(line: Line) -> bool:
    return line.confidence >= LEAST_CONFIDENCE and len(_letters(line.text)) >= LEAST_LETTERS


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _stands(text: str, seen: Iterable[str]) -> bool:
    return any(text == other or SequenceMatcher(None, text, other).ratio() >= SAME_TEXT for other in seen)


def _joined(lines: list[Line], height: int) -> str:
    """The lines of a picture in reading order."""
    return "\n\n".join(block.text for block in blocks(lines, height=height))
