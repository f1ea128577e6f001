"""How operations reach the database: one writer thread that commits in groups, a few readers beside it.

    write(act) ─▶ queue ─▶ BEGIN · act · act · … · COMMIT (fsync) ─▶ doorbells ─▶ futures
                             └ one failed after it wrote: ROLLBACK, then all again, each in a savepoint of its own

An act that raises is undone alone. The writer also looks whether other processes committed, and then rings all bells.
"""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import apsw

from morag.control.ports import Signals, Sound
from morag.domain.task import Task
from morag.storage.sql import records, troubles
from morag.storage.sql.connection import Connection, SqliteTransaction, connect, patiently
from morag.storage.sql.jobs import Job, Jobs, answer
from morag.storage.sql.presence import Presence
from morag.storage.sql.statements import reading
from morag.storage.sql.transaction import Act
from morag.storage.sql.writing import write_log
from morag.telemetry import log

T = TypeVar("T")
Sounds = Mapping[asyncio.AbstractEventLoop, Sound]

READERS = 3
GROUP_LIMIT = 256
"""Acts in one commit at most."""
GROUP_S = 0.02
"""No act joins a group older than this, so that other processes get their turn."""
CHECKPOINT_PAGES = 4096
"""From which size on the write-ahead log is copied into the file, in a moment in which nobody waits: 16 MiB."""
CHECKPOINT_PAGES_AT_MOST = 16_384
"""From which size on it is copied though somebody waits: 64 MiB."""
WATCH_S = 0.05
"""How long what another process committed may stay unseen."""


