"""A whole copy of a database file while others write to it."""

import os
from pathlib import Path

from morag.storage.sql.connection import Connection, connect, patiently


def copy(source: Path, target: Path) -> None:
    """Write all that is committed in `source` to `target`, whole or not at all. Blocking; no writer waits."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    reader = connect(source, is_reader=True)
    writer = connect(unfinished)
    try:
        _pages(reader, writer)
        # as it comes it wants a -wal file beside it; a backup is one file
        writer.pragma("journal_mode", "delete")
    finally:
        writer.close()
        reader.close()
    _sync(unfinished)
    unfinished.replace(target)
    _sync(target.parent)


def _pages(reader: Connection, writer: Connection) -> None:
    with writer.backup("main", reader, "main") as pages:
        # all in one step: between steps a busy writer would make it begin again and again
        while not pages.done:
            patiently(lambda: pages.step(-1))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
