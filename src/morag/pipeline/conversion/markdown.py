"""Building Markdown with provenance: blocks go in, text and segments come out.

Converters add blocks in reading order and say where each stood; the builder keeps the headings above it and merges
neighbours of the same place into one segment.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from morag.domain.content import ContentType, Document, Place, Segment
from morag.domain.json import JsonObject

NOWHERE = Place()
"""The place of text of which nothing is known but its heading."""

_BREAK = "\n\n"
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_STRUCTURE = re.compile(r"^([ \t]*)(#{1,6}(?=\s|$)|>|={3,}\s*$|-{3,}\s*$|[`~]{3,})", re.MULTILINE)
_TAG = re.compile(r"<(?=/?[A-Za-z][\w:-]*(?:\s[^<>]*)?/?>|!--|\?)")
_SPACE = re.compile(r"\s+")


class MarkdownBuilder:
    """Collects blocks of Markdown and the place of each."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._segments: list[Segment] = []
        self._headings: list[tuple[int, str]] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added yet."""
        return not self._parts

    def heading(self, level: int, text: str, place: Place = NOWHERE) -> None:
        """Add a heading of level 1 to 6; everything after it stands under it."""
        words = one_line(text)
        if not words:
            return
        level = min(max(level, 1), 6)
        self._open(level, words)
        self._append(f"{'#' * level} {words}", place)

    def block(self, text: str, place: Place = NOWHERE) -> None:
        """Add a block that holds no heading: a paragraph, a list, a table, a fence."""
        text = text.strip("\n").rstrip()
        if text:
            self._append(text, place)

    def markdown(self, text: str, place: Place = NOWHERE) -> None:
        """Add Markdown that was written elsewhere; its headings are read."""
        for heading, body in sections(text):
            if heading is not None:
                self.heading(heading[0], heading[1], place)
            self.block(body, place)

    def leave_headings(self) -> None:
        """Let what follows stand under no heading."""
        self._headings.clear()

    def include(self, document: Document, *, under: int) -> None:
        """Add a whole document below a heading of level `under`, its own headings set deeper."""
        end = 0
        for segment in document.segments:
            text = document.markdown[segment.text_start : segment.text_end]
            self.markdown(demote(text, under), replace(segment.place, heading_path=()))
            end = segment.text_end
        self.markdown(demote(document.markdown[end:], under))

    def document(
        self,
        *,
        content_type: ContentType,
        media_type: str,
        title: str | None = None,
        metadata: JsonObject | None = None,
    ) -> Document:
        """What was built."""
        text = _BREAK.join(self._parts)
        return Document(
            markdown=f"{text}\n" if text else "",
            content_type=content_type,
            media_type=media_type,
            title=title,
            metadata=metadata or {},
            segments=tuple(self._segments),
        )

    def _open(self, level: int, words: str) -> None:
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._headings.append((level, plain(words)))

    def _append(self, text: str, place: Place) -> None:
        here = replace(place, heading_path=tuple(words for _, words in self._headings))
        start = self._length + (len(_BREAK) if self._parts else 0)
        end = start + len(text)
        last = self._segments[-1] if self._segments else None
        if last is not None and last.place == here:
            self._segments[-1] = replace(last, text_end=end)
        else:
            if last is not None:
                self._segments[-1] = replace(last, text_end=start)
            self._segments.append(Segment(text_start=start, text_end=end, place=here))
        self._parts.append(text)
        self._length = end


def sections(markdown: str) -> Iterator[tuple[tuple[int, str] | None, str]]:
    """Split at ATX headings outside of fences: ((level, text), what follows), first None for what stands before."""
    heading: tuple[int, str] | None = None
    body: list[str] = []
    fence: str | None = None
    for line in markdown.splitlines():
        fence = _fence_after(line, fence)
        found = _HEADING.fullmatch(line) if fence is None else None
        if found is None:
            body.append(line)
            continue
        if heading is not None or any(body):
            yield heading, "\n".join(body)
        heading, body = (len(found[1]), found[2]), []
    if heading is not None or any(body):
        yield heading, "\n".join(body)


def _fence_after(line: str, fence: str | None) -> str | None:
    """The fence that is open after `line`, if any."""
    mark = _FENCE.match(line)
    if mark is None:
        return fence
    if fence is None:
        return mark[1]
    return None if mark[1].startswith(fence) and not line.strip().strip(fence[0]) else fence


def demote(markdown: str, levels: int) -> str:
    """The same Markdown with its headings `levels` deeper, at most 6."""
    parts: list[str] = []
    for heading, body in sections(markdown):
        if heading is not None:
            parts.append(f"{'#' * min(heading[0] + levels, 6)} {heading[1]}")
        parts.append(body)
    return "\n".join(parts)


def table(rows: Sequence[Sequence[str]], *, has_header: bool = True) -> str:
    """A pipe table; empty rows and columns are left out, short rows filled up. "" if nothing is left."""
    width = max((len(row) for row in rows), default=0)
    full = [[cell(text) for text in row] + [""] * (width - len(row)) for row in rows]
    full = [row for row in full if any(row)]
    kept = [column for column in range(width) if any(row[column] for row in full)]
    if not kept:
        return ""
    lines = [f"| {' | '.join(row[column] for column in kept)} |" for row in full]
    rule = f"|{' --- |' * len(kept)}"
    return "\n".join([lines[0], rule, *lines[1:]] if has_header else [f"|{'  |' * len(kept)}", rule, *lines])


def cell(text: str) -> str:
    """Text as one cell of a pipe table: on one line, with its pipes escaped."""
    lines = (_SPACE.sub(" ", line).strip() for line in text.replace("\\|", "|").splitlines())
    return "<br>".join(line for line in lines if line).replace("|", "\\|")


def escape(text: str) -> str:
    """Plain text such that no line of it turns into a heading, quote, rule, fence or tag; the rest stays readable."""
    return _TAG.sub(r"\\<", _STRUCTURE.sub(r"\1\\\2", text))


def fenced(text: str, language: str = "") -> str:
    """A code block around `text`, its fence longer than any inside."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def one_line(text: str) -> str:
    """The text with every run of white space as one blank."""
    return _SPACE.sub(" ", text).strip()


def plain(markdown: str) -> str:
    """A line of Markdown as a reader sees it: links by their text, without emphasis marks and escapes."""
    text = _LINK.sub(r"\1", markdown)
    text = re.sub(r"(\*\*|__|\*|`)(?=\S)(.+?)(?<=\S)\1", r"\2", text)
    return one_line(re.sub(r"\\([^\w\s])", r"\1", text))
