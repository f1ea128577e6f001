"""The ruling lines of a table in a picture; with them `ocr_layout` finds the cells of a scanned form or table."""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morag.pipeline.conversion.layout.geometry import Box
from morag.pipeline.conversion.ocr_turn import Turn

_LONG = 2.5
"""Length over the height of a line of text from which a stroke is a ruling line: longer than any of a letter's."""
_THICK = 0.35
"""Thickness, in the same measure, up to which it is one."""
_MOST = 400
"""Ruling lines of a page; plans and maps have more, and no tables in them."""


def ruling_lines(array: NDArray[np.uint8], turn: Turn, text_height: float) -> list[Box]:
    """Level and upright lines in an RGB picture once it is turned, as boxes without height or width, in its pixels."""
    vision: Any = import_module("cv2")
    ink = _ink(vision, _turned(vision, array, turn))
    length, thickness = max(int(_LONG * text_height), 12), max(_THICK * text_height, 4.0)
    level = _strokes(vision, ink, (length, 1))
    high = _strokes(vision, ink, (1, length))
    found = [Box(x, y + h / 2, x + w, y + h / 2) for x, y, w, h in level if h <= thickness]
    found += [Box(x + w / 2, y, x + w / 2, y + h) for x, y, w, h in high if w <= thickness]
    return found if len(found) <= _MOST else []


def _turned(vision: Any, array: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    upright = np.ascontiguousarray(np.rot90(array, turn.quarters))
    if not turn.skew:
        return upright
    height, width = upright.shape[:2]
    matrix = vision.getRotationMatrix2D((width / 2, height / 2), np.degrees(turn.skew), 1.0)
    turned: NDArray[np.uint8] = vision.warpAffine(
        upright, matrix, (width, height), flags=vision.INTER_LINEAR, borderValue=(255, 255, 255)
    )
    return turned


def _ink(vision: Any, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is darker than its surroundings, as 255."""
    grey = vision.cvtColor(array, vision.COLOR_RGB2GRAY)
    ink: NDArray[np.uint8] = vision.adaptiveThreshold(
        grey, 255, vision.ADAPTIVE_THRESH_MEAN_C, vision.THRESH_BINARY_INV, 31, 15
    )
    return ink


def _strokes(vision: Any, ink: NDArray[np.uint8], shape: tuple[int, int]) -> list[tuple[float, float, float, float]]:
    """Straight stretches of ink at least as long as `shape`: (left, top, width, height); small gaps are bridged."""
    across, down = shape
    bridge = np.ones((max(down // 8, 1), max(across // 8, 1)), dtype=np.uint8)
    closed = vision.morphologyEx(ink, vision.MORPH_CLOSE, bridge)
    kept = vision.morphologyEx(closed, vision.MORPH_OPEN, np.ones((down, across), dtype=np.uint8))
    _, _, stats, _ = vision.connectedComponentsWithStats(kept, connectivity=8)
    return [(float(x), float(y), float(w), float(h)) for x, y, w, h, _ in stats[1:]]
