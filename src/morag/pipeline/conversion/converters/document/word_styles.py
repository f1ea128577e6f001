"""What a Word paragraph is, by its style, outline level and numbering."""

import re
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum, auto

from morag.pipeline.conversion.converters.document.ooxml import Element, Package, W

_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_CODE = re.compile(r"\b(source ?code|code|preformatted|macro text|listing)\b", re.IGNORECASE)
_LEVEL_IN_NAME = re.compile(r"(\d)$")
_MAX_CHAIN = 20


class Kind(Enum):
    """What a paragraph becomes."""

    TEXT = auto()
    HEADING = auto()
    ITEM = auto()
    CODE = auto()
    QUOTE = auto()
    SKIPPED = auto()
    """Tables of contents: their lines repeat the headings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A paragraph's kind; `level` is that of a heading from 1, of a list item from 0."""

    kind: Kind
    level: int = 0
    marker: str = "-"
    is_numbered_above: bool = False
    """Whether the list it lies in is numbered, which decides how deep Markdown wants it indented."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    name: str
    based_on: str | None
    outline: int | None
    numbering: tuple[str, int] | None
    """Number id and level."""


class Styles:
    """The styles and numberings of one document; counts the items of its lists on the way."""

    def __init__(self, package: Package) -> None:
        tree = package.related(package.main, "styles")
        found = tree.iter(f"{W}style") if tree is not None else iter(())
        self._styles = {style.get(f"{W}styleId", ""): _read_style(style) for style in found}
        self._formats = _formats(package.related(package.main, "numbering"))
        self._counts: defaultdict[tuple[str, int], int] = defaultdict(int)

    def look(self, paragraph: Element) -> Look:
        """What the paragraph is; call it once for each, in order."""
        properties = paragraph.find(f"{W}pPr")
        style_id = _value(properties, "pStyle")
        chain = self._chain(style_id)
        name = chain[0].name if chain else ""
        if name.lower().startswith(("toc ", "table of figures")):
            return Look(kind=Kind.SKIPPED)
        level = self._heading_level(properties, chain)
        if level is not None:
            return Look(kind=Kind.HEADING, level=level)
        numbering = _numbering(properties) or next((style.numbering for style in chain if style.numbering), None)
        if numbering is not None and numbering[0] != "0":
            return self._item(numbering, name)
        if _CODE.search(name):
            return Look(kind=Kind.CODE)
        return Look(kind=Kind.QUOTE if "quote" in name.lower() else Kind.TEXT)

    def _chain(self, style_id: str | None) -> list[_Style]:
        """The style and those it is based on."""
        chain: list[_Style] = []
        while style_id is not None and style_id in self._styles and len(chain) < _MAX_CHAIN:
            chain.append(self._styles[style_id])
            style_id = chain[-1].based_on
        return chain

    def _heading_level(self, properties: Element | None, chain: list[_Style]) -> int | None:
        own = _value(properties, "outlineLvl")
        if own is not None and own.isdigit():
            return int(own) + 1 if int(own) < 9 else None
        for style in chain:
            if style.name.lower() == "title":
                return 1
            if found := _HEADING.fullmatch(style.name):
                return int(found[1])
            if style.outline is not None:
                return style.outline + 1 if style.outline < 9 else None
        return None

    def _item(self, numbering: tuple[str, int], style_name: str) -> Look:
        number_id, level = numbering
        in_name = _LEVEL_IN_NAME.search(style_name)
        if level == 0 and in_name and style_name.lower().startswith("list "):
            level = int(in_name[1]) - 1
            above = True
        else:
            above = level > 0
        is_numbered = self._formats.get((number_id, numbering[1]), "bullet") != "bullet"
        for key in [key for key in self._counts if key[0] == number_id and key[1] > level]:
            del self._counts[key]
        self._counts[number_id, level] += 1
        marker = f"{self._counts[number_id, level]}." if is_numbered else "-"
        outer = self._formats.get((number_id, max(numbering[1] - 1, 0)), "bullet")
        return Look(kind=Kind.ITEM, level=level, marker=marker, is_numbered_above=above and outer != "bullet")


def _read_style(style: Element) -> _Style:
    properties = style.find(f"{W}pPr")
    outline = _value(properties, "outlineLvl")
    return _Style(
        name=_value(style, "name") or "",
        based_on=_value(style, "basedOn"),
        outline=int(outline) if outline is not None and outline.isdigit() else None,
        numbering=_numbering(properties),
    )


def _numbering(properties: Element | None) -> tuple[str, int] | None:
    found = properties.find(f"{W}numPr") if properties is not None else None
    number_id = _value(found, "numId")
    if number_id is None:
        return None
    level = _value(found, "ilvl")
    return number_id, min(int(level), 8) if level is not None and level.isdigit() else 0


def _formats(tree: Element | None) -> dict[tuple[str, int], str]:
    """Number format, as `bullet` or `decimal`, by number id and level."""
    if tree is None:
        return {}
    abstract = {entry.get(f"{W}abstractNumId", ""): entry for entry in tree.iter(f"{W}abstractNum")}
    formats: dict[tuple[str, int], str] = {}
    for number in tree.iter(f"{W}num"):
        base = abstract.get(_value(number, "abstractNumId") or "")
        for level in base.iter(f"{W}lvl") if base is not None else ():
            depth = level.get(f"{W}ilvl", "0")
            formats[number.get(f"{W}numId", ""), int(depth) if depth.isdigit() else 0] = (
                _value(level, "numFmt") or "decimal"
            )
    return formats


def _value(parent: Element | None, name: str) -> str | None:
    """The value of a child property."""
    found = parent.find(f"{W}{name}") if parent is not None else None
    return found.get(f"{W}val") if found is not None else None
