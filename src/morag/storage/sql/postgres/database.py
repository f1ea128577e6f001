"""The Postgres server as a whole: connected and migrated, its stores, its end."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from morag.control.ports import Signals
from morag.domain.errors import InvalidRequest
from morag.storage import host
from morag.storage.sql.documents import SqlDocumentStore, SqlMeta
from morag.storage.sql.keys import SqlKeyStore
from morag.storage.sql.migrate import known_migrations
from morag.storage.sql.postgres import troubles
from morag.storage.sql.postgres.engine import PostgresEngine
from morag.storage.sql.postgres.link import Address, Link
from morag.storage.sql.postgres.migrate import migrate
from morag.storage.sql.tasks import SqlTaskStore
from morag.storage.sql.transaction import Moment, Transaction
from morag.storage.sql.uploads import SqlUploadStore
from morag.storage.sql.webhooks import SqlDeliveryStore
from morag.storage.sql.workers import SqlWorkerStore

SCHEMA = "morag"
_CLOCK = "the server"
_NOW = "SELECT extract(epoch FROM clock_timestamp())::double precision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One of several machines that share the server (`transaction.Host`): every time is the server's."""

    boot_id: str
    is_alive: Callable[[int, float | None], bool]
    turned: Callable[[], Moment] | None
    """A clock that tests turn, instead of the server's."""

    def moment(self, tx: Transaction, /) -> Moment:
        """Now, by the server's clock."""
        if self.turned:
            return self.turned()
        ((now,),) = tx.rows(_NOW)
        return Moment(now=now, steady=now, monotonic=now, boot_id=_CLOCK)

    def is_gone(self, boot_id: str, pid: int | None, pid_started_at: float | None) -> bool:
        """Whether a process of this run of this machine ended; of other machines only leases tell."""
        return pid is not None and boot_id == self.boot_id and not self.is_alive(pid, pid_started_at)


class PostgresDatabase:
    """One schema of a server and the stores in it."""

    def __init__(self, engine: PostgresEngine, member: Member) -> None:
        self._engine = engine
        self.tasks = SqlTaskStore(engine, member)
        self.documents = SqlDocumentStore(engine, member)
        self.meta = SqlMeta(engine)
        self.keys = SqlKeyStore(engine)
        self.workers = SqlWorkerStore(engine, member)
        self.uploads = SqlUploadStore(engine, member)
        self.deliveries = SqlDeliveryStore(engine, member)

    async def backup(self, path: Path) -> None:
        """Refused: a server's backups are its operator's. Raises InvalidRequest."""
        raise InvalidRequest(
            f"No copy of a Postgres database is written to {path.name}.",
            code="backup_elsewhere",
            hint=f"Use the server's own tools: pg_dump --schema={SCHEMA}, or its continuous archive.",
        )

    async def close(self) -> None:
        """Do what is queued and take leave of the server."""
        await self._engine.close()


async def open_postgres(
    url: str,
    *,
    signals: Signals,
    schema: str = SCHEMA,
    boot_id: str | None = None,
    is_alive: Callable[[int, float | None], bool] = host.is_alive,
    turned: Callable[[], Moment] | None = None,
) -> PostgresDatabase:
    """Connect to `url`, making or migrating the schema first; `signals` is rung after each commit, from a thread.

    Leases and timers go by the server's clock. Raises SchemaTooNew, and StartupError for a server that cannot be
    reached or does not let us in. `boot_id`, `is_alive` and the clock are the true ones unless a test turns them.
    """
    if not re.fullmatch("[a-z_][a-z0-9_]*", schema):
        raise InvalidRequest("A schema is named in small letters, digits and underscores.", field="schema")
    address = Address(url=url, schema=schema)
    await asyncio.to_thread(_prepare, address)
    member = Member(boot_id=boot_id or host.boot_id(), is_alive=is_alive, turned=turned)
    return PostgresDatabase(PostgresEngine(address, signals), member)


def _prepare(address: Address) -> None:
    link = Link(address)
    try:
        migrate(link, address.schema, known_migrations())
    except Exception as error:
        raise troubles.told_at_start(error) from error
    finally:
        link.close()
