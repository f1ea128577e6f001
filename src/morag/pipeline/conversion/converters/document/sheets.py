"""XLSX: each sheet as a heading and its tables, with dates as dates and formulas by their values."""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path, PurePath
from typing import BinaryIO, Final, TypeAlias, cast

from openpyxl import Workbook, load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from morag.domain.content import Document, Place
from morag.domain.json import JsonObject
from morag.pipeline.conversion.converters.document.sheet_values import Valued, shown
from morag.pipeline.conversion.markdown import MarkdownBuilder, escape, table
from morag.pipeline.conversion.sources import archive_of, broken
from morag.pipeline.ports import ConversionInput, ReportProgress

MAX_ROWS: Final = 200_000
"""Rows kept of one workbook, the empty ones aside; search over more of them is a database's work."""
MAX_COLUMNS: Final = 1_000
_UNCALCULATED: Final = (b"</f></c>", b"</f><v/>", b"</f><v></v>", b"</f><v />")
_Row: TypeAlias = list[str]


class SheetsConverter:
    """Excel workbooks to Markdown, read as a stream."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`, `encrypted`, `zip_bomb`."""
        path = archive_of(given)
        with ExitStack() as files:
            book = _open(files.enter_context(path.open("rb")), values=True)
            formulas = _open(files.enter_context(path.open("rb")), values=False) if _has_uncalculated(path) else None
            return _document(given, book, formulas, report)


def _document(given: ConversionInput, book: Workbook, formulas: Workbook | None, report: ReportProgress) -> Document:
    builder, left, sheets = MarkdownBuilder(), MAX_ROWS, book.worksheets
    for at, sheet in enumerate(sheets):
        report(at / len(sheets), "processing", f"sheet {at + 1} of {len(sheets)}")
        try:
            left -= add_sheet(builder, sheet.title, _rows(book, formulas, at), left)
        except (KeyError, ValueError, SyntaxError, zipfile.BadZipFile, EOFError) as error:
            raise broken(f"The sheet {at + 1} of the workbook cannot be read.") from error
    metadata: JsonObject = {"sheets": [sheet.title for sheet in sheets]}
    if left <= 0:
        metadata["rows_kept"] = MAX_ROWS
    if book.properties.creator and book.properties.creator != "openpyxl":
        metadata["author"] = book.properties.creator
    return builder.document(
        content_type=given.detected.content_type,
        media_type=given.detected.media_type,
        title=book.properties.title or _name_of(given),
        metadata=metadata,
    )


def _name_of(given: ConversionInput) -> str:
    """A workbook is called by its file; its first heading is only a sheet."""
    return PurePath(given.filename).stem


def _open(stream: BinaryIO, *, values: bool) -> Workbook:
    try:
        return load_workbook(stream, read_only=True, data_only=values, keep_links=False)
    except (KeyError, ValueError, TypeError, SyntaxError, InvalidFileException, zipfile.BadZipFile) as error:
        raise broken("The workbook cannot be read; it seems to be damaged.") from error


def _has_uncalculated(path: Path) -> bool:
    """Whether a formula has no stored value, as in files that a program wrote and no Excel ever opened."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.startswith("xl/worksheets/sheet"):
                continue
            with archive.open(info) as stream:
                tail = b""
                while piece := stream.read(1024**2):
                    if any(mark in tail + piece for mark in _UNCALCULATED):
                        return True
                    tail = piece[-16:]
    return False


def _rows(book: Workbook, formulas: Workbook | None, at: int) -> Iterator[_Row]:
    """The rows of a sheet as shown; a formula without a value by itself."""
    sheet = book.worksheets[at]
    sheet.reset_dimensions()
    valued = _cells(sheet.iter_rows())
    if formulas is None:
        yield from ([shown(one) for one in row[:MAX_COLUMNS]] for row in valued)
        return
    other = formulas.worksheets[at]
    other.reset_dimensions()
    written = _cells(other.iter_rows())
    for row, source in zip(valued, written, strict=False):
        yield [shown(one) or shown(formula) for one, formula in zip(row[:MAX_COLUMNS], source, strict=False)]


def _cells(rows: object) -> Iterator[Sequence[Valued]]:
    """The rows of a streamed sheet, whose cells the stubs know less of than they are."""
    return cast("Iterator[Sequence[Valued]]", rows)


def add_sheet(builder: MarkdownBuilder, name: str, rows: Iterator[_Row], left: int) -> int:
    """Add a sheet, at most `left` rows of it; the number added. Blocks between empty rows are tables of their own."""
    place = Place(sheet=name)
    builder.heading(2, escape(name), place)
    added = 0
    for is_filled, block in groupby(rows, key=any):
        if not is_filled:
            continue
        kept: list[_Row] = []
        for row in block:
            if added >= left:
                break
            kept.append(row)
            added += 1
        builder.block(_block(kept), place)
        if added >= left:
            break
    return added


def _block(rows: list[_Row]) -> str:
    """A table; lines with a single cell that stand before it are its captions."""
    captions: list[str] = []
    while rows and sum(map(bool, rows[0])) == 1 and (len(rows) == 1 or _is_wider(rows)):
        captions.append(escape(next(text for text in rows.pop(0) if text)))
    return "\n\n".join(filter(None, [*captions, table(rows)]))


def _is_wider(rows: list[_Row]) -> bool:
    return sum(map(bool, rows[1])) > 1
