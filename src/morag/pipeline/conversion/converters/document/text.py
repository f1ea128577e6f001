"""Plain text, Markdown, JSON and XML."""

import json
import re
from collections.abc import Iterable

from morag.domain.content import Document
from morag.domain.errors import ConversionError
from morag.domain.json import Json, JsonObject
from morag.pipeline.conversion.encoding import decode
from morag.pipeline.conversion.markdown import MarkdownBuilder, escape, fenced
from morag.pipeline.conversion.sources import file_of
from morag.pipeline.ports import ConversionInput, ReportProgress

_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_SETEXT = re.compile(r"^(?P<text>[^\s#>|`~*+-][^\n|]*)\n(?P<rule>={2,}|-{2,})[ \t]*$", re.MULTILINE)
_FIELD = re.compile(r"([A-Za-z][\w-]*):[ \t]*(.*)")


class TextConverter:
    """Plain text: kept as it is, but nothing in it may turn into structure it does not have."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document."""
        report(0.1, "processing", "reading the text")
        text, encoding = decode(file_of(given).read_bytes())
        builder = MarkdownBuilder()
        builder.block(escape(text.strip("\n")))
        return builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            title=None,
            metadata={"encoding": encoding},
        )


class MarkdownConverter:
    """Markdown: passed through, with front matter moved to the metadata."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document."""
        report(0.1, "processing", "reading the text")
        text, encoding = decode(file_of(given).read_bytes())
        metadata: JsonObject = {"encoding": encoding}
        if front := _FRONT_MATTER.match(text):
            metadata |= _fields(front[1].splitlines())
            text = text[front.end() :]
        builder = MarkdownBuilder()
        builder.markdown(atx(text))
        title = metadata.get("title")
        return builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            title=title if isinstance(title, str) and title else None,
            metadata=metadata,
        )


class JsonConverter:
    """JSON and JSON Lines: indented, in a fence."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`."""
        report(0.1, "processing", "reading the JSON")
        text, _ = decode(file_of(given).read_bytes())
        is_lines = given.detected.media_type.endswith("ndjson")
        parts = [line for line in text.splitlines() if line.strip()] if is_lines else [text]
        builder = MarkdownBuilder()
        builder.block(fenced("\n".join(_indented(part, 0 if is_lines else 2) for part in parts), "json"))
        return builder.document(content_type=given.detected.content_type, media_type=given.detected.media_type)


class XmlConverter:
    """XML: as it stands, in a fence; nothing in it is resolved or fetched."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document."""
        report(0.1, "processing", "reading the XML")
        text, encoding = decode(file_of(given).read_bytes())
        builder = MarkdownBuilder()
        builder.block(fenced(text.strip(), "xml"))
        return builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            metadata={"encoding": encoding},
        )


def atx(markdown: str) -> str:
    """Underlined headings as `#` ones, outside of fences."""
    parts = re.split(r"(^(?:```|~~~).*?^(?:```|~~~)[ \t]*$)", markdown, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [_SETEXT.sub(_as_atx, part) for part in parts[::2]]
    return "".join(parts)


def _as_atx(found: re.Match[str]) -> str:
    return f"{'#' if found['rule'][0] == '=' else '##'} {found['text'].strip()}"


def _fields(lines: Iterable[str]) -> dict[str, Json]:
    """The plain `key: value` lines of front matter; what is nested stays out."""
    found = (_FIELD.fullmatch(line.rstrip()) for line in lines)
    return {field[1].lower(): field[2].strip().strip("\"'") for field in found if field and field[2].strip()}


def _indented(text: str, indent: int) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=indent or None)
    except RecursionError:
        return text  # nested deeper than a reader would want it indented
    except json.JSONDecodeError as error:
        raise ConversionError(
            f"This is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
            code="broken_file",
            hint="Correct it there, or send it as .txt.",
        ) from None
