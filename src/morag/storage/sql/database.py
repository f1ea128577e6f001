"""The SQLite file as a whole: opened and migrated, its stores, its backup, its end."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from morag.control.ports import Clock, Signals
from morag.storage import host
from morag.storage.sql.backup import copy
from morag.storage.sql.documents import SqlDocumentStore, SqlMeta
from morag.storage.sql.engine import Engine
from morag.storage.sql.migrate import known_migrations, migrate
from morag.storage.sql.tasks import Host, SqlTaskStore


class Database:
    """One open database file and the stores in it."""

    def __init__(self, path: Path, engine: Engine, machine: Host) -> None:
        self._path = path
        self._engine = engine
        self.tasks = SqlTaskStore(engine, machine)
        self.documents = SqlDocumentStore(engine)
        self.meta = SqlMeta(engine)

    async def backup(self, path: Path) -> None:
        """Write all that is committed to the file `path`, whole or not at all, while work goes on."""
        await asyncio.to_thread(copy, self._path, path)

    async def close(self) -> None:
        """Commit what is queued and let go of the file."""
        await self._engine.close()


async def open_database(
    path: Path,
    *,
    clock: Clock,
    signals: Signals,
    boot_id: str | None = None,
    is_alive: Callable[[int, float | None], bool] = host.is_alive,
) -> Database:
    """Open the file at `path`, making or migrating it first; `signals` is rung after each commit, from a thread.

    Raises SchemaTooNew, and StartupError for a file that is damaged or not ours. `boot_id` and `is_alive` are the
    machine's own unless a test turns them.
    """
    await asyncio.to_thread(migrate, path, known_migrations())
    engine = await asyncio.to_thread(Engine, path, signals)
    machine = Host(clock=clock, boot_id=boot_id or host.boot_id(), is_alive=is_alive)
    return Database(path, engine, machine)
