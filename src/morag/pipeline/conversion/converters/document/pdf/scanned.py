"""Pages that are pictures, and pictures of text on pages that also have text: drawn by pdfium, read by OCR."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morag.domain.content import Place
from morag.pipeline.conversion.layout.geometry import Box, Line, PageText
from morag.pipeline.conversion.markdown import MarkdownBuilder

_DOTS_PER_POINT = 200 / 72
"""200 dpi: body text is 25 pixels high, which is what the recogniser was trained on."""
_MAX_SIDE = 4000
_LEAST_SHARE = 0.05
"""Share of the page that a picture must cover to be looked at; logos and icons cover less."""
_LEAST_WIDTH = 100.0
_LEAST_HEIGHT = 24.0
"""Points."""
_LIGHT = 0.55
"""Share of a picture that must be paper for it to be one of text rather than a photo."""
_SURE = 0.8
_LEAST_LETTERS = 25
"""Letters that a picture must show; fewer are labels of a drawing."""


def can_read_pictures() -> bool:
    """Whether the OCR extra is installed."""
    return find_spec("rapidocr") is not None


def read_page(builder: MarkdownBuilder, pdf: Any, number: int) -> None:
    """Add the text of the page's picture."""
    from morag.pipeline.conversion import ocr  # noqa: PLC0415 - loads onnxruntime, for scanned pages only

    found, across, down = ocr.page_blocks(_drawn(pdf, number))
    for block in found:
        left, top, right, bottom = block.box
        bbox = (round(left / across, 4), round(top / down, 4), round(right / across, 4), round(bottom / down, 4))
        if block.level:
            builder.heading(block.level, block.text, Place(page=number, bbox=bbox))
        else:
            builder.block(block.text, Place(page=number, bbox=bbox))


def _drawn(pdf: Any, number: int) -> NDArray[np.uint8]:
    """The page as an RGB picture."""
    page = pdf[number - 1]
    try:
        width, height = page.get_size()
        scale = min(_DOTS_PER_POINT, _MAX_SIDE / max(width, height, 1.0))
        bitmap = page.render(scale=scale, rev_byteorder=True, draw_annots=True)
        pixels = np.array(bitmap.to_numpy()[:, :, :3], dtype=np.uint8)
        bitmap.close()
    finally:
        page.close()
    return pixels


def may_show_text(page: PageText) -> list[Box]:
    """The pictures of a page that are large enough for text and have none of the page's own over them."""
    whole = Box(0, 0, page.width, page.height)
    inside = [_common(picture, whole) for picture in page.pictures]
    large = (box for box in inside if box.width >= _LEAST_WIDTH and box.height >= _LEAST_HEIGHT)
    return [
        box
        for box in large
        if box.width * box.height >= _LEAST_SHARE * page.width * page.height
        and sum(box.holds_center_of(line.box) for line in page.lines) < 2
    ]


def lines_in_pictures(pdf: Any, number: int, page: PageText, boxes: list[Box], size: float) -> Iterator[Line]:
    """The lines of text in these parts of a page, as lines of print of that type size."""
    from morag.pipeline.conversion import ocr  # noqa: PLC0415 - loads onnxruntime, for pages with pictures only

    pixels = _drawn(pdf, number)
    scale = pixels.shape[1] / max(page.width, 1.0)
    if abs(pixels.shape[0] / max(page.height, 1.0) - scale) > 0.05 * scale:
        return  # text runs across the page: its boxes are not those of the picture
    for box in boxes:
        left, top, right, bottom = (round(edge * scale) for edge in box)
        part = pixels[top:bottom, left:right]
        if not part.size or float((part.mean(axis=2) > 170).mean()) < _LIGHT:
            continue
        found = [line for line in ocr.read_image(np.ascontiguousarray(part)) if line.confidence >= _SURE]
        if sum(map(str.isalpha, "".join(line.text for line in found))) < _LEAST_LETTERS:
            continue
        for line in found:
            high, low = box.top + line.top / scale, box.top + line.bottom / scale
            moved = Box(box.left + line.left / scale, high, box.left + line.right / scale, low)
            yield Line(text=line.text, box=moved, size=size, is_bold=False, is_mono=False)


def _common(one: Box, other: Box) -> Box:
    left, top = max(one.left, other.left), max(one.top, other.top)
    return Box(left, top, max(min(one.right, other.right), left), max(min(one.bottom, other.bottom), top))
