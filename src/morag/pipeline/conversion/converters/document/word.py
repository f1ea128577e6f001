"""DOCX: headings, lists, tables, links, emphasis, footnotes and comments, in the order of the text."""

from collections.abc import Iterator

from morag.domain.content import Document
from morag.pipeline.conversion.converters.document.inline import inline
from morag.pipeline.conversion.converters.document.ooxml import MC, Element, Package, W
from morag.pipeline.conversion.converters.document.word_styles import Kind, Look, Styles
from morag.pipeline.conversion.converters.document.word_text import Notes, runs_of, text_boxes
from morag.pipeline.conversion.markdown import MarkdownBuilder, escape, fenced, table
from morag.pipeline.conversion.sources import archive_of, broken
from morag.pipeline.ports import ConversionInput, ReportProgress

_MAX_NESTING = 20
"""Tables within tables, content controls within content controls."""


class WordConverter:
    """Word documents to Markdown."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`, `encrypted`, `zip_bomb`."""
        with Package(archive_of(given)) as package:
            body = package.required(package.main).find(f"{W}body")
            if body is None:
                raise broken("The Word file has no text part.")
            properties = package.properties()
            writer = _Writer(package)
            writer.write(body, report)
        title = properties.get("title")
        return writer.builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            title=title if isinstance(title, str) else None,
            metadata=properties,
        )


class _Writer:
    """Walks the body and keeps what belongs together: list items in a list, code lines in a fence."""

    def __init__(self, package: Package) -> None:
        self.builder = MarkdownBuilder()
        self._styles = Styles(package)
        self._notes = Notes(package)
        self._pending: list[str] = []
        self._pending_kind = Kind.TEXT

    def write(self, body: Element, report: ReportProgress) -> None:
        blocks = list(blocks_of(body))
        step = max(len(blocks) // 50, 1)
        for at, block in enumerate(blocks):
            if at % step == 0:
                report(at / len(blocks), "processing", f"paragraph {at + 1} of {len(blocks)}")
            self._table(block) if block.tag == f"{W}tbl" else self._paragraph(block)
        self._flush()
        self._end_notes()

    def _paragraph(self, paragraph: Element) -> None:
        look = self._styles.look(paragraph)
        if look.kind is Kind.SKIPPED:
            return
        text = inline(runs_of(paragraph, self._notes), is_plain=look.kind in {Kind.HEADING, Kind.CODE})
        if look.kind is Kind.CODE:
            text = "".join(run.text for run in runs_of(paragraph, self._notes))
        if look.kind is not self._pending_kind:
            self._flush()
        if text:
            self._add(text, look)
        for box in text_boxes(paragraph):
            for inner in blocks_of(box):
                self._table(inner) if inner.tag == f"{W}tbl" else self._paragraph(inner)

    def _add(self, text: str, look: Look) -> None:
        match look.kind:
            case Kind.HEADING:
                self.builder.heading(look.level, text)
            case Kind.ITEM:
                indent = " " * (4 if look.is_numbered_above else 2) * look.level
                hanging = indent + " " * (len(look.marker) + 1)
                lines = text.replace("\n", f"\n{hanging}")
                if (
                    look.level == 0
                    and self._pending
                    and (self._pending[-1].lstrip()[:1] == "-") != (look.marker == "-")
                ):
                    self._flush()  # a list of the other kind begins
                self._keep(f"{indent}{look.marker} {lines}", look.kind)
            case Kind.CODE | Kind.QUOTE:
                self._keep(text, look.kind)
            case Kind.TEXT | Kind.SKIPPED:
                self.builder.block(text.replace("\n", "\\\n"))

    def _keep(self, line: str, kind: Kind) -> None:
        self._pending.append(line)
        self._pending_kind = kind

    def _flush(self) -> None:
        lines, kind = self._pending, self._pending_kind
        self._pending, self._pending_kind = [], Kind.TEXT
        if not lines:
            return
        if kind is Kind.CODE:
            self.builder.block(fenced("\n".join(lines)))
        elif kind is Kind.QUOTE:
            self.builder.block("\n>\n".join(f"> {line}" for line in lines))
        else:
            self.builder.block("\n".join(lines))

    def _table(self, element: Element) -> None:
        self._flush()
        rows = [list(self._cells(row)) for row in element.iterchildren(f"{W}tr")]
        if len(rows) == 1 and len(rows[0]) == 1:  # a frame around text
            for cell_element in element.iter(f"{W}tc"):
                for block in blocks_of(cell_element):
                    self._table(block) if block.tag == f"{W}tbl" else self._paragraph(block)
                return
        self.builder.block(table(rows))

    def _cells(self, row: Element) -> Iterator[str]:
        """The row's cells; one that spans several is followed by empty ones, a continued one is empty."""
        for cell_element in children_of(row, f"{W}tc"):
            properties = cell_element.find(f"{W}tcPr")
            span = properties.find(f"{W}gridSpan") if properties is not None else None
            merge = properties.find(f"{W}vMerge") if properties is not None else None
            is_continued = merge is not None and merge.get(f"{W}val", "continue") == "continue"
            yield "" if is_continued else self._cell_text(cell_element)
            width = span.get(f"{W}val", "1") if span is not None else "1"
            yield from [""] * (min(int(width), 100) - 1 if width.isdigit() else 0)

    def _cell_text(self, element: Element) -> str:
        parts = (inline(runs_of(paragraph, self._notes)) for paragraph in element.iter(f"{W}p"))
        return "\n".join(part for part in parts if part)

    def _end_notes(self) -> None:
        self.builder.leave_headings()
        for label, text in self._notes.used():
            self.builder.block(f"[^{label}]: {text}")
        if comments := list(self._notes.comments()):
            self.builder.heading(2, "Comments")
            self.builder.block("\n".join(f"- **{escape(author)}:** {text}" for author, text in comments))


def blocks_of(parent: Element, depth: int = 0) -> Iterator[Element]:
    """Paragraphs and tables of a body or a cell, those within content controls and tracked insertions among them."""
    for child in parent.iterchildren():
        if child.tag in {f"{W}p", f"{W}tbl"}:
            yield child
        elif child.tag in _TRANSPARENT and depth < _MAX_NESTING:
            yield from blocks_of(child, depth + 1)


def children_of(parent: Element, tag: str) -> Iterator[Element]:
    """Children of that tag, those within content controls among them."""
    for child in parent.iterchildren():
        if child.tag == tag:
            yield child
        elif child.tag in _TRANSPARENT:
            yield from children_of(child, tag)


_TRANSPARENT = frozenset(
    {f"{W}sdt", f"{W}sdtContent", f"{W}ins", f"{W}moveTo", f"{W}customXml", f"{W}smartTag", f"{MC}AlternateContent"}
    | {f"{MC}Choice"}
)
