"""The schema's way forward on Postgres: the same numbered migrations as SQLite's, and of each what only Postgres needs.

All that is missing is applied in one transaction, under a lock that one starting server holds at a time.
"""

from collections.abc import Sequence
from importlib import resources

from morag.domain.errors import SchemaTooNew, StartupError
from morag.storage.sql.migrate import Migration
from morag.storage.sql.postgres import dialect
from morag.storage.sql.postgres.engine import transact
from morag.storage.sql.postgres.link import Link
from morag.storage.sql.transaction import Transaction
from morag.telemetry import log

_IS_OURS = """
SELECT relname = 'schema_version'
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = :schema ORDER BY 1 DESC LIMIT 1
"""
_VERSION = "SELECT number FROM schema_version"
_CREATE = """
CREATE SCHEMA IF NOT EXISTS "{schema}";
CREATE TABLE schema_version (number BIGINT NOT NULL);
INSERT INTO schema_version (number) VALUES (0);
"""
_RECORD = "UPDATE schema_version SET number = :number"


def own_statements(number: int) -> str:
    """What migration `number` does on Postgres alone, after its shared part."""
    folder = resources.files("morag.storage.sql.postgres") / "migrations"
    return "\n".join(entry.read_text() for entry in folder.iterdir() if entry.name.startswith(f"{number:04d}_"))


def migrate(link: Link, schema: str, migrations: Sequence[Migration]) -> None:
    """Bring the schema to the newest version, making it if there is none. Blocking.

    Raises SchemaTooNew, and StartupError for a schema that is not ours.
    """
    found, _ = transact(link, lambda tx: _version(tx, schema))
    if found > migrations[-1].number:
        raise SchemaTooNew(
            f"The database has schema {found}; this version of MoRAG knows up to {migrations[-1].number}.",
            hint="Install the newer MoRAG again, or restore a dump of the database from before its upgrade.",
        )
    if found < migrations[-1].number:
        # another transaction: what this connection knows of the schema is as of the beginning of one
        transact(link, lambda tx: _apply(link, tx, schema, migrations))


def _version(tx: Transaction, schema: str) -> int:
    """The schema's version, 0 if it is to be made."""
    is_ours = tx.row(_IS_OURS, schema=schema)
    if is_ours is None:
        return 0
    if is_ours[0]:
        return int(tx.rows(_VERSION)[0][0])
    raise StartupError(
        f"The schema {schema} of the database belongs to another program.",
        code="database_foreign",
        hint="Give MoRAG a database of its own (DATABASE_URL).",
    )


def _apply(link: Link, tx: Transaction, schema: str, migrations: Sequence[Migration]) -> None:
    tx.lock("migrate", schema)
    # another server may have been quicker between the look and the lock
    found = _version(tx, schema)
    if not found:
        link.script(_CREATE.format(schema=schema))
    for migration in migrations:
        if migration.number > found:
            link.script(f"{dialect.schema(migration.statements)}\n{own_statements(migration.number)}")
            tx.run(_RECORD, number=migration.number)
            log.info("database_migrated", schema=migration.number)
