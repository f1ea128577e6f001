"""Text of OpenDocument files as Markdown blocks: styles, runs, lists, tables and notes; for text, slides and sheets."""

from collections.abc import Iterator
from dataclasses import dataclass

from morag.pipeline.conversion.converters.document.inline import Run, inline
from morag.pipeline.conversion.converters.document.ooxml import Element, Package
from morag.pipeline.conversion.markdown import table

_URN = "urn:oasis:names:tc:opendocument:xmlns"
OFFICE, TEXT, TABLE, DRAW, STYLE = (
    f"{{{_URN}:{name}:1.0}}" for name in ("office", "text", "table", "drawing", "style")
)
PRESENTATION = f"{{{_URN}:presentation:1.0}}"
SVG = f"{{{_URN}:svg-compatible:1.0}}"
_FO = f"{{{_URN}:xsl-fo-compatible:1.0}}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_GONE = frozenset(
    {f"{TEXT}tracked-changes", f"{TEXT}table-of-content", f"{OFFICE}annotation", f"{TEXT}sequence-decls"}
    | {f"{OFFICE}forms", f"{TEXT}note", f"{PRESENTATION}notes", f"{TEXT}illustration-index", f"{TEXT}ruby-text"}
)
_MAX_DEPTH = 40
_MAX_REPEATED = 1_000
"""Cells or blanks that one element may stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A block; a heading if `level` is over 0."""

    text: str
    level: int = 0
    is_list: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    parent: str | None
    outline: int | None
    is_bold: bool | None
    is_italic: bool | None


class Styles:
    """What the styles of a file say of headings, emphasis and lists."""

    def __init__(self, package: Package) -> None:
        self._styles: dict[str, _Style] = {}
        self._numbered: set[tuple[str, int]] = set()
        for tree in (package.xml("styles.xml"), package.xml("content.xml")):
            if tree is not None:
                self._read(tree)

    def _read(self, tree: Element) -> None:
        for style in tree.iter(f"{STYLE}style"):
            self._styles[style.get(f"{STYLE}name", "")] = _read_style(style)
        for one in tree.iter(f"{TEXT}list-style"):
            for level in one.iter(f"{TEXT}list-level-style-number"):
                if level.get(f"{STYLE}num-format"):
                    self._numbered.add((one.get(f"{STYLE}name", ""), _number(level.get(f"{TEXT}level"), 1)))

    def _chain(self, name: str | None) -> Iterator[tuple[str, _Style]]:
        for _ in range(_MAX_DEPTH):
            if name is None or name not in self._styles:
                return
            yield name, self._styles[name]
            name = self._styles[name].parent

    def level(self, name: str | None) -> int:
        """The level of a heading that a paragraph's style makes it; 0 for text."""
        for own, style in self._chain(name):
            if own == "Title":
                return 1
            if style.outline is not None:
                return style.outline
        return 0

    def look(self, name: str | None) -> tuple[bool, bool]:
        """Whether text of the style is bold, and whether it is italic."""
        chain = [style for _, style in self._chain(name)]
        bold = next((style.is_bold for style in chain if style.is_bold is not None), False)
        return bool(bold), bool(next((style.is_italic for style in chain if style.is_italic is not None), False))

    def is_numbered(self, list_style: str, depth: int) -> bool:
        """Whether items of the list, `depth` deep from 1, are numbered."""
        return (list_style, depth) in self._numbered


def _read_style(style: Element) -> _Style:
    text = style.find(f"{STYLE}text-properties")
    weight, slant = (text.get(f"{_FO}font-{kind}") if text is not None else None for kind in ("weight", "style"))
    outline = style.get(f"{STYLE}default-outline-level")
    return _Style(
        parent=style.get(f"{STYLE}parent-style-name"),
        outline=_number(outline, 0) if outline else None,
        is_bold=weight in {"bold", "600", "700", "800", "900"} if weight else None,
        is_italic=slant in {"italic", "oblique"} if slant else None,
    )


