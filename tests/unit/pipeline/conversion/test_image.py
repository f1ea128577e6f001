"""Pictures made ready for reading; files are opened in tests/integration."""

import numpy as np
import pytest
from PIL import Image

from morag.pipeline.conversion.converters.image import on_white


def test_what_is_transparent_becomes_white() -> None:
    assert on_white(Image.new("RGBA", (2, 2), (0, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_a_palette_with_a_transparent_colour_becomes_white() -> None:
    picture = Image.new("P", (2, 2), 0)
    picture.putpalette([10, 20, 30, 200, 210, 220])
    picture.info["transparency"] = 0
    assert on_white(picture).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    assert on_white(Image.new(mode, (3, 2))).mode == "RGB"


def test_deep_greys_are_stretched_so_that_they_can_be_seen() -> None:
    picture = Image.fromarray(np.array([[1000, 1000], [3000, 3000]], dtype=np.uint16))
    assert np.asarray(on_white(picture))[:, 0, 0].tolist() == [0, 255]
