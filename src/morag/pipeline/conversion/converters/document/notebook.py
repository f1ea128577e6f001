"""Jupyter notebooks: text cells as they are, code in fences of its language, and what it printed."""

import json
import re
from collections.abc import Iterator
from typing import cast

from morag.domain.content import Document
from morag.domain.json import Json, JsonObject
from morag.pipeline.conversion.converters.html import tree_of, whole_page
from morag.pipeline.conversion.encoding import decode
from morag.pipeline.conversion.markdown import MarkdownBuilder, fenced
from morag.pipeline.conversion.sources import broken, file_of
from morag.pipeline.ports import ConversionInput, ReportProgress

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_MOST_PRINTED = 20_000
"""Characters of one output that are kept: the rest of a log is of no use to a reader."""


class NotebookConverter:
    """IPYNB to Markdown."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`."""
        text, _ = decode(file_of(given).read_bytes())
        try:
            book: Json = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise broken("The notebook is no valid JSON; it seems to be cut off.") from error
        cells = list(_cells(book))
        language = _language(book)
        builder = MarkdownBuilder()
        for at, cell in enumerate(cells):
            report(at / len(cells), "processing", f"cell {at + 1} of {len(cells)}")
            _add(builder, cell, language)
        return builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            metadata={"language": language, "cells": len(cells)} if language else {"cells": len(cells)},
        )


def _cells(book: Json) -> Iterator[JsonObject]:
    """The cells; older notebooks keep them in worksheets. Raises ConversionError."""
    if not isinstance(book, dict):
        raise broken("The file is no notebook.")
    sheets = book.get("worksheets")
    for part in [book, *(sheets if isinstance(sheets, list) else [])]:
        cells = part.get("cells") if isinstance(part, dict) else None
        for cell in cells if isinstance(cells, list) else []:
            if isinstance(cell, dict):
                yield cell


def _language(book: Json) -> str:
    about = _object(_object(book).get("metadata"))
    for part in ("language_info", "kernelspec"):
        found = _object(about.get(part))
        name = found.get("name" if part == "language_info" else "language")
        if isinstance(name, str) and name.replace("+", "").replace("#", "").isalnum():
            return name.lower()
    return ""


def _add(builder: MarkdownBuilder, cell: JsonObject, language: str) -> None:
    source = _text(cell.get("source", cell.get("input")))
    match cell.get("cell_type"):
        case "markdown":
            builder.markdown(source)
        case "heading":
            level = cell.get("level")
            builder.heading(level if isinstance(level, int) else 1, source)
        case "code":
            builder.block(fenced(source, language) if source.strip() else "")
            outputs = cell.get("outputs")
            for output in outputs if isinstance(outputs, list) else []:
                builder.block(_output(_object(output)))
        case _:
            builder.block(fenced(source) if source.strip() else "")


def _output(output: JsonObject) -> str:
    """What a cell printed, its table, or its error; pictures are left out."""
    if output.get("output_type") in {"error", "pyerr"}:
        return fenced(f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}")
    data = _object(output.get("data")) or output
    page = _text(data.get("text/html"))
    if "<table" in page:
        return whole_page(tree_of(page[: 50 * _MOST_PRINTED], None))
    if markdown := _text(data.get("text/markdown")):
        return markdown
    printed = _ANSI.sub("", _text(data.get("text/plain") or data.get("text")))
    return fenced(printed[:_MOST_PRINTED]) if printed.strip() else ""


def _text(value: Json) -> str:
    """Text that may be kept as a list of lines."""
    return "".join(str(line) for line in value) if isinstance(value, list) else str(value or "")


def _object(value: Json) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}
