"""Word 97-2003: the words that kreuzberg finds, paragraph by paragraph, with the cells of tables put back into rows."""

import re
from collections.abc import Iterator

from morag.domain.content import Document
from morag.pipeline.conversion.converters.document.generic import extracted
from morag.pipeline.conversion.markdown import MarkdownBuilder, escape, table
from morag.pipeline.conversion.sources import file_of
from morag.pipeline.ports import ConversionInput, ReportProgress

_ROW_END = "\t\t"
_BULLET = re.compile(r"[•·▪◦\uf0b7\uf0a7]\s*")


class Word97Converter:
    """DOC files to Markdown; headings and lists are not told from text there."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`, `encrypted`."""
        report(0.1, "processing", "reading the file")
        text, about, title = extracted(file_of(given), given.detected.media_type, "plain")
        builder = MarkdownBuilder()
        for line in text.splitlines():
            for block in _blocks(line):
                builder.block(block)
        return builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            title=title,
            metadata=about,
        )


def _blocks(line: str) -> Iterator[str]:
    """A line as a paragraph; one with cells as a table, and what stands behind its last row."""
    *rows, rest = line.split(_ROW_END)
    cells = [row.split("\t") for row in rows]
    if cells and len(cells[0]) > 1:
        yield table([[escape(text) for text in row] for row in cells])
    elif cells:
        rest = line
    words = rest.replace("\t", " ").strip()
    yield _BULLET.sub("- ", words, count=1) if _BULLET.match(words) else escape(words)
