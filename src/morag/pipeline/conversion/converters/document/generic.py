"""Formats that kreuzberg reads well by itself: OpenDocument, RTF, EPUB, old Office, Outlook, notebooks and more."""

import re
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
        from kreuzberg import ExtractionConfig, KreuzbergError, extract_file_sync  # noqa: PLC0415 - 0.1 s

        media_type = given.detected.media_type
        is_archive = media_type.startswith("application/vnd.oasis") or media_type == "application/epub+zip"
        path = archive_of(given) if is_archive else file_of(given)
        report(0.1, "processing", "reading the file")
        config = ExtractionConfig(output_format="markdown", use_cache=False, enable_quality_processing=False)
        try:
            result = extract_file_sync(path, media_type, config)
        except KreuzbergError as error:
            if re.search(r"encrypt|password", str(error), re.IGNORECASE):
                raise encrypted() from error
            raise broken("The file cannot be read; it seems to be damaged.") from error
        builder = MarkdownBuilder()
        builder.markdown(_BLANKS.sub("\n\n", result.content))
        told = cast("JsonObject", dict(result.metadata))
        title = told.get("title")
        return builder.document(
            content_type=given.detected.content_type,
            media_type=media_type,
            title=title if isinstance(title, str) and title.strip() else None,
            metadata={name: told[name] for name in _TOLD if told.get(name)},
        )
