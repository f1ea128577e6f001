"""The schema's way forward: numbered migrations, a copy of the file before each, newer files refused.

A file's version is its `user_version`; migration N takes it from N - 1 to N in one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import apsw

from morag.domain.errors import SchemaTooNew, StartupError
from morag.storage.sql.backup import copy
from morag.storage.sql.connection import Connection, connect, patiently
from morag.telemetry import log

APPLICATION_ID = 0x4D6F5241
"""`MoRA`, in the header of each database file of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step: `number` counts from 1 without gaps."""

    number: int
    statements: str


def known_migrations() -> list[Migration]:
    """All migrations of this version, in order."""
    folder = resources.files("morag.storage.sql") / "migrations"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [Migration(number=int(entry.name[:4]), statements=entry.read_text()) for entry in found]


def migrate(path: Path, migrations: Sequence[Migration]) -> None:
    """Bring the file at `path` to the newest schema, making it if there is none.

    Raises SchemaTooNew, and StartupError for a file that is broken or not ours.
    """
    try:
        _migrate(path, migrations)
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StartupError(
            f"The database file {path.name} is damaged.",
            code="database_damaged",
            hint="Move it and its -wal and -shm files aside, and put a copy that `morag backup` made in their place.",
        ) from error


def _migrate(path: Path, migrations: Sequence[Migration]) -> None:
    connection = connect(path)
    try:
        _check_owner(connection, path)
        _check_version(connection, path, migrations)
        is_new = _version(connection) == 0
        for migration in migrations:
            if _version(connection) < migration.number:
                if not is_new:
                    copy(path, path.with_name(f"{path.name}.before-{migration.number:04d}"))
                _apply(connection, migration)
    finally:
        connection.close()


def _check_owner(connection: Connection, path: Path) -> None:
    is_empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall() == [(0,)]
    if not is_empty and connection.pragma("application_id") != APPLICATION_ID:
        raise StartupError(
            f"The file {path.name} is a database of another program.",
            code="database_foreign",
            hint="Choose another data folder (MORAG_DATA_DIR), or move the file away.",
        )


def _check_version(connection: Connection, path: Path, migrations: Sequence[Migration]) -> None:
    found, newest = _version(connection), migrations[-1].number
    if found > newest:
        raise SchemaTooNew(
            f"The database file {path.name} has schema {found}; this version of MoRAG knows up to {newest}.",
            hint=f"Install the newer MoRAG again, or put back the copy {path.name}.before-{newest + 1:04d} beside it.",
        )


def _apply(connection: Connection, migration: Migration) -> None:
    patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
    try:
        # another process may have been quicker between the look and the lock
        if _version(connection) < migration.number:
            connection.execute(migration.statements)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", migration.number)
            log.info("database_migrated", schema=migration.number)
        patiently(lambda: connection.execute("COMMIT"))
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: Connection) -> int:
    return int(connection.pragma("user_version"))
