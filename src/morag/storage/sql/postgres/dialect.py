"""The shared statements and schema as Postgres reads them."""

import functools
import re

_ONLY_HERE = re.compile(r"/\*pg (.*?)\s*\*/")
_PARAMETER = re.compile(r"(?<!:):([a-z]\w*)")
_TYPES = {
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "BLOB": "BYTEA",
    # ids, keys and cursors are compared byte by byte, as SQLite does
    "TEXT": 'TEXT COLLATE "C"',
    " WITHOUT ROWID": "",
}
_TYPE = re.compile(r"\b(?:INTEGER|REAL|TEXT|BLOB)\b| WITHOUT ROWID\b")


@functools.cache
def statement(shared: str) -> tuple[str, tuple[str, ...]]:
    """A shared statement with numbered parameters, and their names in order."""
    names: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"${names.setdefault(found[1], len(names) + 1)}"

    text = _PARAMETER.sub(number, _ONLY_HERE.sub(r"\1", shared))
    return text, tuple(names)


def schema(shared: str) -> str:
    """The statements of a shared migration with the types of Postgres."""
    return _TYPE.sub(lambda found: _TYPES[found[0]], shared)
