"""What `make demo` shows: live lines on a terminal, plain ones in a log."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text
from world import Question

NAME_WIDTH = 14
PASSAGE_CHARS = 240


class Lines:
    """One line per file: its name, a bar, what is being done."""

    def __init__(self, console: Console, progress: Progress | None) -> None:
        self._console, self._progress = console, progress
        self._ids: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}

    def at(self, name: str, fraction: float, doing: str) -> None:
        """The file is so far."""
        if self._progress:
            self._progress.update(self._id(name), completed=fraction, doing=escape(doing[:48]))
        elif self._said.get(name) != doing:
            self._said[name] = doing
            self._console.print(f"  {name:<{NAME_WIDTH}} {fraction:4.0%}  {doing}", markup=False)

    def end(self, name: str, told: str, *, is_good: bool) -> None:
        """The file is done with."""
        mark, colour = ("✓", "green") if is_good else ("✗", "red")
        if self._progress:
            done = 1.0 if is_good else None
            self._progress.update(self._id(name), completed=done, doing=f"[{colour}]{mark}[/] {escape(told)}")
            self._progress.stop_task(self._id(name))
        else:
            self._console.print(f"  {name:<{NAME_WIDTH}} {mark} {told}", markup=False)

    def _id(self, name: str) -> TaskID:
        if self._progress and name not in self._ids:
            self._ids[name] = self._progress.add_task(name, total=1.0, doing="")
        return self._ids[name]


class Screen:
    """Everything the demo prints."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=False)

    def say(self, text: str = "", *, style: str = "") -> None:
        """A line."""
        self._console.print(Text(text, style=style))

    def heading(self, text: str) -> None:
        """A line that begins a part."""
        self._console.print()
        self._console.print(Text(text, style="bold"))

    @contextmanager
    def lines(self) -> Generator[Lines]:
        """The progress lines, while files are ingested."""
        if not self._console.is_terminal:
            yield Lines(self._console, None)
            return
        columns = (
            TextColumn(f"  {{task.description:<{NAME_WIDTH}}}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}"),
        )
        with Progress(*columns, console=self._console) as progress:
            yield Lines(self._console, progress)

    def markdown(self, name: str, kind: str, text: str, lines: int) -> None:
        """The beginning of a file's Markdown."""
        kept = [line for line in text.splitlines() if line.strip()][:lines]
        self._console.print()
        body = Text("\n".join(kept), no_wrap=True, overflow="ellipsis")
        self._console.print(
            Panel(body, title=f"{name} ({kind})", title_align="left", border_style="cyan", padding=(0, 1))
        )

    def hits(self, question: Question, hits: Sequence[dict[str, Any]]) -> None:
        """A question, where its answers stand, and the passage itself."""
        self.heading(f"? {question.text}")
        for n, hit in enumerate(hits, start=1):
            source = str(hit["source"]).rpartition("/")[2]
            is_expected = source == question.file
            where = " · ".join(part for part in (source, place(hit)) if part)
            line = Text(f"  {n}. {where}  {hit['score']:.2f}", style="green" if is_expected else "dim")
            self._console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
            if n == 1 or is_expected:
                self._console.print(Padding(passage(str(hit["text"]), question.answer), (0, 0, 0, 5)))


def passage(text: str, answer: str) -> Text:
    """A piece of the text, with the answer in it where it stands there word for word."""
    words = " ".join(text.split())
    start = max(0, words.lower().find(answer.lower()) - PASSAGE_CHARS // 2)
    end = start + PASSAGE_CHARS
    shown = Text(("…" if start else "") + words[start:end] + ("…" if end < len(words) else ""))
    shown.highlight_words([answer], "bold yellow", case_sensitive=False)
    return shown


def place(hit: dict[str, Any]) -> str:
    """Page, slide, sheet, second and headings of a hit, those that apply."""
    parts = [f"{kind} {hit[kind]}" for kind in ("page", "slide", "sheet") if hit.get(kind) is not None]
    if hit.get("start_s") is not None:
        parts.append(f"at second {hit['start_s']:.0f}")
    if hit.get("heading_path"):
        parts.append(" > ".join(hit["heading_path"]))
    return " · ".join(parts)
