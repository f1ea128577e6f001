"""Pages that are pictures: drawn by pdfium, read by OCR."""

from importlib.util import find_spec
from typing import Any

import numpy as np

from morag.domain.content import Place
from morag.pipeline.conversion.markdown import MarkdownBuilder

_DOTS_PER_POINT = 200 / 72
"""200 dpi: body text is 25 pixels high, which is what the recogniser was trained on."""
_MAX_SIDE = 4000


def can_read_pictures() -> bool:
    """Whether the OCR extra is installed."""
    return find_spec("rapidocr") is not None


def read_page(builder: MarkdownBuilder, pdf: Any, number: int) -> None:
    """Add the text of the page's picture."""
    from morag.pipeline.conversion import ocr  # noqa: PLC0415 - loads onnxruntime, for scanned pages only

    page = pdf[number - 1]
    try:
        width, height = page.get_size()
        scale = min(_DOTS_PER_POINT, _MAX_SIDE / max(width, height, 1.0))
        bitmap = page.render(scale=scale, rev_byteorder=True, draw_annots=True)
        pixels = np.array(bitmap.to_numpy()[:, :, :3], dtype=np.uint8)
        bitmap.close()
    finally:
        page.close()
    found, across, down = ocr.page_blocks(pixels)
    for block in found:
        left, top, right, bottom = block.box
        bbox = (round(left / across, 4), round(top / down, 4), round(right / across, 4), round(bottom / down, 4))
        if block.level:
            builder.heading(block.level, block.text, Place(page=number, bbox=bbox))
        else:
            builder.block(block.text, Place(page=number, bbox=bbox))
