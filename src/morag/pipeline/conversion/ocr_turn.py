"""Which way up a picture of text stands: on its side, upside down, a little askew; and its boxes set upright. Pure.

Stands between the engine of `ocr` and the layout of `ocr_layout`. A box is four corners (x, y) in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""Of the shape (boxes, 4, 2)."""

TALL = 1.5
"""Height over width from which a box holds text that runs up or down; the engine's own measure."""
_SURE = 0.9
_LONG = 4.0
"""Width over height from which a box tells how much the page is askew."""
_LEAST_SKEW = 0.003
"""Radians; less does no harm."""
_MOST_SKEW = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What sets a picture upright: quarter turns to the left, then `skew` radians about its middle."""

    quarters: int = 0
    skew: float = 0.0


def is_tall(boxes: Boxes) -> NDArray[np.bool_]:
    """Which boxes are higher than wide, so that their text runs up or down."""
    extent = boxes.max(axis=1) - boxes.min(axis=1)
    return np.asarray(extent[:, 1] >= TALL * np.maximum(extent[:, 0], 1.0), dtype=np.bool_)


def is_flipped(votes: Sequence[tuple[str, float]]) -> bool:
    """Whether most lines, each seen as (degrees, certainty), stand on their heads; a single one is often misjudged."""
    sure = [degrees for degrees, certainty in votes if certainty > _SURE]
    return sum("180" in degrees for degrees in sure) * 2 > len(sure)


def quarters_of(tall: NDArray[np.bool_], *, wide_flipped: bool, tall_flipped: bool) -> int:
    """Quarter turns to the left that set the picture upright, by how most of its lines run."""
    if tall.sum() * 2 > len(tall):
        return 3 if tall_flipped else 1
    return 2 if wide_flipped else 0


def upright(boxes: Boxes, quarters: int, *, width: int, height: int) -> tuple[Boxes, Turn]:
    """The boxes in the picture set upright, and the turn that did it; `width` and `height` are those it had before."""
    x, y = boxes[..., 0], boxes[..., 1]
    turned = {
        0: (x, y),
        1: (y, width - x),
        2: (width - x, height - y),
        3: (height - y, x),
    }[quarters]
    found = np.stack(turned, axis=-1).astype(np.float32)
    skew = _skew(found)
    if abs(skew) < _LEAST_SKEW or abs(skew) > _MOST_SKEW:
        return found, Turn(quarters=quarters)
    middle = np.array([height, width] if quarters % 2 else [width, height], dtype=np.float32) / 2
    cos, sin = np.cos(skew), np.sin(skew)
    back = np.array([[cos, -sin], [sin, cos]], dtype=np.float32)
    return ((found - middle) @ back + middle).astype(np.float32), Turn(quarters=quarters, skew=skew)


def _skew(boxes: Boxes) -> float:
    """The slope of most of the text, radians, downwards to the right; long lines tell more."""
    by_x = np.take_along_axis(boxes, np.argsort(boxes[..., 0], axis=1)[..., None], axis=1)
    along = by_x[:, 2:].mean(axis=1) - by_x[:, :2].mean(axis=1)
    heights = np.ptp(boxes[..., 1], axis=1) - np.abs(along[:, 1])
    long = along[:, 0] > _LONG * np.maximum(heights, 1.0)
    if not long.any():
        return 0.0
    slopes, weights = np.arctan2(along[long, 1], along[long, 0]), along[long, 0]
    order = np.argsort(slopes)
    reached = np.cumsum(weights[order]) >= weights.sum() / 2
    return float(slopes[order][int(reached.argmax())])
