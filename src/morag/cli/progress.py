"""One live line per input while it is worked on, on standard error: bars on a terminal, plain lines otherwise.

A finished input becomes a lasting line above the bars, so that a thousand of them scroll away like a log.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from morag.cli.output import say, shown

_NAME_WIDTH = 36


class Line(Protocol):
    """The line of one input."""

    def at(self, fraction: float, stage: str, message: str) -> None:
        """It is so far: `fraction` 0 to 1."""
        ...

    def done(self, text: str) -> None:
        """It is finished; `text` says with what."""
        ...

    def failed(self, text: str) -> None:
        """It is not going to be finished; `text` says why."""
        ...


class Board(Protocol):
    """Where the lines stand."""

    def line(self, name: str) -> Line:
        """A new line, named after its input."""
        ...


@contextmanager
def board() -> Generator[Board]:
    """The board that suits standard error; taken down when the context ends."""
    if not sys.stderr.isatty():
        yield _PlainBoard()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[label]}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("[dim]{task.fields[doing]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as progress:
        yield _LiveBoard(progress)


class _LiveBoard:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def line(self, name: str) -> "_LiveLine":
        return _LiveLine(self._progress, name)


class _LiveLine:
    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name
        self._id = progress.add_task("", total=1.0, label=escape(_short(name)), doing="waiting")

    def at(self, fraction: float, stage: str, message: str) -> None:
        self._progress.update(self._id, completed=fraction, doing=escape(shown(message or stage)[:60]))

    def done(self, text: str) -> None:
        self._end(f"[green]✓[/green] {escape(_short(self._name))}  [dim]{escape(shown(text))}")

    def failed(self, text: str) -> None:
        self._end(f"[red]✗[/red] {escape(_short(self._name))}  {escape(shown(text))}")

    def _end(self, lasting: str) -> None:
        self._progress.remove_task(self._id)
        self._progress.console.print(lasting)


class _PlainBoard:
    def line(self, name: str) -> "_PlainLine":
        return _PlainLine(name)


class _PlainLine:
    """Says each stage once: a log has no use for every percent."""

    def __init__(self, name: str) -> None:
        self._name, self._stage = shown(name), ""

    def at(self, fraction: float, stage: str, message: str) -> None:
        if stage != self._stage:
            self._stage = stage
            say(f"{self._name}: {fraction:4.0%} {shown(message or stage)}")

    def done(self, text: str) -> None:
        say(f"{self._name}: done, {shown(text)}")

    def failed(self, text: str) -> None:
        say(f"{self._name}: failed, {shown(text)}")


def _short(name: str) -> str:
    """The name, padded or cut in the middle to one width."""
    text = shown(name)
    if len(text) > _NAME_WIDTH:
        half = (_NAME_WIDTH - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    return text.ljust(_NAME_WIDTH)
