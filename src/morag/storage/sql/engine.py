"""How operations reach the database: one writer thread that commits in groups, a few readers beside it.

    write(act) ─▶ queue ─▶ BEGIN · each act in a savepoint of its own · COMMIT (fsync) ─▶ doorbells ─▶ futures

An act that raises is rolled back alone.
"""

import asyncio
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from morag.control.ports import Signals
from morag.domain.errors import StorageFull
from morag.storage.sql.connection import Connection, SqliteTransaction, connect, patiently
from morag.storage.sql.jobs import Job, Jobs, answer
from morag.storage.sql.transaction import Act

T = TypeVar("T")

READERS = 3
GROUP_LIMIT = 256
"""Acts in one commit at most."""
GROUP_S = 0.02
"""No act joins a group older than this, so that other processes get their turn."""


class Engine:
    """The database file, open. Made by `open_database`, which migrates first."""

    def __init__(self, path: Path, signals: Signals) -> None:
        """Open the file at `path`; `signals` is rung after each commit, from the writer thread."""
        self._signals = signals
        self._connection = connect(path)
        self._jobs = Jobs()
        self._readers = _Readers(path)
        self._thread = threading.Thread(target=self._serve, name="morag-sql-writer", daemon=True)
        self._thread.start()

    async def write(self, act: Act[T], *, is_urgent: bool = False) -> T:
        """Run `act` in a transaction; durable when this returns. Urgent ones go first in their group.

        Raises what `act` raises, StorageFull, and Unavailable if the file stays busy or the engine is closed.
        """
        return await self._jobs.put(act, is_urgent=is_urgent)

    async def read(self, act: Act[T]) -> T:
        """Run `act` on one snapshot of the database, beside the writer."""
        return await self._readers.run(act)

    async def close(self) -> None:
        """Commit what is queued, then let go of the file."""
        self._jobs.close()
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._readers.close)

    def _serve(self) -> None:
        while self._jobs.wait():
            self._commit_group()
        self._connection.close()

    def _commit_group(self) -> None:
        group: list[Job] = []
        bells = SqliteTransaction(self._connection)
        try:
            patiently(lambda: self._connection.execute("BEGIN IMMEDIATE"))
            self._fill(group, bells)
            patiently(lambda: self._connection.execute("COMMIT"))
        except Exception as error:  # noqa: BLE001 -- whatever stops a commit belongs to the callers; the thread goes on
            self._abort(group, error)
        else:
            self._ring(bells)
        answer(group)

    def _fill(self, group: list[Job], bells: SqliteTransaction) -> None:
        until = time.monotonic() + GROUP_S
        while len(group) < GROUP_LIMIT and time.monotonic() < until and (job := self._jobs.take()):
            group.append(job)
            if not job.future.cancelled():
                self._perform(job, bells)

    def _perform(self, job: Job, bells: SqliteTransaction) -> None:
        transaction = SqliteTransaction(self._connection)
        self._connection.execute("SAVEPOINT act")
        try:
            job.result = job.act(transaction)
        except Exception as error:
            if not self._connection.in_transaction:
                raise  # a full disk and the like undo the whole group
            job.error = _translated(error)
            self._connection.execute("ROLLBACK TO act")
        self._connection.execute("RELEASE act")
        if job.error is None:
            bells.lanes |= transaction.lanes
            bells.tasks |= transaction.tasks

    def _abort(self, group: list[Job], error: Exception) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if not group and (job := self._jobs.take()):
            group.append(job)
        for job in group:
            job.error = _translated(error)

    def _ring(self, bells: SqliteTransaction) -> None:
        for lane in bells.lanes:
            self._signals.lane(lane)
        for task in bells.tasks:
            self._signals.task(task)


class _Readers:
    """A small pool of connections that only read."""

    def __init__(self, path: Path) -> None:
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="morag-sql-reader")
        self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        for _ in range(READERS):
            self._idle.put(connect(path, is_reader=True))

    async def run(self, act: Act[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, act)

    def close(self) -> None:
        self._threads.shutdown()
        for _ in range(READERS):
            self._idle.get().close()

    def _read(self, act: Act[T]) -> T:
        connection = self._idle.get()
        try:
            patiently(lambda: connection.execute("BEGIN"))
            return patiently(lambda: act(SqliteTransaction(connection)))
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._idle.put(connection)


def _translated(error: Exception) -> Exception:
    if isinstance(error, apsw.FullError):
        return StorageFull("The disk is full.", hint="Free some space; the request can then be repeated.")
    return error
