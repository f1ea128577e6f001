"""One connection to the database file, and what an operation sees of it.

Nothing here waits inside SQLite: a busy file is tried again with jitter (`patiently`), because SQLite's own busy
handler starves one of several busy processes.
"""

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast

import apsw

from morag.domain.errors import Unavailable
from morag.storage.sql.transaction import Row, Value

T = TypeVar("T")

BUSY_LIMIT_S = 20.0
"""How long other processes may keep the file before an operation is given up."""
_LONGEST_NAP_S = 0.004
_STATEMENTS_KEPT = 256
_CACHE_KIB = 16 * 1024


class Cursor(Protocol):
    """The part of `apsw.Cursor` used here, typed."""

    def fetchall(self) -> list[Row]:
        """All rows left."""
        ...


class Backup(Protocol):
    """The part of `apsw.Backup` used here, typed."""

    @property
    def done(self) -> bool:
        """Whether all pages are copied."""
        ...

    def step(self, npages: int = -1) -> bool:
        """Copy so many pages, -1 for all; whether all are copied."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...


class Connection(Protocol):
    """The part of `apsw.Connection` used here, typed."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def execute(self, statements: str, bindings: Mapping[str, Value] | None = None, /) -> Cursor:
        """Run statements up to the first row."""
        ...

    def changes(self) -> int:
        """Rows changed by the last statement."""
        ...

    def total_changes(self) -> int:
        """Rows changed since the connection was opened, undone ones too."""
        ...

    def pragma(self, name: str, value: int | str | None = None, /) -> Any:
        """Set or ask a setting of the file or the connection."""
        ...

    def set_wal_hook(self, callable: Callable[[Any, str, int], int], /) -> None:  # noqa: A002 - apsw's own name
        """Call back after each commit with the pages in the write-ahead log, instead of copying it at 1000."""
        ...

    def backup(self, databasename: str, sourceconnection: Any, sourcedatabasename: str, /) -> Backup:
        """Begin to copy another connection's database into this one."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class SqliteTransaction:
    """One act inside a transaction of the file (`transaction.Transaction`)."""

    __slots__ = ("_connection", "lanes", "notes", "tasks")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.lanes: set[str] = set()
        """Lanes where a task became claimable."""
        self.tasks: set[str] = set()
        """Tasks whose record or log changed."""
        self.notes: list[tuple[str, float, str, str]] = []
        """Lines for the tasks' logs that are not written yet."""

    def rows(self, statement: str, /, **values: Value) -> list[Row]:
        """Run a statement with named parameters; all rows."""
        return self._connection.execute(statement, values).fetchall()

    def row(self, statement: str, /, **values: Value) -> Row | None:
        """Run a statement to its end; its first row."""
        found = self.rows(statement, **values)
        return found[0] if found else None

    def run(self, statement: str, /, **values: Value) -> int:
        """Run a statement; how many rows it changed."""
        self._connection.execute(statement, values)
        return self._connection.changes()

    def lock(self, *name: str) -> None:
        """Nothing to wait for: the file has one writer at a time."""


def connect(path: Path, *, is_reader: bool = False) -> Connection:
    """Open the file: WAL, commits that survive a power cut. A reader's connection cannot write."""
    flags = apsw.SQLITE_OPEN_READWRITE | (0 if is_reader else apsw.SQLITE_OPEN_CREATE)
    opened = apsw.Connection(str(path), flags=flags, statementcachesize=_STATEMENTS_KEPT)
    opened.set_busy_timeout(0)
    # plans do not look at bound values; else a statement with `LIMIT :n` is prepared anew at each use (up to 200 µs)
    opened.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection = cast("Connection", opened)
    if is_reader:
        connection.pragma("query_only", 1)
        return connection
    patiently(lambda: connection.pragma("journal_mode", "wal"))
    connection.pragma("synchronous", 2)
    connection.pragma("cache_size", -_CACHE_KIB)
    connection.pragma("journal_size_limit", 64 * 1024 * 1024)
    return connection


def patiently(act: Callable[[], T], *, limit_s: float = BUSY_LIMIT_S) -> T:
    """Do `act`, again and again while another process holds the file. Raises Unavailable after `limit_s`."""
    until = time.monotonic() + limit_s
    while True:
        try:
            return act()
        except apsw.BusyError as error:
            if time.monotonic() > until:
                raise Unavailable("The database is busy.", hint="Try again in a moment.") from error
            time.sleep(random.uniform(0.0, _LONGEST_NAP_S))  # noqa: S311 -- spreads retries, guards nothing