class Engine:
    """The database file, open. Made by `open_database`, which migrates first."""

    def __init__(self, path: Path, signals: Signals) -> None:
        """Open the file at `path`; `signals` is rung after each commit, from the writer thread."""
        self._signals = signals
        self._connection = connect(path)
        self._presence = Presence(path)
        self._log_pages = 0
        # instead of SQLite's own, which copies within a COMMIT, before those who wait for it are told
        self._connection.set_wal_hook(self._measure)
        self._jobs = Jobs(is_gathered=True, ring=signals.lane)
        self._seen_version = self._connection.pragma("data_version")
        self._watch_at = time.monotonic()
        self._readers = _Readers(path)
        self._thread = threading.Thread(target=self._serve, name="morag-sql-writer", daemon=True)
        self._thread.start()

    async def write(self, act: Act[T], *, is_urgent: bool = False, lanes: frozenset[str] = frozenset()) -> T:
        """Run `act` in a transaction; durable when this returns. Urgent ones go first in their group.

        The `lanes` are rung as soon as it is queued, not again when it is committed: a claim that this brings comes
        behind it, and so finds what it did, mostly in the same commit.
        Raises what `act` raises, StorageFull, and Unavailable: the file is busy, out of reach, damaged or closed.
        """
        return await self._jobs.put(act, is_urgent=is_urgent, lanes=lanes)

    async def read(self, act: Act[T]) -> T:
        """Run `act` on one snapshot of the database, beside the writer. Raises what `act` raises, and Unavailable."""
        return await self._readers.run(act)

    async def close(self) -> None:
        """Commit what is queued, then let go of the file."""
        self._jobs.close()
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._readers.close)

    def _serve(self) -> None:
        while self._jobs.wait(WATCH_S):
            if job := self._jobs.take():
                answer(*self._commit_group(job))
                self._checkpoint()
            if time.monotonic() >= self._watch_at:
                self._watch()
        self._connection.close()

    def _commit_group(self, first: Job) -> tuple[list[Job], Sounds]:
        """Do the first act and those that wait by then; the acts with what came of them, stored, and whom to ring."""
        group, bells = [first], SqliteTransaction(self._connection)
        try:
            self._presence.check()
            patiently(lambda: self._connection.execute("BEGIN IMMEDIATE"))
            if not self._perform_all(group, bells):
                self._connection.execute("ROLLBACK")
                bells = SqliteTransaction(self._connection)
                patiently(lambda: self._connection.execute("BEGIN IMMEDIATE"))
                self._perform_apart(group, bells)
            write_log(bells)
            ended = self._ended(bells)
            patiently(lambda: self._connection.execute("COMMIT"))
        except Exception as error:  # noqa: BLE001 -- whatever stops a commit belongs to the callers; the thread goes on
            self._abort(group, error)
            return group, {}
        return group, self._signals.sounds(bells.lanes, {task_id: ended.get(task_id) for task_id in bells.tasks})

    def _perform_all(self, group: list[Job], bells: SqliteTransaction) -> bool:
        """Do the first act and all that join it; False when one failed and left something behind."""
        until = time.monotonic() + GROUP_S
        job: Job | None = group[0]
        while job:
            before = self._connection.total_changes()
            self._perform(job, bells)
            if job.error and self._connection.total_changes() != before:
                return False
            if len(group) >= GROUP_LIMIT or time.monotonic() >= until:
                return True
            if job := self._jobs.take():
                group.append(job)
        return True

    def _perform_apart(self, group: Sequence[Job], bells: SqliteTransaction) -> None:
        """Do the acts again from their beginning, so that each can be undone alone."""
        for job in group:
            job.error = None
            self._connection.execute("SAVEPOINT act")
            self._perform(job, bells)
            if job.error:
                self._connection.execute("ROLLBACK TO act")
            self._connection.execute("RELEASE act")

    def _perform(self, job: Job, bells: SqliteTransaction) -> None:
        if job.future.cancelled():
            return
        transaction = SqliteTransaction(self._connection)
        try:
            job.result = job.act(transaction)
        except Exception as error:
            if not self._connection.in_transaction:
                raise  # a full disk and the like undo the whole group
            job.error = troubles.told(error)
        else:
            bells.lanes |= transaction.lanes - job.rung
            bells.tasks |= transaction.tasks
            bells.notes += transaction.notes

    def _abort(self, group: Sequence[Job], error: Exception) -> None:
        """Nothing of the group is stored: undo it and tell all."""
        for job in group:
            job.error = troubles.told(error)
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as second:
            log.critical("rollback_failed", error=str(second))

    def _ended(self, bells: SqliteTransaction) -> dict[str, Task]:
        """The records that somebody waits for and that end with this commit, so that nobody need read them again."""
        heard = self._signals.heard(bells.tasks)
        rows = bells.rows(reading.ENDED, ids=records.dump(heard)) if heard else []
        return {row[0]: records.task(row) for row in rows}

    def _measure(self, _connection: object, _name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Copy the write-ahead log into the file once it is long; the next commit then begins it anew."""
        limit = CHECKPOINT_PAGES_AT_MOST if self._jobs.is_any else CHECKPOINT_PAGES
        if self._log_pages < limit:
            return
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except apsw.Error as error:  # nothing is lost: it is still in the log, and tried with the next commit
            log.warning("checkpoint_failed", error=str(error))

    def _watch(self) -> None:
        self._watch_at = time.monotonic() + WATCH_S
        try:
            version = self._connection.pragma("data_version")  # changes with commits of others alone
        except apsw.Error as error:
            log.warning("database_unseen", error=str(error))
            return
        if version != self._seen_version:
            self._seen_version = version
            self._signals.everything()


class _Readers:
    """A few threads with connections that only read."""

    def __init__(self, path: Path) -> None:
        self._jobs = Jobs()
        self._threads = [
            threading.Thread(
                target=self._serve, args=(connect(path, is_reader=True),), name=f"morag-sql-reader-{n}", daemon=True
            )
            for n in range(READERS)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, act: Act[T]) -> T:
        return await self._jobs.put(act, is_read=True)

    def close(self) -> None:
        self._jobs.close()
        for thread in self._threads:
            thread.join()

    def _serve(self, connection: Connection) -> None:
        while self._jobs.wait():
            # all were asked for before the snapshot is taken, so each sees what was stored by then
            if jobs := self._jobs.take_share(READERS):
                _read(connection, jobs)
                answer(jobs)
        connection.close()


def _read(connection: Connection, jobs: Sequence[Job]) -> None:
    transaction = SqliteTransaction(connection)
    try:
        patiently(lambda: connection.execute("BEGIN"))
        for job in jobs:
            _look(transaction, job)
    except Exception as error:  # noqa: BLE001 -- it belongs to the callers; the thread goes on
        for job in jobs:
            job.error = troubles.told(error)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _look(transaction: SqliteTransaction, job: Job) -> None:
    if job.future.cancelled():
        return
    try:
        job.result = patiently(lambda: job.act(transaction))
    except apsw.ReadOnlyError as error:
        job.error = error  # an act that writes has no business here
    except Exception as error:  # noqa: BLE001 -- whatever it is belongs to the caller
        job.error = troubles.told(error)
