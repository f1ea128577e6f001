"""Reads words, ruling lines and pictures of one page through pdfium."""

import ctypes
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from morag.pipeline.conversion.converters.document.pdf.lines import JUMP, lines_of
from morag.pipeline.conversion.converters.document.pdf.rules import rules_of
from morag.pipeline.conversion.layout.geometry import Box, PageText, Word

_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\u00ad": "-", "\u2010": "-"}
)
_HYPHENS = frozenset({0x02, 0xFFFE})
"""What pdfium says for a hyphen at the end of a line."""
_BOLD_NAMES = ("bold", "black", "heavy", "semibold", "demi")
_MONO_NAMES = ("mono", "courier", "consol", "typewriter", "cmtt")
_FIXED_PITCH = 1
_SAMPLE = 200
_GARBLED = 0.3
"""Share of letters without a meaning above which the rest is not to be trusted either."""


@dataclass(slots=True)
class _Letters:
    """A word while it is read."""

    text: list[str]
    box: Box
    size: float
    is_bold: bool
    is_mono: bool
    angle: int


class PageReader:
    """One open page of pdfium."""

    def __init__(self, page: Any, raw: Any) -> None:
        self._page = page
        self._raw = raw
        self._crop = page.get_cropbox()
        self._fonts: dict[tuple[str, int, int], tuple[bool, bool]] = {}

    def read(self) -> PageText:
        """Everything on the page. The caller closes the page."""
        text_page = self._page.get_textpage()
        try:
            letters = list(self._words(text_page))
            is_garbled = self._is_garbled(text_page)
        finally:
            text_page.close()
        turned = Counter(word.angle for word in letters for _ in word.text)
        angle = turned.most_common(1)[0][0] if turned else self._page.get_rotation() // 90 % 4
        upright = [self._turned(word, angle) for word in letters if word.angle == angle]
        stray = ["".join(word.text).translate(_LIGATURES) for word in letters if word.angle != angle]
        left, bottom, right, top = self._crop
        width, height = (right - left, top - bottom) if angle % 2 == 0 else (top - bottom, right - left)
        rules, pictures = rules_of(self._page, self._raw)
        return PageText(
            width=width,
            height=height,
            lines=lines_of(upright),
            stray=stray,
            rules=[self._turn(rule, angle) for rule in rules],
            pictures=[self._turn(picture, angle) for picture in pictures],
            has_ink=self._raw.FPDFPage_CountObjects(self._page.raw) > 0,
            is_garbled=is_garbled,
        )

    def _is_garbled(self, text_page: Any) -> bool:
        """Whether many letters of a sample have no known meaning."""
        raw, handle = self._raw, text_page.raw
        count = raw.FPDFText_CountChars(handle)
        sample = range(0, count, max(count // _SAMPLE, 1))
        unknown = sum(raw.FPDFText_HasUnicodeMapError(handle, index) == 1 for index in sample)
        return unknown > _GARBLED * len(sample)

    def _words(self, text_page: Any) -> Iterator[_Letters]:
        """Words in the order pdfium finds them; blanks and jumps part them."""
        raw, rect = self._raw, self._raw.FS_RECTF()
        unicode_of, box_of = raw.FPDFText_GetUnicode, raw.FPDFText_GetLooseCharBox
        handle = text_page.raw  # what ctypes takes as it is; this loop runs for every letter
        word: _Letters | None = None
        for index in range(raw.FPDFText_CountChars(handle)):
            code = unicode_of(handle, index)
            char = "-" if code in _HYPHENS else chr(code) if code < 0x110000 else ""
            if not char.strip() or (code < 32 and code not in _HYPHENS) or 0xD800 <= code <= 0xDFFF:
                if word is not None and (char.isspace() or code < 32):
                    yield word
                    word = None
                continue
            box_of(handle, index, rect)
            box = (rect.left, -rect.top, rect.right, -rect.bottom)
            if word is not None and _parts(word, box):
                yield word
                word = None
            if word is None:
                word = self._begin(handle, index, char, Box(*box))
            else:
                word.text.append(char)
                word.box = _widened(word.box, box)
        if word is not None:
            yield word

    def _begin(self, text_page: Any, index: int, char: str, box: Box) -> _Letters:
        raw = self._raw
        matrix = raw.FS_MATRIX()
        raw.FPDFText_GetMatrix(text_page, index, matrix)
        scale = math.hypot(matrix.c, matrix.d) or 1.0
        size = raw.FPDFText_GetFontSize(text_page, index) * scale
        is_bold, is_mono = self._font(text_page, index)
        turned = -round(raw.FPDFText_GetCharAngle(text_page, index) / (math.pi / 2))  # pdfium counts clockwise
        return _Letters(
            text=[char],
            box=box,
            size=round(size * 2) / 2 or round(box.height * 2) / 2,
            is_bold=is_bold,
            is_mono=is_mono,
            angle=turned % 4,
        )

    def _font(self, text_page: Any, index: int) -> tuple[bool, bool]:
        """Whether the type is bold, and whether it has a fixed pitch."""
        flags, buffer = ctypes.c_int(), ctypes.create_string_buffer(128)
        self._raw.FPDFText_GetFontInfo(text_page, index, buffer, 128, flags)
        weight = self._raw.FPDFText_GetFontWeight(text_page, index)
        key = (buffer.value.decode("utf-8", errors="replace"), flags.value, weight)
        if key not in self._fonts:
            name = key[0].lower()
            is_bold = weight >= 600 or any(part in name for part in _BOLD_NAMES)
            is_mono = bool(flags.value & _FIXED_PITCH) or any(part in name for part in _MONO_NAMES)
            self._fonts[key] = is_bold, is_mono
        return self._fonts[key]

    def _turned(self, word: _Letters, angle: int) -> Word:
        return Word(
            text="".join(word.text).translate(_LIGATURES),
            box=self._turn(word.box, angle),
            size=word.size,
            is_bold=word.is_bold,
            is_mono=word.is_mono,
        )

    def _turn(self, box: Box, angle: int) -> Box:
        """From pdfium's space (upwards made negative) to the page as it is read, text running at `angle` upright."""
        left, bottom, right, top = self._crop
        low, high = -box.bottom, -box.top
        match angle:
            case 1:  # text runs upwards
                return Box(low - bottom, box.left - left, high - bottom, box.right - left)
            case 2:
                return Box(right - box.right, low - bottom, right - box.left, high - bottom)
            case 3:  # text runs downwards
                return Box(top - high, right - box.right, top - low, right - box.left)
            case _:
                return Box(box.left - left, top - high, box.right - left, top - low)


def _parts(word: _Letters, box: tuple[float, float, float, float]) -> bool:
    """Whether the next letter is too far off to belong to the word."""
    left, top, right, bottom = box
    word_left, word_top, word_right, word_bottom = word.box
    reach = JUMP * max(word.size, 1.0)
    if word.angle % 2:
        is_beside = right >= word_left and left <= word_right
        return not is_beside or top - word_bottom > reach or word_top - bottom > reach
    if left - word_right > reach or word_left - right > reach:
        return True
    overlap = min(bottom, word_bottom) - max(top, word_top)
    return overlap <= 0.3 * min(bottom - top, word_bottom - word_top)


def _widened(box: Box, letter: tuple[float, float, float, float]) -> Box:
    left, top, right, bottom = letter
    return Box(min(box[0], left), min(box[1], top), max(box[2], right), max(box[3], bottom))
