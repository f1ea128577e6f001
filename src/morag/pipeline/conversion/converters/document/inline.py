"""Runs of formatted text to inline Markdown; for Word and PowerPoint."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from morag.pipeline.conversion.markdown import escape


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Text that looks alike."""

    text: str
    is_bold: bool = False
    is_italic: bool = False
    is_struck: bool = False
    link: str | None = None

    @property
    def look(self) -> tuple[bool, bool, bool]:
        """What tells it from its neighbours."""
        return self.is_bold, self.is_italic, self.is_struck


def inline(runs: Iterable[Run], *, is_plain: bool = False) -> str:
    """The runs as one Markdown text; `is_plain` leaves emphasis out, as in headings."""
    parts: list[str] = []
    for link, linked in groupby(runs, key=lambda run: run.link):
        text = "".join(
            _marked("".join(run.text for run in same), look, is_plain=is_plain)
            for look, same in groupby(linked, key=_look_of_ink)
        )
        parts.append(f"[{text.strip()}]({link})" if link and text.strip() else text)
    return escape("".join(parts)).strip()


def _look_of_ink(run: Run) -> tuple[bool, bool, bool]:
    return run.look


def _marked(text: str, look: tuple[bool, bool, bool], *, is_plain: bool) -> str:
    """Emphasis marks stand tight around the text: blanks at its ends move out of them."""
    core = text.strip()
    if is_plain or not core or not any(char.isalnum() for char in core):
        return text
    bold, italic, struck = look
    mark = "***" if bold and italic else "**" if bold else "*" if italic else ""
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    lines = [f"{mark}{line.strip()}{mark[::-1]}" if line.strip() else "" for line in core.split("\n")]
    marked = "\n".join(f"~~{line}~~" if struck and line else line for line in lines)
    return f"{before}{marked}{after}"
