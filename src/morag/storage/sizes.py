"""Sizes as people read them, for progress lines and errors."""

from morag.domain.errors import TooLarge


def in_words(size_bytes: int) -> str:
    """A size in decimal units, as file managers show it: `812 bytes`, `3.4 MB`."""
    size = float(size_bytes)
    if size < 1000:
        return f"{size_bytes} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def too_large(max_bytes: int) -> TooLarge:
    """The error for an input over the limit on file sizes."""
    return TooLarge(
        f"The file is larger than {in_words(max_bytes)}.",
        hint="The operator can raise MORAG_MAX_UPLOAD_BYTES, and `morag users limit` what one user may send.",
    )
