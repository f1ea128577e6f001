"""Pictures to Markdown: the text in them, page by page, each block with its place on the page."""

import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from morag.domain.content import ContentType, Document, Place
from morag.domain.errors import ConversionError
from morag.domain.json import JsonObject
from morag.pipeline.conversion import ocr
from morag.pipeline.conversion.markdown import MarkdownBuilder
from morag.pipeline.conversion.ocr_layout import Block
from morag.pipeline.ports import ConversionInput, ReportProgress

if TYPE_CHECKING:
    from PIL import Image

OPTIONS: dict[str, str] = {}

MOST_PIXELS = 89_478_485
"""Of one picture: where Pillow begins to warn of pictures made to fill the memory (a quarter GiB as RGB)."""
MOST_PAGES = 500
"""Of one file."""


class ImageConverter:
    """Reads the text in a picture; all pages of a TIFF, the first of an animation."""

    OPTIONS = OPTIONS

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The text found; none where there is none. Raises ConversionError: `broken_file`, `too_large`."""
        if given.path is None:
            raise ConversionError("There is no file.", code="broken_file")
        builder = MarkdownBuilder()
        with _opened(given.path) as image:
            pages = _page_count(image)
            about = _about(image, pages)
            for page, pixels in enumerate(_pages(image, pages), 1):
                report((page - 1) / pages, "reading", f"page {page} of {pages}")
                _add(builder, pixels, page)
        report(1.0, "reading", f"{pages} of {pages} pages")
        return builder.document(
            content_type=ContentType.IMAGE, media_type=given.detected.media_type, metadata={**about, "pages": pages}
        )


@contextmanager
def _opened(path: Path) -> "Generator[Image.Image]":
    """The picture, nothing of it decoded yet; whatever breaks while it is read is the file's fault."""
    pillow: Any = import_module("PIL.Image")
    unidentified: type[Exception] = import_module("PIL").UnidentifiedImageError
    bombs: tuple[type[Exception], ...] = (pillow.DecompressionBombError, pillow.DecompressionBombWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd EXIF data and the like, nothing a user can act upon
        warnings.simplefilter("error", pillow.DecompressionBombWarning)
        try:
            with pillow.open(path) as image:
                yield image
        except bombs as error:
            raise _too_large() from error
        except (unidentified, OSError, SyntaxError, ValueError, EOFError) as error:
            raise _broken() from error


def _too_large() -> ConversionError:
    return ConversionError(
        f"The picture has more than {MOST_PIXELS // 1_000_000} million pixels.",
        code="too_large",
        hint="Make it smaller, or cut it into parts.",
    )


def _broken() -> ConversionError:
    return ConversionError(
        "The picture is damaged or of a kind that cannot be read.",
        code="broken_file",
        hint="Check that it opens, or save it as PNG.",
    )


def _page_count(image: "Image.Image") -> int:
    """How many frames are pages: those of a TIFF are, those of an animation are not."""
    count = int(getattr(image, "n_frames", 1)) if image.format == "TIFF" else 1
    if count > MOST_PAGES:
        raise ConversionError(f"The file has {count} pages; {MOST_PAGES} are the most.", code="too_large")
    return count


def _about(image: "Image.Image", pages: int) -> JsonObject:
    """What is said of the picture; width and height as it is looked at, once turned as EXIF asks."""
    turned = pages == 1 and image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
    width, height = reversed(image.size) if turned else image.size
    return {"width": width, "height": height, "format": image.format}


_ORIENTATION = 0x0112
_ON_ITS_SIDE = {5, 6, 7, 8}


def _pages(image: "Image.Image", count: int) -> Iterator[NDArray[np.uint8]]:
    """Each page as RGB, upright, on white."""
    operations: Any = import_module("PIL.ImageOps")
    for page in range(count):
        image.seek(page)
        if image.width * image.height > MOST_PIXELS:
            raise _too_large()
        yield np.asarray(on_white(operations.exif_transpose(image)), dtype=np.uint8)


def on_white(image: "Image.Image") -> "Image.Image":
    """The picture as RGB; what is transparent becomes white."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _eight_bit(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    pillow: Any = import_module("PIL.Image")
    layered = image.convert("RGBA")
    white: Image.Image = pillow.new("RGBA", layered.size, "white")
    white.alpha_composite(layered)
    return white.convert("RGB")


def _eight_bit(image: "Image.Image") -> "Image.Image":
    """A picture of deeper greys, stretched from its darkest to its lightest."""
    pillow: Any = import_module("PIL.Image")
    values = np.asarray(image, dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255 / (high - low)) if high > low else np.full_like(values, 255)
    grey: Image.Image = pillow.fromarray(scaled.astype(np.uint8))
    return grey.convert("RGB")


def _add(builder: MarkdownBuilder, pixels: NDArray[np.uint8], page: int) -> None:
    builder.leave_headings()
    found, width, height = ocr.page_blocks(pixels)
    for block in found:
        place = Place(page=page, bbox=_fractions(block, width, height))
        if block.level:
            builder.heading(block.level, block.text, place)
        else:
            builder.block(block.text, place)


def _fractions(block: Block, width: int, height: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = block.box
    return _share(left, width), _share(top, height), _share(right, width), _share(bottom, height)


def _share(position: float, whole: int) -> float:
    return round(min(max(position / whole, 0.0), 1.0), 4)
