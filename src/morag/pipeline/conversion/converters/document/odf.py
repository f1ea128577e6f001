"""OpenDocument: text with its structure, sheets as tables, slides with their notes; each with its place."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from morag.domain.content import Document, Place
from morag.domain.json import JsonObject
from morag.pipeline.conversion.converters.document.odf_text import (
    DRAW,
    OFFICE,
    PRESENTATION,
    SVG,
    TABLE,
    Piece,
    Reader,
    Styles,
    rows_of,
)
from morag.pipeline.conversion.converters.document.ooxml import Element, Package
from morag.pipeline.conversion.converters.document.sheets import MAX_ROWS, add_sheet
from morag.pipeline.conversion.markdown import NOWHERE, MarkdownBuilder, one_line
from morag.pipeline.conversion.sources import archive_of, broken, encrypted
from morag.pipeline.ports import ConversionInput, ReportProgress

_PROPERTIES = {
    "title": "{http://purl.org/dc/elements/1.1/}title",
    "author": "{urn:oasis:names:tc:opendocument:xmlns:meta:1.0}initial-creator",
    "created_at": "{urn:oasis:names:tc:opendocument:xmlns:meta:1.0}creation-date",
}
_MOST_SAME_ROWS = 1_000
"""Rows that one element of a sheet may stand for."""
_SCALES = {"cm": 1.0, "mm": 0.1, "in": 2.54, "pt": 2.54 / 72}
_BAND_CM = 0.7


class OpenDocumentConverter:
    """ODT, ODS and ODP to Markdown."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`, `encrypted`, `zip_bomb`."""
        report(0.05, "processing", "reading the file")
        with Package(archive_of(given)) as package:
            manifest = package.xml("META-INF/manifest.xml")
            if manifest is not None and any("encryption-data" in str(entry.tag) for entry in manifest.iter()):
                raise encrypted()
            body = package.required("content.xml").find(f"{OFFICE}body")
            part = next(iter(body), None) if body is not None else None
            if part is None:
                raise broken("The file holds no text, no sheets and no slides.")
            reader = Reader(Styles(package))
            about = _properties(package)
        builder = MarkdownBuilder()
        about |= _write(builder, reader, part, report)
        builder.leave_headings()
        for at, note in enumerate(reader.notes, 1):
            builder.block(f"[^{at}]: {one_line(note)}" if note else "")
        title = about.get("title")
        return builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            title=title if isinstance(title, str) else None,
            metadata=about,
        )


def _properties(package: Package) -> JsonObject:
    tree = package.xml("meta.xml")
    found = ((name, tree.findtext(f".//{tag}")) for name, tag in _PROPERTIES.items()) if tree is not None else ()
    return {name: text.strip() for name, text in found if text and text.strip()}


def _write(builder: MarkdownBuilder, reader: Reader, part: Element, report: ReportProgress) -> JsonObject:
    """Add what the part holds; what is to be said of it."""
    if part.tag == f"{OFFICE}spreadsheet":
        sheets = list(part.iterchildren(f"{TABLE}table"))
        left = MAX_ROWS
        for at, sheet in enumerate(sheets):
            report(at / len(sheets), "processing", f"sheet {at + 1} of {len(sheets)}")
            left -= add_sheet(builder, sheet.get(f"{TABLE}name") or f"Sheet {at + 1}", _rows(reader, sheet), left)
        return {"sheets": [sheet.get(f"{TABLE}name") or "" for sheet in sheets]}
    if part.tag == f"{OFFICE}presentation":
        slides = list(part.iterchildren(f"{DRAW}page"))
        for number, slide in enumerate(slides, 1):
            report((number - 1) / len(slides), "processing", f"slide {number} of {len(slides)}")
            _add_slide(builder, reader, slide, number)
        return {"slides": len(slides)}
    _add(builder, reader.pieces(part), NOWHERE)
    return {}


def _add(builder: MarkdownBuilder, pieces: Iterator[Piece], place: Place) -> None:
    """Add the pieces; lists that follow each other, as every item of a slide is one, become one."""
    for is_list, group in groupby(pieces, key=lambda piece: piece.is_list):
        if is_list:
            builder.block("\n".join(piece.text for piece in group), place)
            continue
        for piece in group:
            if piece.level:
                builder.heading(piece.level, piece.text, place)
            else:
                builder.block(piece.text, place)


def _rows(reader: Reader, sheet: Element) -> Iterator[list[str]]:
    """The rows of a sheet as shown; a row that stands for many empty ones is one."""
    for row in rows_of(sheet):
        cells = list(reader.cells(row))
        while cells and not cells[-1]:
            cells.pop()
        told = row.get(f"{TABLE}number-rows-repeated", "1")
        repeated = int(told) if told.isdigit() and cells else 1
        yield from [cells] * min(repeated, _MOST_SAME_ROWS)


def _add_slide(builder: MarkdownBuilder, reader: Reader, slide: Element, number: int) -> None:
    place = Place(slide=number)
    shapes = sorted((shape for shape in slide.iterchildren() if _is_shown(shape)), key=_position)
    title = next((shape for shape in shapes if shape.get(f"{PRESENTATION}class") == "title"), None)
    words = one_line(" ".join(piece.text for piece in reader.pieces(title))) if title is not None else ""
    builder.heading(1 if words and builder.is_empty else 2, words or f"Slide {number}", place)
    for shape in shapes:
        if shape is not title:
            _add(builder, (replace(piece, level=0) for piece in reader.pieces(shape)), place)
    notes = slide.find(f"{PRESENTATION}notes")
    frames = [shape for shape in notes.iterchildren() if _is_shown(shape)] if notes is not None else []
    said = [piece.text for shape in frames for piece in reader.pieces(shape) if piece.text]
    if said:
        builder.block("**Notes:**", place)
        builder.block("\n\n".join(said), place)


def _is_shown(shape: Element) -> bool:
    is_furniture = shape.get(f"{PRESENTATION}class") in {"footer", "header", "date-time", "page-number"}
    return str(shape.tag).startswith(DRAW) and not is_furniture


def _position(shape: Element) -> tuple[int, float]:
    """Row by row, left to right."""
    left, top = (_centimetres(shape.get(f"{SVG}{side}")) for side in ("x", "y"))
    return round(top / _BAND_CM), left


def _centimetres(length: str | None) -> float:
    """A length with its unit; 0 for what is none."""
    try:
        return float(length[:-2]) * _SCALES.get(length[-2:], 1.0) if length else 0.0
    except ValueError:
        return 0.0
