"""CSV and TSV as a table."""

import csv
import itertools
from collections.abc import Iterator
from typing import Final

from morag.domain.content import Document
from morag.domain.errors import ConversionError
from morag.domain.json import JsonObject
from morag.pipeline.conversion.encoding import decode
from morag.pipeline.conversion.markdown import MarkdownBuilder, table
from morag.pipeline.conversion.sources import file_of
from morag.pipeline.ports import ConversionInput, ReportProgress

MAX_ROWS: Final = 200_000
"""Rows that are kept; search over more of them is a database's work."""
MAX_CELL_CHARACTERS: Final = 1024**2
_SAMPLE: Final = 32 * 1024
_DELIMITERS: Final = ",;\t|"


class RowsConverter:
    """Delimited text: the dialect is found by looking, the first row is taken for the header."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`."""
        report(0.1, "processing", "reading the rows")
        text, encoding = decode(file_of(given).read_bytes())
        delimiter = "\t" if given.detected.media_type.startswith("text/tab") else delimiter_of(text)
        reader = _rows(text, delimiter)
        rows = list(itertools.islice(reader, MAX_ROWS + 1))
        report(0.6, "processing", f"{len(rows)} rows")
        left_out = sum(1 for _ in reader)
        metadata: JsonObject = {"encoding": encoding, "delimiter": delimiter, "rows": max(len(rows) - 1, 0) + left_out}
        if left_out:
            metadata["rows_left_out"] = left_out
        builder = MarkdownBuilder()
        builder.block(table(rows))
        return builder.document(
            content_type=given.detected.content_type, media_type=given.detected.media_type, metadata=metadata
        )


def delimiter_of(text: str) -> str:
    """The delimiter that cuts most of the first lines into the same number (over 1) of cells."""
    sample = text[:_SAMPLE]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        widths = [len(row) for row in itertools.islice(_rows(sample, delimiter), 200)]
        usual = max(set(widths), key=widths.count, default=1)
        score = widths.count(usual) / len(widths) * min(usual, 20) if usual > 1 else 0.0
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        reader = csv.reader(text.split("\n"), delimiter=delimiter, skipinitialspace=True)
        yield from (row for row in reader if any(row))
    except csv.Error as error:
        raise ConversionError(
            f"The rows cannot be read: {error}.",
            code="broken_file",
            hint="Check the quotes; a cell may have a million characters.",
        ) from error
