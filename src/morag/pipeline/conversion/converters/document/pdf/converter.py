"""PDF to Markdown, page by page, so that memory does not grow with the number of pages."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from morag.domain.content import Document, Place
from morag.domain.errors import ConversionError
from morag.domain.json import JsonObject
from morag.pipeline.conversion.converters.document.pdf.page_reader import PageReader
from morag.pipeline.conversion.converters.document.pdf.scanned import (
    can_read_pictures,
    lines_in_pictures,
    may_show_text,
    read_page,
)
from morag.pipeline.conversion.layout.blocks import Block, blocks_of, left_out
from morag.pipeline.conversion.layout.geometry import PageText
from morag.pipeline.conversion.layout.looks import Looks, looks_of
from morag.pipeline.conversion.markdown import MarkdownBuilder
from morag.pipeline.conversion.sources import broken, file_of
from morag.pipeline.ports import ConversionInput, ReportProgress

_SAMPLED_PAGES = 40
"""Pages looked at for sizes and running headers; up to this many are kept, so that they are read once."""
_DATE = re.compile(r"D:(\d{4})(\d{2})(\d{2})")
_UNTITLED = re.compile(r"untitled|microsoft (word|powerpoint)|.*\.(docx?|indd|tex|dvi|pdf|pptx?|qxd)", re.IGNORECASE)
_EMPTY = re.compile(r"|\(?(?:anonymous|unspecified|unknown|none)\)?", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_MOST_KEPT = 20
"""Headers and footers told in the metadata; those that differ in their numbers only count as one."""
_MOST_PICTURES = 40
"""Pictures on pages with text that are read in one document, at up to a second each."""
_LEAST_TEXT = 10
"""Letters under which a page counts as one without text."""


class PdfConverter:
    """PDF files to Markdown; pages without text are read as pictures where that can be done."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`, `encrypted`."""
        password = given.options.get("password")
        with _opened(file_of(given), password if isinstance(password, str) else None) as pdf:
            run = _Run(pdf, str(given.options.get("ocr", "auto")))
            for number in range(1, len(pdf) + 1):
                report((number - 1) / len(pdf), "processing", f"page {number} of {len(pdf)}")
                run.add_page(number)
            metadata = {**_told(pdf), **run.about()}
        title = metadata.get("title")
        return run.builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            title=title if isinstance(title, str) else None,
            metadata=metadata,
        )


class _Run:
    """One conversion: the statistics, the pages kept, and what was written."""

    def __init__(self, pdf: Any, ocr: str) -> None:
        self.builder = MarkdownBuilder()
        self._pdf = pdf
        self._raw = import_module("pypdfium2.raw")
        self._ocr = ocr
        self._can_ocr = ocr != "never" and can_read_pictures()
        self._read_as_pictures: list[int] = []
        self._unread: list[int] = []
        self._pictures_left = _MOST_PICTURES
        self._furniture: dict[str, str] = {}
        kept = _sampled(len(pdf))
        self._pages = {number: self._read(number) for number in kept} if ocr != "always" else {}
        self._looks: Looks = looks_of(list(self._pages.values()))

    def add_page(self, number: int) -> None:
        page = self._pages.pop(number, None) or self._read(number)
        letters = sum(len(line.text) for line in page.lines)
        if self._ocr == "always" or page.is_garbled or (letters < _LEAST_TEXT and page.has_ink):
            self._add_picture(number)
            if self._can_ocr:
                return
        page = self._with_pictures(page, number)
        for line in left_out(page, self._looks)[: _MOST_KEPT - len(self._furniture)]:
            self._furniture.setdefault(_DIGITS.sub("#", line.text), line.text)
        for block in blocks_of(page, self._looks):
            self._add(block, Place(page=number, bbox=_shares(block, page)))

    def _with_pictures(self, page: PageText, number: int) -> PageText:
        """The page and, if it may be read, the text in its pictures."""
        boxes = may_show_text(page) if self._can_ocr and self._pictures_left > 0 else []
        if not boxes:
            return page
        boxes = boxes[: self._pictures_left]
        self._pictures_left -= len(boxes)
        read = list(lines_in_pictures(self._pdf, number, page, boxes, self._looks.body))
        return replace(page, lines=[*page.lines, *read])

    def _add(self, block: Block, place: Place) -> None:
        if block.level:
            self.builder.heading(block.level, block.text, place)
        else:
            self.builder.block(block.text, place)

    def _add_picture(self, number: int) -> None:
        if not self._can_ocr:
            self._unread.append(number)
            return
        self._read_as_pictures.append(number)
        read_page(self.builder, self._pdf, number)

    def _read(self, number: int) -> PageText:
        page = _page(self._pdf, number)
        try:
            return PageReader(page, self._raw).read()
        finally:
            page.close()

    def about(self) -> JsonObject:
        """What is to be said of how the pages were read."""
        found: JsonObject = {"pages": len(self._pdf)}
        if self._furniture:
            found["headers_and_footers"] = [*self._furniture.values()]
        if self._read_as_pictures:
            found["ocr_pages"] = [*self._read_as_pictures]
        if self._unread:
            found["unread_pages"] = [*self._unread]
            found["note"] = f"{len(self._unread)} pages are pictures and were not read" + (
                "." if self._ocr == "never" else '; to read them: pip install "morag[ocr]".'
            )
        return found


