"""Text in pictures: one PP-OCR model per process, from the files of the rapidocr wheel, never fetched.

Used for images, for scanned PDF pages and for frames of a video. `ocr_layout` puts what is read into reading order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from morag.domain.errors import ConversionError
from morag.pipeline.conversion.ocr_layout import Line, blocks

__all__ = ["THREADS", "Line", "read_image", "to_markdown", "warm"]

THREADS = 2
"""Cores one process uses to read."""

LONGEST_SIDE = 2000
"""Pixels; larger pictures are shrunk before reading: an A4 page at 170 dpi. 2600 read no better and took 1.3 times as
long."""

MOST_OBLONG = 2
"""Ratio of the sides up to which a picture is read as it is; a strip of 1100 x 140 pixels took 5 times as long so."""

_MODELS = {"Det": "*_det_*.onnx", "Rec": "*_rec_*.onnx", "Cls": "*_cls_*.onnx"}


@dataclass(frozen=True, slots=True)
class _Read:
    """What one call of the engine gives, as far as it is used; None where there is no text."""

    boxes: NDArray[np.float32] | None
    txts: tuple[str, ...] | None
    scores: tuple[float, ...] | None


def read_image(array: NDArray[np.uint8]) -> list[Line]:
    """The lines of text in an RGB picture (height, width, 3), in no particular order; positions are its pixels."""
    found = _engine()(_less_oblong(array)[:, :, ::-1])
    if found.boxes is None or found.txts is None or found.scores is None:
        return []
    read = zip(found.boxes, found.txts, found.scores, strict=True)
    return [_line(box, text, float(score)) for box, text, score in read if text.strip()]


def to_markdown(lines: Sequence[Line], *, height: int) -> str:
    """Lines as Markdown in reading order: columns, paragraphs, headings and tables where they are clear.

    `height` is that of the picture in pixels.
    """
    return "\n\n".join(block.markdown for block in blocks(lines, height=height))


def warm() -> None:
    """Load the model now, so that the first picture does not wait for it."""
    read_image(np.full((64, 256, 3), 255, dtype=np.uint8))


def _less_oblong(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture, extended to the right or below: the engine blows a narrow strip up until its short side is long."""
    height, width = array.shape[:2]
    missing = (max(width // MOST_OBLONG - height, 0), max(height // MOST_OBLONG - width, 0))
    if not any(missing):
        return array
    return np.pad(array, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=int(np.median(array)))


def _line(box: NDArray[np.float32], text: str, score: float) -> Line:
    """A four-cornered box (clockwise from its top left) as an upright one that a slight turn does not make taller."""
    xs, ys = box[:, 0], box[:, 1]
    return Line(
        text=text.strip(),
        left=float(xs.min()),
        top=float(ys[:2].mean()),
        right=float(xs.max()),
        bottom=float(ys[2:].mean()),
        confidence=score,
    )


@cache
def _engine() -> Callable[[NDArray[np.uint8]], _Read]:
    """The loaded engine. Raises ConversionError where rapidocr or its model files are missing."""
    rapidocr = import_module("rapidocr")  # 1.7 s, with OpenCV: only where something is read
    params: dict[str, Any] = {
        "Global.log_level": "critical",  # an empty page is no warning
        "Global.max_side_len": LONGEST_SIDE,
        "EngineConfig.onnxruntime.intra_op_num_threads": THREADS,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    # a model given by its path is never looked for on the network
    params |= {f"{part}.model_path": str(_model(pattern)) for part, pattern in _MODELS.items()}
    return cast("Callable[[NDArray[np.uint8]], _Read]", rapidocr.RapidOCR(params=params))


def _model(pattern: str) -> Path:
    spec = find_spec("rapidocr")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        if found := sorted(Path(folder, "models").glob(pattern)):
            return found[0]
    raise ConversionError(
        "The text recognition models are not installed.",
        code="missing_dependency",
        hint='Run: pip install --force-reinstall "morag[ocr]"',
    )
