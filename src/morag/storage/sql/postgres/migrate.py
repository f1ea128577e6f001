"""The schema's way forward on Postgres: the same numbered migrations as SQLite's, and of each what only Postgres needs.

All that is missing is applied in one transaction, under a lock that one starting server holds at a time.
"""

from collections.abc import Sequence
from importlib import resources

from morag.domain.errors import SchemaTooNew, StartupError
from morag.storage.sql.migrate import Migration
from morag.storage.sql.postgres import dialect
from morag.storage.sql.postgres.engine import PostgresTransaction, transact
from morag.storage.sql.postgres.link import Link
from morag.telemetry import log

_IS_THERE = """
SELECT to_regnamespace(quote_ident(:schema)) IS NOT NULL,
    to_regclass(quote_ident(:schema) || '.schema_version') IS NOT NULL,
    EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(:schema)))
"""
_VERSION = "SELECT number FROM schema_version"
_RECORD = "UPDATE schema_version SET number = :number"


def own_statements(number: int) -> str:
    """What migration `number` does on Postgres alone, after its shared part."""
    folder = resources.files("morag.storage.sql.postgres") / "migrations"
    return "\n".join(entry.read_text() for entry in folder.iterdir() if entry.name.startswith(f"{number:04d}_"))


def migrate(link: Link, schema: str, migrations: Sequence[Migration]) -> None:
    """Bring the schema to the newest version, making it if there is none. Blocking.

    Raises SchemaTooNew, and StartupError for a schema that is not ours.
    """

    def act(tx: PostgresTransaction) -> None:
        found = _version(tx, schema)
        if found > migrations[-1].number:
            raise SchemaTooNew(
                f"The database has schema {found}; this version of MoRAG knows up to {migrations[-1].number}.",
                hint="Install the newer MoRAG again, or restore a dump of the database from before its upgrade.",
            )
        missing = [migration for migration in migrations if migration.number > found]
        if missing:
            _apply(link, tx, schema, missing)

    transact(link, act)


def _version(tx: PostgresTransaction, schema: str) -> int:
    """The schema's version, 0 if it is to be made."""
    ((_, is_ours, has_tables),) = tx.rows(_IS_THERE, schema=schema)
    if is_ours:
        return int(tx.rows(_VERSION)[0][0])
    if has_tables:
        raise StartupError(
            f"The schema {schema} of the database belongs to another program.",
            code="database_foreign",
            hint="Give MoRAG a database of its own (DATABASE_URL).",
        )
    return 0


def _apply(link: Link, tx: PostgresTransaction, schema: str, missing: Sequence[Migration]) -> None:
    tx.lock("migrate", schema)
    # another server may have been quicker between the look and the lock
    found = _version(tx, schema)
    if not found:
        link.script(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        link.script("CREATE TABLE schema_version (number BIGINT NOT NULL)")
        link.script("INSERT INTO schema_version (number) VALUES (0)")
    for migration in missing:
        if migration.number > found:
            link.script(dialect.schema(migration.statements))
            link.script(own_statements(migration.number))
            tx.run(_RECORD, number=migration.number)
            log.info("database_migrated", schema=migration.number)
