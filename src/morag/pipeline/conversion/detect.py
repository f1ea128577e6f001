"""Tells what a file is: from its bytes first, then from its name, then from what the sender said.

Runs in the server process when something is submitted, on input of strangers: it reads a bounded head and, of
archives, the list of names; nothing is parsed.
"""

from pathlib import Path, PurePath

from morag.domain.content import ContentType
from morag.domain.errors import ConversionError
from morag.pipeline.conversion.formats import BY_EXTENSION, BY_MEDIA_TYPE
from morag.pipeline.conversion.signatures import signature
from morag.pipeline.conversion.text_kinds import kind_of, text_of
from morag.pipeline.ports import Detected

_HEAD_BYTES = 64 * 1024
_MAY_BE_READ_AS = frozenset({ContentType.DOCUMENT, ContentType.WEB})
"""Text and HTML may be taken for each other on request."""
_SOUND_AND_PICTURE = frozenset({ContentType.AUDIO, ContentType.VIDEO})


def detect(path: Path, *, filename: str, media_type: str | None = None) -> Detected:
    """What the file is; `media_type` is the sender's word for it.

    Raises ConversionError: `empty_file`, `unsupported_media_type`, `broken_file`, `too_large`.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise ConversionError("The file is empty.", code="empty_file", hint="Send a file with something in it.")
    extension = PurePath(filename.lower()).suffix.lstrip(".")
    told = (media_type or "").partition(";")[0].strip().lower() or None
    found = signature(path, head, extension) or _text_kind(head, extension, told)
    entry = BY_MEDIA_TYPE.get(found or "")
    if entry is None:
        raise unsupported(found)
    return Detected(content_type=entry.content_type, media_type=entry.media_type)


def _text_kind(head: bytes, extension: str, told: str | None) -> str | None:
    text = text_of(head)
    return None if text is None else kind_of(text, extension, told)


def unsupported(media_type: str | None) -> ConversionError:
    """The refusal of input that no converter takes."""
    what = f"Files of type {media_type[:100]}" if media_type else "Files of this kind"
    names = " ".join(sorted(BY_EXTENSION))
    return ConversionError(
        f"{what} cannot be converted.", code="unsupported_media_type", hint=f"What can be converted: {names}."
    )


def check_source_type(detected: Detected, wanted: ContentType) -> Detected:
    """What to convert when the caller says what it is; HTML may be asked for as a document and text as a web page.

    Raises ConversionError: `source_type_mismatch`.
    """
    if detected.content_type is wanted:
        return detected
    is_text = detected.media_type.startswith("text/") or detected.media_type.endswith("xml")
    both = frozenset({detected.content_type, wanted})
    if both == _MAY_BE_READ_AS and is_text:
        as_web = "text/html" if wanted is ContentType.WEB else detected.media_type
        return Detected(content_type=wanted, media_type=as_web)
    if both == _SOUND_AND_PICTURE:
        return Detected(content_type=wanted, media_type=detected.media_type)
    raise ConversionError(
        f"The source_type is '{wanted.value}', but the file is {detected.media_type}.",
        code="source_type_mismatch",
        hint=f"Leave source_type out, or say '{detected.content_type.value}'.",
    )
