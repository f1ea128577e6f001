"""Picks the converter of an input, loads it, runs it, and rounds off what it delivers.

Stands between detection and the converters; runs in the child process. What it knows about formats is light enough for
the server and the command line.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import PurePath
from typing import cast

from morag.domain.content import ContentType, Document
from morag.domain.errors import ConversionError
from morag.pipeline.conversion.formats import BY_MEDIA_TYPE, FORMATS, Format
from morag.pipeline.conversion.markdown import plain, sections
from morag.pipeline.conversion.options import OPTIONS, Option, validate_options
from morag.pipeline.ports import ConversionInput, Converter, Detected, ReportProgress

__all__ = [
    "FORMATS",
    "OPTIONS",
    "Format",
    "Option",
    "available",
    "convert",
    "format_of",
    "install_command",
    "missing",
    "validate_options",
]

_TITLE_LIMIT = 300
_TEXTUAL = frozenset({ContentType.DOCUMENT, ContentType.WEB})
"""These two are told apart by what a caller wants, not by who converts."""


def format_of(detected: Detected) -> Format:
    """The row of the table for what was detected. Raises ConversionError: `unsupported_media_type`."""
    if detected.content_type is ContentType.YOUTUBE:
        return BY_MEDIA_TYPE["video/x-youtube"]
    found = BY_MEDIA_TYPE.get(detected.media_type)
    if found is None:
        raise ConversionError(f"There is no converter for {detected.media_type}.", code="unsupported_media_type")
    if found.content_type is detected.content_type or detected.content_type in _TEXTUAL:
        return found
    return next(entry for entry in FORMATS if entry.content_type is detected.content_type)


def missing(entry: Format) -> tuple[str, ...]:
    """The import names this format needs and does not find here."""
    return tuple(name for name in entry.needs if find_spec(name) is None)


def available(entry: Format) -> bool:
    """Whether inputs of this format can be converted here."""
    return not missing(entry)


def install_command(entry: Format) -> str:
    """The command that brings all the format needs."""
    return f'pip install "morag[{entry.extra}]"' if entry.extra else "pip install morag"


def convert(given: ConversionInput, report: ReportProgress) -> Document:
    """Convert with the format's converter. Raises ConversionError for input at fault or a missing extra."""
    entry = format_of(given.detected)
    validate_options(given.detected.content_type, given.options)
    _demand(entry)
    report(0.0, "processing", f"reading {entry.name}")
    document = _load(entry).convert(given, report)
    metadata = document.metadata if document.markdown.strip() else {"note": "No text was found.", **document.metadata}
    title = _title(document, given.filename)
    return replace(document, title=title, content_type=given.detected.content_type, metadata=metadata)


def _demand(entry: Format) -> None:
    if lacking := missing(entry):
        raise ConversionError(
            f"{entry.name} cannot be converted here: {_listed(lacking)} not installed.",
            code="missing_dependency",
            hint=f"Run: {install_command(entry)}",
        )


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _load(entry: Format) -> Converter:
    module, _, name = entry.converter.partition(":")
    made = cast("type[Converter]", getattr(import_module(module), name))
    return made()


def _title(document: Document, filename: str) -> str | None:
    """The converter's title, else the first heading, else the file's name without its extension."""
    found = document.title or next((plain(heading[1]) for heading, _ in sections(document.markdown) if heading), None)
    title = re.sub(r"\s+", " ", found or PurePath(filename).stem).strip()
    return title[:_TITLE_LIMIT] or None