class Reader:
    """Reads the blocks of a part, and keeps the notes met on the way."""

    def __init__(self, styles: Styles) -> None:
        self._styles = styles
        self.notes: list[str] = []

    def pieces(self, parent: Element, depth: int = 0) -> Iterator[Piece]:
        """Headings, paragraphs, lists and tables below an element, in order."""
        for child in parent.iterchildren():
            if child.tag in _GONE or not isinstance(child.tag, str) or depth > _MAX_DEPTH:
                continue
            if child.tag in {f"{TEXT}h", f"{TEXT}p"}:
                yield from self._paragraph(child)
                for frame in child.iter(f"{DRAW}text-box"):
                    yield from self.pieces(frame, depth + 1)
            elif child.tag == f"{TEXT}list":
                lines = self._items(child, child.get(f"{TEXT}style-name", ""), 1)
                yield Piece(text="\n".join(lines), is_list=True)
            elif child.tag == f"{TABLE}table":
                yield Piece(text=self.table(child))
            else:
                yield from self.pieces(child, depth + 1)

    def _paragraph(self, element: Element) -> Iterator[Piece]:
        name = element.get(f"{TEXT}style-name")
        level = self._styles.level(name)
        if element.tag == f"{TEXT}h":
            level = _number(element.get(f"{TEXT}outline-level"), max(level, 1))
        text = inline(self.runs(element), is_plain=level > 0)
        if text:
            yield Piece(text=text if level else text.replace("\n", "\\\n"), level=level)

    def _items(self, element: Element, style: str, depth: int, indent: str = "") -> Iterator[str]:
        """The lines of a list and those within it."""
        style = element.get(f"{TEXT}style-name") or style
        is_numbered = self._styles.is_numbered(style, depth)
        number = 0
        for item in element.iterchildren(f"{TEXT}list-item", f"{TEXT}list-header"):
            texts = [text for child in item.iterchildren(f"{TEXT}p", f"{TEXT}h") if (text := inline(self.runs(child)))]
            number += bool(texts)
            marker = f"{number}." if is_numbered else "-"
            deeper = indent + " " * (len(marker) + 1)
            if texts:
                yield f"{indent}{marker} " + f"\n{deeper}".join("\n".join(texts).split("\n"))
            for inner in item.iterchildren(f"{TEXT}list"):
                if depth < _MAX_DEPTH:
                    yield from self._items(inner, style, depth + 1, deeper)

    def table(self, element: Element) -> str:
        """A pipe table."""
        return table([list(self.cells(row)) for row in rows_of(element)])

    def cells(self, row: Element) -> Iterator[str]:
        """The cells of a row; those that another covers are empty."""
        for child in row.iterchildren(f"{TABLE}table-cell", f"{TABLE}covered-table-cell"):
            text = "" if child.tag == f"{TABLE}covered-table-cell" else self._cell(child)
            repeated = _number(child.get(f"{TABLE}number-columns-repeated"), 1)
            yield from [text] * min(repeated, _MAX_REPEATED)

    def _cell(self, element: Element) -> str:
        if element.get(f"{OFFICE}value-type") == "date":
            return (element.get(f"{OFFICE}date-value") or "").removesuffix("T00:00:00").replace("T", " ")
        return "\n".join(piece.text for piece in self.pieces(element))

    def runs(self, parent: Element, link: str | None = None, name: str | None = None, depth: int = 0) -> Iterator[Run]:
        """The text of a paragraph with its looks; notes by their marks."""
        bold, italic = self._styles.look(name)
        if parent.text:
            yield Run(text=_blanks(parent.text), is_bold=bold, is_italic=italic, link=link)
        for child in parent.iterchildren():
            yield from self._run(child, link, name, depth)
            if child.tail:
                yield Run(text=_blanks(child.tail), is_bold=bold, is_italic=italic, link=link)

    def _run(self, child: Element, link: str | None, name: str | None, depth: int) -> Iterator[Run]:
        if child.tag == f"{TEXT}note":
            yield self._note(child)
        elif child.tag in _GONE or child.tag == f"{DRAW}frame" or not isinstance(child.tag, str) or depth > _MAX_DEPTH:
            return
        elif child.tag == f"{TEXT}s":
            yield Run(text=" " * min(_number(child.get(f"{TEXT}c"), 1), _MAX_REPEATED), link=link)
        elif child.tag in {f"{TEXT}tab", f"{TEXT}line-break"}:
            yield Run(text="\n" if child.tag == f"{TEXT}line-break" else "\t", link=link)
        else:
            own = child.get(f"{TEXT}style-name") if child.tag == f"{TEXT}span" else None
            href = child.get(_HREF) if child.tag == f"{TEXT}a" else None
            yield from self.runs(child, href if href and "://" in href else link, own or name, depth + 1)

    def _note(self, note: Element) -> Run:
        body = note.find(f"{TEXT}note-body")
        self.notes.append(" ".join(piece.text for piece in self.pieces(body)) if body is not None else "")
        return Run(text=f"[^{len(self.notes)}]")


def rows_of(element: Element) -> Iterator[Element]:
    """The rows of a table, those in header and row groups among them, but not those of tables within."""
    for child in element.iterchildren():
        if child.tag == f"{TABLE}table-row":
            yield child
        elif child.tag in {f"{TABLE}table-{kind}" for kind in ("header-rows", "rows", "row-group")}:
            yield from rows_of(child)


def _blanks(text: str) -> str:
    """White space of the file's own lines is one blank, as in HTML."""
    words = " ".join(text.split())
    return f"{' ' if text[0].isspace() else ''}{words}{' ' if words and text[-1].isspace() else ''}"


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdigit() else default
