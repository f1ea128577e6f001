"""The SQLite file as a whole: opened and migrated, its stores, its backup, its end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from morag.control.ports import Signals, SteadyClock
from morag.storage import host
from morag.storage.sql import steady_time
from morag.storage.sql.backup import copy
from morag.storage.sql.documents import SqlDocumentStore, SqlMeta
from morag.storage.sql.engine import Engine
from morag.storage.sql.keys import SqlKeyStore
from morag.storage.sql.migrate import known_migrations, migrate
from morag.storage.sql.tasks import SqlTaskStore
from morag.storage.sql.transaction import Moment, Transaction
from morag.storage.sql.uploads import SqlUploadStore
from morag.storage.sql.webhooks import SqlDeliveryStore
from morag.storage.sql.workers import SqlWorkerStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The one machine that uses the file (`transaction.Host`): leases go by its boot and monotonic clock."""

    clock: SteadyClock
    ahead_s: float
    """What is added to the uptime to have the steady time."""
    boot_id: str
    is_alive: Callable[[int, float | None], bool]

    def moment(self, _tx: Transaction, /) -> Moment:
        """Now, by the machine's clocks."""
        clock = self.clock
        steady = clock.uptime() + self.ahead_s
        return Moment(now=clock.now(), steady=steady, monotonic=clock.monotonic(), boot_id=self.boot_id)

    def is_gone(self, boot_id: str, pid: int | None, pid_started_at: float | None) -> bool:
        """Whether a process of this machine ended; no process of an earlier boot is left."""
        return pid is not None and (boot_id != self.boot_id or not self.is_alive(pid, pid_started_at))


class Database:
    """One open database file and the stores in it."""

    def __init__(self, path: Path, engine: Engine, machine: Machine) -> None:
        self._path = path
        self._engine = engine
        self.tasks = SqlTaskStore(engine, machine)
        self.documents = SqlDocumentStore(engine, machine)
        self.meta = SqlMeta(engine)
        self.keys = SqlKeyStore(engine)
        self.workers = SqlWorkerStore(engine, machine)
        self.uploads = SqlUploadStore(engine, machine)
        self.deliveries = SqlDeliveryStore(engine, machine)

    async def backup(self, path: Path) -> None:
        """Write all that is committed to the file `path`, whole or not at all, while work goes on."""
        await asyncio.to_thread(copy, self._path, path)

    async def close(self) -> None:
        """Commit what is queued and let go of the file."""
        await self._engine.close()


async def open_database(
    path: Path,
    *,
    clock: SteadyClock,
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
    try:
        machine = await machine_at(engine, clock, boot_id or host.boot_id(), is_alive)
    except BaseException:
        await engine.close()
        raise
    return Database(path, engine, machine)


async def machine_at(
    engine: Engine, clock: SteadyClock, boot_id: str, is_alive: Callable[[int, float | None], bool]
) -> Machine:
    """This machine, its steady time begun in the file if nobody did in this boot. Raises StorageFull, Unavailable."""
    ahead_s = await engine.read(lambda tx: steady_time.known(tx, boot_id))
    if ahead_s is None:
        ahead_s = await engine.write(lambda tx: steady_time.begin(tx, clock, boot_id))
    return Machine(clock=clock, ahead_s=ahead_s, boot_id=boot_id, is_alive=is_alive)
