"""Bytes of unknown encoding to text."""

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 64 * 1024
"""How much is looked at to guess; more does not make the guess better, only slower."""


def decode(raw: bytes) -> tuple[str, str]:
    """The text, with line ends as newlines, and the encoding it was in: by its mark, as UTF-8, else by guess."""
    text, encoding = _decode(raw)
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", ""), encoding


def _decode(raw: bytes) -> tuple[str, str]:
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(encoding, errors="replace"), encoding
    for encoding in _plain_guesses(raw):
        try:
            return raw.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    guessed = _guess(raw)
    return raw.decode(guessed, errors="replace"), guessed


def _plain_guesses(raw: bytes) -> list[str]:
    """Encodings that show themselves: zeros in every other byte are UTF-16, a few strewn in are not."""
    head = raw[:4096]
    if b"\0" not in head or max(head[0::2].count(0), head[1::2].count(0)) * 3 < len(head[0::2]):
        return ["utf-8"]
    return ["utf-16-be", "utf-8"] if head[0::2].count(0) > head[1::2].count(0) else ["utf-16-le", "utf-8"]


def _guess(raw: bytes) -> str:
    from charset_normalizer import from_bytes  # noqa: PLC0415 - 30 ms that UTF-8 need not pay

    sample = _sample(raw)
    western = sum(byte >= 0x80 for byte in sample) * 10 < len(sample)
    found = from_bytes(sample).best()
    if found is None:
        return "cp1252"
    # short Western text with a few accents looks like many code pages; by far the most likely one is Windows' own
    is_tiny = len(sample) < 256 and western
    return "cp1252" if is_tiny or found.encoding in {"latin_1", "iso8859_15"} else found.encoding


def _sample(raw: bytes) -> bytes:
    """A stretch that holds what is hard: from shortly before the first byte that is not ASCII."""
    first = next((at for at, byte in enumerate(raw) if byte >= 0x80), 0)
    start = max(0, first - _SAMPLE_BYTES // 4)
    return raw[start : start + _SAMPLE_BYTES]
