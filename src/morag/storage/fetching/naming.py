"""What the headers of a response say about its body: type, name, length, encoding. Hints of a stranger, tamed."""

import mimetypes
import re
from collections.abc import Sequence
from email.message import Message
from urllib.parse import unquote

MAX_NAME_LENGTH = 150
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


class Headers:
    """Header fields by name, whatever their case; the first one of a name counts."""

    def __init__(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        self._fields: dict[str, str] = {}
        for name, value in fields:
            self._fields.setdefault(name.decode("ascii", "replace").lower(), _text(value))

    def get(self, name: str) -> str | None:
        """The value of a field, None if it is not there."""
        return self._fields.get(name)

    @property
    def media_type(self) -> str | None:
        """Type and subtype of Content-Type, lower case, without parameters."""
        text = (self.get("content-type") or "").partition(";")[0].strip().lower()
        return text if _MEDIA_TYPE.fullmatch(text) else None

    @property
    def coding(self) -> str:
        """The Content-Encoding, lower case; `identity` if there is none."""
        return (self.get("content-encoding") or "").strip().lower() or "identity"

    @property
    def length(self) -> int | None:
        """The Content-Length in bytes, None if unknown."""
        text = self.get("content-length") or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    @property
    def suggested_name(self) -> str | None:
        """The file name of Content-Disposition, as sent."""
        message = Message()
        message["Content-Disposition"] = self.get("content-disposition") or ""
        return message.get_filename()


def filename(headers: Headers, path: str) -> str:
    """A name to show for the body: what the server suggests, else the end of the URL's path, else by its type."""
    suggested = harmless(headers.suggested_name or "")
    if suggested:
        return suggested
    last = harmless(unquote(path.partition("?")[0].rstrip("/").rpartition("/")[2]))
    return last or "index" + (mimetypes.guess_extension(headers.media_type or "") or "")


def harmless(name: str) -> str:
    """The last component of a name: no control characters, no leading dots, 150 characters at most; may be empty."""
    last = _UNPRINTABLE.sub("", name).replace("\\", "/").rstrip("/ ").rpartition("/")[2]
    last = last.strip().lstrip(".").strip()
    stem, dot, suffix = last.rpartition(".")
    if len(last) <= MAX_NAME_LENGTH or not dot or len(suffix) > 16:
        return last[:MAX_NAME_LENGTH]
    return stem[: MAX_NAME_LENGTH - 1 - len(suffix)] + dot + suffix


def _text(value: bytes) -> str:
    """Header bytes as text: UTF-8, which servers send though they should not, else Latin-1."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