def _sampled(pages: int) -> list[int]:
    """All pages of a short document; of a long one pairs of neighbours, evenly spread."""
    if pages <= _SAMPLED_PAGES:
        return list(range(1, pages + 1))
    pairs = _SAMPLED_PAGES // 2
    firsts = [1 + at * (pages - 2) // (pairs - 1) for at in range(pairs)]
    return sorted({number for first in firsts for number in (first, first + 1)})


def _shares(block: Block, page: PageText) -> tuple[float, float, float, float]:
    box, width, height = block.box, max(page.width, 1.0), max(page.height, 1.0)
    shares = (box.left / width, box.top / height, box.right / width, box.bottom / height)
    left, top, right, bottom = (round(min(max(share, 0.0), 1.0), 4) for share in shares)
    return left, top, right, bottom


@contextmanager
def _opened(path: Path, password: str | None) -> Generator[Any]:
    pdfium: Any = import_module("pypdfium2")
    try:
        pdf = pdfium.PdfDocument(path, password=password)
    except pdfium.PdfiumError as error:
        raise _refusal(str(error), password) from error
    try:
        pdf.init_forms()  # before the first page: what is filled in gets its looks from here
        if len(pdf) == 0:
            raise broken("The PDF has no pages.")
        yield pdf
    finally:
        pdf.close()


def _page(pdf: Any, number: int) -> Any:
    """The page, what is filled in and written on it part of its text. Raises ConversionError."""
    pdfium: Any = import_module("pypdfium2")
    try:
        page = pdf[number - 1]
        if pdf.formenv is None or not pdfium.raw.FPDFPage_GetAnnotCount(page.raw):
            return page
        page.flatten()
        page.close()  # the text of an open page is the one before
        return pdf[number - 1]
    except pdfium.PdfiumError as error:
        raise broken(f"Page {number} of the PDF cannot be read.") from error


def _refusal(reason: str, password: str | None) -> ConversionError:
    if "password" in reason.lower():
        message = "The PDF is protected with a password." if password is None else "The password does not open the PDF."
        hint = 'Send it with the option "password", or without protection.'
        return ConversionError(message, code="encrypted", hint=hint)
    if "security" in reason.lower():
        return ConversionError(
            "The PDF is encrypted in a way that cannot be opened.", code="encrypted", hint="Send it without protection."
        )
    return broken("The PDF is damaged or cut off and cannot be opened.")


def _told(pdf: Any) -> JsonObject:
    """Title, author and date as the file tells them, as far as they say something."""
    told: dict[str, str] = pdf.get_metadata_dict(skip_empty=True)
    raw = {key: value.strip() for key, value in told.items() if not _EMPTY.fullmatch(value.strip())}
    found: JsonObject = {}
    title = raw.get("Title", "")
    if title and not _UNTITLED.match(title):
        found["title"] = title
    for name, key in (("author", "Author"), ("subject", "Subject")):
        if key in raw:
            found[name] = raw[key]
    if date := _DATE.match(raw.get("CreationDate", "")):
        found["created_at"] = "-".join(date.groups())
    return found
