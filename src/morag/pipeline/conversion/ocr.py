"""Text in pictures: one PP-OCR model per process, from the files of the rapidocr wheel, never fetched.

Used for images, for scanned PDF pages and for frames of a video. `ocr_turn` sets upright what stands on its side or
askew, `ocr_layout` puts what is read into reading order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morag.domain.errors import ConversionError
from morag.pipeline.conversion.ocr_layout import Block, Line, blocks
from morag.pipeline.conversion.ocr_rules import ruling_lines
from morag.pipeline.conversion.ocr_turn import Boxes, Turn, is_flipped, is_tall, quarters_of, upright

__all__ = ["THREADS", "Line", "Reading", "page_blocks", "read_image", "read_page", "to_markdown", "warm"]

THREADS = 2
"""Cores one process uses to read."""

LONGEST_SIDE = 2000
"""Pixels; larger pictures are shrunk before reading: an A4 page at 170 dpi. 2600 read no better and took 1.3 times as
long."""

MOST_OBLONG = 2
"""Ratio of the sides up to which a picture is read as it is; a strip of 1100 x 140 pixels took 5 times as long so."""

MOST_VOTES = 15
"""Lines that are asked which way up they stand; looking at all 120 of a page took as long as finding them."""

_MODELS = {"Det": "*_det_*.onnx", "Rec": "*_rec_*.onnx", "Cls": "*_cls_*.onnx"}

Crops = list[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read of a picture, and how the picture is turned for it to stand upright."""

    lines: list[Line]
    """In no particular order; positions are pixels of the upright picture."""
    turn: Turn
    width: int
    """Of the upright picture, pixels."""
    height: int


def read_image(array: NDArray[np.uint8]) -> list[Line]:
    """The lines of text in an RGB picture (height, width, 3); positions are pixels of the picture set upright."""
    return read_page(array).lines


def read_page(array: NDArray[np.uint8]) -> Reading:
    """Read an RGB picture (height, width, 3) that may stand on its side, on its head, or a little askew."""
    height, width = array.shape[:2]
    engine = _engine()
    padded = np.ascontiguousarray(_less_oblong(array)[:, :, ::-1])
    picture, record = engine.preprocess_img(padded)
    try:
        crops, found = engine.detect_and_crop(picture, record)
    except import_module("rapidocr.main").RapidOCRError:
        return Reading(lines=[], turn=Turn(), width=width, height=height)
    straight, quarters = _straightened(engine, crops, found.boxes)
    read = engine.build_final_output(padded, found, _no_votes(), engine.recognize_txt(straight), straight, record)
    if read.boxes is None or not len(read.boxes):
        return Reading(lines=[], turn=Turn(), width=width, height=height)
    boxes, turn = upright(np.asarray(read.boxes, dtype=np.float32), quarters, width=width, height=height)
    words = zip(boxes, read.txts, read.scores, strict=True)
    lines = [_line(box, text, float(score)) for box, text, score in words if text.strip()]
    width, height = (height, width) if quarters % 2 else (width, height)
    return Reading(lines=lines, turn=turn, width=width, height=height)


def page_blocks(array: NDArray[np.uint8]) -> tuple[list[Block], int, int]:
    """The blocks of an RGB picture in reading order, and width and height of the picture set upright, pixels."""
    read = read_page(array)
    if not read.lines:
        return [], read.width, read.height
    rules = ruling_lines(array, read.turn, median(line.height for line in read.lines))
    return blocks(read.lines, height=read.height, width=read.width, rules=rules), read.width, read.height


def to_markdown(lines: Sequence[Line], *, height: int) -> str:
    """Lines as Markdown in reading order: columns, paragraphs, headings and tables where they are clear.

    `height` is that of the picture in pixels.
    """
    return "\n\n".join(block.markdown for block in blocks(lines, height=height))


def warm() -> None:
    """Load the model now, so that the first picture does not wait for it."""
    read_image(np.full((64, 256, 3), 255, dtype=np.uint8))


def _straightened(engine: Any, crops: Crops, boxes: Boxes) -> tuple[Crops, int]:
    """The lines' pictures all the right way up, and the quarter turns their page needs.

    Lines that run the same way are turned alike: a page has one way up, and a short line by itself is often misjudged.
    """
    tall = is_tall(boxes)
    flipped = {side: _is_flipped(engine, [crops[at] for at in np.flatnonzero(tall == side)]) for side in (True, False)}
    straight = [
        np.ascontiguousarray(crop[::-1, ::-1]) if flipped[bool(side)] else crop
        for crop, side in zip(crops, tall, strict=True)
    ]
    return straight, quarters_of(tall, wide_flipped=flipped[False], tall_flipped=flipped[True])


def _is_flipped(engine: Any, crops: Crops) -> bool:
    """Whether these lines stand on their heads, by the vote of the longest."""
    if not crops:
        return False
    longest = sorted(crops, key=lambda crop: crop.shape[1] / max(crop.shape[0], 1))[-MOST_VOTES:]
    _, votes = engine.cls_and_rotate(longest)
    return is_flipped(votes.cls_res)


def _no_votes() -> Any:
    return import_module("rapidocr.ch_ppocr_cls").TextClsOutput()


def _less_oblong(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture, extended to the right or below: the engine blows a narrow strip up until its short side is long."""
    height, width = array.shape[:2]
    missing = (max(width // MOST_OBLONG - height, 0), max(height // MOST_OBLONG - width, 0))
    if not any(missing):
        return array
    return np.pad(array, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=int(np.median(array)))


def _line(box: NDArray[np.float32], text: str, score: float) -> Line:
    """Four corners as an upright box that a slight slope of its own does not make taller."""
    xs, ys = box[:, 0], np.sort(box[:, 1])
    return Line(
        text=text.strip(),
        left=float(xs.min()),
        top=float(ys[:2].mean()),
        right=float(xs.max()),
        bottom=float(ys[2:].mean()),
        confidence=score,
    )


@cache
def _engine() -> Any:
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
    return rapidocr.RapidOCR(params=params)


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
