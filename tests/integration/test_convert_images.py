"""Pictures, sound ones and damaged ones, through the real decoders and the real model."""

import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from morag.domain.content import ContentType, Document
from morag.domain.errors import ConversionError
from morag.pipeline.conversion.converters.image import ImageConverter
from morag.pipeline.ports import ConversionInput, Detected

SAMPLES = Path(__file__).parents[2] / "examples" / "samples"


class Steps(list[tuple[float, str, str]]):
    """Progress as it was reported."""

    def report(self, fraction: float, stage: str, message: str) -> None:
        self.append((fraction, stage, message))


def convert(path: Path, steps: Steps | None = None) -> Document:
    given = ConversionInput(
        path=path,
        filename=path.name,
        detected=Detected(content_type=ContentType.IMAGE, media_type="image/test"),
        url=None,
        options={},
        work_dir=path.parent,
    )
    return ImageConverter().convert(given, (Steps() if steps is None else steps).report)


def refusal(path: Path) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        convert(path)
    return caught.value


def place_of(document: Document, words: str) -> Any:
    at = document.markdown.index(words)
    return next(s.place for s in document.segments if s.text_start <= at < s.text_end)


def test_a_scan_is_read_with_the_place_of_each_paragraph() -> None:
    found = convert(SAMPLES / "scan.png")
    assert "the barometer fell to 961 hectopascals" in found.markdown
    assert found.markdown.startswith("# KEEPER'S LOGBOOK")
    place = place_of(found, "961")
    assert place.page == 1
    left, top, right, bottom = place.bbox
    assert 0 < left < right < 1
    assert 0.2 < top < bottom < 0.5
    assert found.metadata == {"width": 1100, "height": 900, "format": "PNG", "pages": 1}


def test_each_page_of_a_tiff_is_read(tmp_path: Path) -> None:
    scan = Image.open(SAMPLES / "scan.png").convert("L")
    scan.crop((0, 0, 1100, 140)).save(
        tmp_path / "fax.tiff", save_all=True, append_images=[scan.crop((0, 500, 1100, 620))]
    )
    steps = Steps()
    found = convert(tmp_path / "fax.tiff", steps)
    assert (place_of(found, "LOGBOOK").page, place_of(found, "Signed").page) == (1, 2)
    assert (0.5, "reading", "page 2 of 2") in steps


def test_a_photo_taken_sideways_is_turned_upright(tmp_path: Path) -> None:
    turned = Image.open(SAMPLES / "scan.png").convert("RGB").rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "photo.jpg", exif=exif)
    found = convert(tmp_path / "photo.jpg")
    assert "961 hectopascals" in found.markdown
    assert (found.metadata["width"], found.metadata["height"]) == (1100, 900)


@pytest.mark.parametrize("kind", ["webp", "bmp", "gif"])
def test_other_kinds_of_pictures_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"scan.{kind}"
    Image.open(SAMPLES / "scan.png").crop((0, 190, 1100, 300)).save(path)
    assert "961 hectopascals" in convert(path).markdown


def test_a_picture_without_text_is_empty_but_no_error(tmp_path: Path) -> None:
    Image.new("RGB", (80, 60), "green").save(tmp_path / "green.png")
    assert convert(tmp_path / "green.png").markdown == ""


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG that claims to be this large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 100_000])
def test_a_picture_made_to_fill_the_memory_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(side, side))
    assert refusal(path).code == "too_large"


@pytest.mark.parametrize(
    "content", [b"", b"no picture", (SAMPLES / "scan.png").read_bytes()[:5000], png_of(40, 40)[:-30]]
)
def test_a_damaged_picture_is_a_broken_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    assert refusal(path).code == "broken_file"
