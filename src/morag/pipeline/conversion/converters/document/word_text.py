"""The text of a Word paragraph as runs, and the notes it refers to."""

from collections.abc import Iterator

from morag.pipeline.conversion.converters.document.inline import Run, inline
from morag.pipeline.conversion.converters.document.ooxml import MC, Element, M, Package, R, W

_GONE = frozenset({f"{W}del", f"{W}moveFrom", f"{W}pPr", f"{W}rPr", f"{MC}Fallback"})
_OFF = frozenset({"0", "false", "off", "none"})
_SIGNS = {"tab": "\t", "ptab": "\t", "cr": "\n", "noBreakHyphen": "-"}
_MAX_DEPTH = 40


class Notes:
    """Footnotes, endnotes and comments of a document, and the links of its text."""

    def __init__(self, package: Package) -> None:
        main = package.main
        self._relations = package.relations(main)
        self._notes = {
            "footnote": _by_id(package.related(main, "footnotes"), "footnote"),
            "endnote": _by_id(package.related(main, "endnotes"), "endnote"),
        }
        self._comments = package.related(main, "comments")
        self._used: dict[tuple[str, str], int] = {}

    def link(self, relation_id: str | None) -> str | None:
        """Where a link leads out of the document."""
        relation = self._relations.get(relation_id or "")
        return relation.target if relation is not None and relation.is_external else None

    def label(self, kind: str, note_id: str) -> str:
        """The mark of a note in the text: notes are numbered as they are met."""
        number = self._used.setdefault((kind, note_id), len(self._used) + 1)
        return f"[^{number}]"

    def used(self) -> Iterator[tuple[str, str]]:
        """Number and text of each note that was met."""
        for (kind, note_id), number in list(self._used.items()):
            note = self._notes[kind].get(note_id)
            text = self._text(note) if note is not None else ""
            if text:
                yield str(number), text

    def comments(self) -> Iterator[tuple[str, str]]:
        """Author and text of each comment."""
        for comment in self._comments.iter(f"{W}comment") if self._comments is not None else ():
            if text := self._text(comment):
                yield comment.get(f"{W}author", "Comment"), text

    def _text(self, parent: Element) -> str:
        return " ".join(
            text for paragraph in parent.iter(f"{W}p") if (text := inline(runs_of(paragraph, self)).replace("\n", " "))
        )


def runs_of(parent: Element, notes: Notes, link: str | None = None, depth: int = 0) -> Iterator[Run]:
    """The runs of a paragraph: insertions taken, deletions left out, fields by what they show."""
    for child in parent.iterchildren():
        tag = child.tag
        if tag in _GONE or depth > _MAX_DEPTH:
            continue
        if tag == f"{W}r":
            yield from _run(child, notes, link)
        elif tag == f"{W}hyperlink":
            yield from runs_of(child, notes, notes.link(child.get(f"{R}id")), depth + 1)
        elif tag in {f"{M}oMath", f"{M}oMathPara"}:
            yield Run(text="".join(text.text or "" for text in child.iter(f"{M}t")), link=link)
        else:
            yield from runs_of(child, notes, link, depth + 1)


def _run(run: Element, notes: Notes, link: str | None) -> Iterator[Run]:
    look = run.find(f"{W}rPr")
    if _is_on(look, "vanish"):
        return
    text = "".join(_piece(child, notes) for child in run.iterchildren())
    if text:
        yield Run(
            text=text,
            is_bold=_is_on(look, "b"),
            is_italic=_is_on(look, "i"),
            is_struck=_is_on(look, "strike"),
            link=link,
        )


def _piece(child: Element, notes: Notes) -> str:
    """What one child of a run shows."""
    name = str(child.tag).removeprefix(W)
    if name in _SIGNS:
        return _SIGNS[name]
    match name:
        case "t":
            return child.text or ""
        case "br":
            return "\n" if child.get(f"{W}type", "textWrapping") == "textWrapping" else " "
        case "sym":
            return _symbol(child.get(f"{W}char", ""))
        case "footnoteReference" | "endnoteReference":
            return notes.label(name.removesuffix("Reference"), child.get(f"{W}id", ""))
        case _:
            return ""


def _symbol(code: str) -> str:
    """A symbol font's character: its private code points are the font's own, of which a bullet is the safe reading."""
    try:
        char = chr(int(code, 16))
    except (ValueError, OverflowError):
        return ""
    return "•" if "\ue000" <= char <= "\uf8ff" else char


def _is_on(look: Element | None, name: str) -> bool:
    found = look.find(f"{W}{name}") if look is not None else None
    return found is not None and found.get(f"{W}val", "1").lower() not in _OFF


def text_boxes(paragraph: Element) -> Iterator[Element]:
    """Text boxes that are anchored in the paragraph, each once."""
    for content in paragraph.iter(f"{W}txbxContent"):
        if not any(parent.tag == f"{MC}Fallback" for parent in content.iterancestors()):
            yield content


def _by_id(tree: Element | None, name: str) -> dict[str, Element]:
    return {note.get(f"{W}id", ""): note for note in tree.iter(f"{W}{name}")} if tree is not None else {}
