"""What every command writes by: answers to standard output, words about them to standard error.

With `--json` standard output carries JSON and nothing else. Names of files and messages of servers are strangers' text,
so they are shorn of control characters before a terminal sees them.
"""

import json
import sys
from collections.abc import Iterable

from morag.domain.errors import MoragError
from morag.domain.json import Json


def shown(text: str) -> str:
    """`text` on one line, safe to put on a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def answer(text: str = "") -> None:
    """A line of the answer."""
    sys.stdout.write(f"{text}\n")


def answer_json(value: Json) -> None:
    """The one JSON document of a command."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def answer_json_line(value: Json) -> None:
    """One JSON document of a stream, on a line of its own, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line beside the answer."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say_error(error: MoragError) -> None:
    """What went wrong, and what to do."""
    say(f"error: {shown(error.message)} ({error.code})")
    if error.hint:
        say(f"hint: {shown(error.hint)}")


def failure_json(error: MoragError) -> dict[str, Json]:
    """An error as programs read it."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Lines of left-aligned columns, two spaces between them."""
    lines = [head, *[tuple(shown(cell) for cell in row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
