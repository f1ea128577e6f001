"""Formats that kreuzberg reads well by itself: RTF, EPUB, old Office, Outlook and more."""

import re
from pathlib import Path
from typing import cast

from morag.domain.content import Document
from morag.domain.json import JsonObject
from morag.pipeline.conversion.markdown import MarkdownBuilder
from morag.pipeline.conversion.sources import archive_of, broken, encrypted, file_of
from morag.pipeline.ports import ConversionInput, ReportProgress

_TOLD = ("authors", "created_at", "modified_at", "language", "subject", "page_count")
_BLANKS = re.compile(r"\n{3,}")


class GenericConverter:
    """One call into kreuzberg, and its answer as a document."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`, `encrypted`, `zip_bomb`."""
        media_type = given.detected.media_type
        path = archive_of(given) if media_type == "application/epub+zip" else file_of(given)
        report(0.1, "processing", "reading the file")
        text, about, title = extracted(path, media_type, "markdown")
        builder = MarkdownBuilder()
        builder.markdown(_BLANKS.sub("\n\n", text))
        return builder.document(
            content_type=given.detected.content_type, media_type=media_type, title=title, metadata=about
        )


def extracted(path: Path, media_type: str, form: str) -> tuple[str, JsonObject, str | None]:
    """What kreuzberg finds in a file, as `markdown` or `plain`; what the file says of itself; its title.

    Raises ConversionError: `broken_file`, `encrypted`.
    """
    from kreuzberg import ExtractionConfig, KreuzbergError, extract_file_sync  # noqa: PLC0415 - 0.1 s

    config = ExtractionConfig(output_format=form, use_cache=False, enable_quality_processing=False)
    try:
        result = extract_file_sync(path, media_type, config)
    except KreuzbergError as error:
        if re.search(r"encrypt|password", str(error), re.IGNORECASE):
            raise encrypted() from error
        raise broken("The file cannot be read; it seems to be damaged.") from error
    told = cast("JsonObject", dict(result.metadata))
    title = told.get("title")
    is_title = isinstance(title, str) and title.strip() and title != "Unknown Title"
    about = {name: told[name] for name in _TOLD if told.get(name)}
    return result.content, about, title if is_title and isinstance(title, str) else None
