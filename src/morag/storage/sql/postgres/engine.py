"""How acts reach the server: a few threads with a connection each, every act in a transaction of its own.

    write(act) ─▶ queue ─▶ BEGIN · act · COMMIT ─▶ doorbells ─▶ future
                             └ overtaken by another transaction: ROLLBACK, a nap, again from the beginning

Transactions see what is committed when a statement begins (`READ COMMITTED`); where an act reads first and writes then,
it holds a row or a named lock between the two. A read sees one snapshot.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from morag.control.ports import Signals
from morag.storage.sql.jobs import Job, Jobs, answer
from morag.storage.sql.postgres import troubles
from morag.storage.sql.postgres.link import Address, Link
from morag.storage.sql.transaction import Act, Row, Value
from morag.storage.sql.writing import write_log

T = TypeVar("T")

CONNECTIONS = 6
"""To the server at most; each is made with the first act that finds the others busy."""
TRIES = 12
"""How often an act is run that others overtake each time."""
_FIRST_NAP_S = 0.002
_LONGEST_NAP_S = 0.25
_BEGIN_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"


class PostgresTransaction:
    """One act inside a transaction of the server (`transaction.Transaction`)."""

    __slots__ = ("_link", "lanes", "notes", "tasks")

    def __init__(self, link: Link) -> None:
        self._link = link
        self.lanes: set[str] = set()
        """Lanes where a task became claimable."""
        self.tasks: set[str] = set()
        """Tasks whose record or log changed."""
        self.notes: list[tuple[str, float, str, str]] = []
        """Lines for the tasks' logs that are not written yet."""

    def rows(self, statement: str, /, **values: Value) -> list[Row]:
        """Run a statement with named parameters; all rows."""
        return self._link.rows(statement, values)

    def row(self, statement: str, /, **values: Value) -> Row | None:
        """Run a statement to its end; its first row."""
        found = self.rows(statement, **values)
        return found[0] if found else None

    def run(self, statement: str, /, **values: Value) -> int:
        """Run a statement; how many rows it changed."""
        return self._link.run(statement, values)

    def lock(self, *name: str) -> None:
        """Wait until no other transaction holds the lock of that name; held to the end of this one."""
        self.rows(_LOCK, name="\x1f".join(name))


class PostgresEngine:
    """The server, as a `transaction.Transactor`. Made by `open_postgres`, which migrates first."""

    def __init__(self, address: Address, signals: Signals) -> None:
        """Serve with connections to `address`; `signals` is rung after each commit, from a thread."""
        self.address = address
        self._signals = signals
        self._jobs = Jobs()
        self._threads = [
            threading.Thread(target=self._serve, name=f"morag-sql-{n}", daemon=True) for n in range(CONNECTIONS)
        ]
        for thread in self._threads:
            thread.start()

    async def write(self, act: Act[T], *, is_urgent: bool = False, lanes: frozenset[str] = frozenset()) -> T:
        """Run `act` in a transaction; durable when this returns. Urgent ones go before others that wait.

        All `lanes` are rung when it is committed: a claim on another connection would not see it before.
        Raises what `act` raises, StorageFull, and Unavailable: the server is busy or away, or the engine closed. After
        an Unavailable the act may have been committed, if the connection broke just then.
        """
        del lanes
        return await self._jobs.put(act, is_urgent=is_urgent)

    async def read(self, act: Act[T]) -> T:
        """Run `act` on one snapshot of the database. Raises Unavailable."""
        return await self._jobs.put(act, is_read=True)

    async def close(self) -> None:
        """Do what is queued, then take leave of the server."""
        self._jobs.close()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _serve(self) -> None:
        link = Link(self.address)
        while self._jobs.wait():
            if job := self._jobs.take():
                self._perform(link, job)
                answer([job])
        link.close()

    def _perform(self, link: Link, job: Job) -> None:
        if job.future.cancelled():
            return
        try:
            job.result, bells = transact(link, job.act, _BEGIN_READ if job.is_read else _BEGIN_WRITE)
        except Exception as error:  # noqa: BLE001 -- whatever it is belongs to the caller; the thread goes on
            job.error = troubles.told(error)
        else:
            self._ring(bells)

    def _ring(self, bells: PostgresTransaction) -> None:
        for lane in bells.lanes:
            self._signals.lane(lane)
        for task in bells.tasks:
            self._signals.task(task)


def transact(
    link: Link, act: Callable[[PostgresTransaction], T], begin: str = _BEGIN_WRITE
) -> tuple[T, PostgresTransaction]:
    """Run an act in a transaction, again while others overtake it; its result and the bells to ring. Blocking."""
    for nap_s in _naps():
        try:
            return _once(link, act, begin)
        except Exception as error:
            if not troubles.is_overtaken(error):
                raise
        time.sleep(nap_s)
    return _once(link, act, begin)


def _naps() -> Iterator[float]:
    longest_s = _FIRST_NAP_S
    for _ in range(TRIES - 1):
        yield random.uniform(0.0, longest_s)  # noqa: S311 -- spreads retries, guards nothing
        longest_s = min(2 * longest_s, _LONGEST_NAP_S)


def _once(link: Link, act: Callable[[PostgresTransaction], T], begin: str) -> tuple[T, PostgresTransaction]:
    _begin(link, begin)
    transaction = PostgresTransaction(link)
    try:
        result = act(transaction)
        write_log(transaction)
        link.script("COMMIT")
    except Exception as error:
        _undo(link, error)
        raise
    return result, transaction


def _begin(link: Link, begin: str) -> None:
    try:
        link.open()
        link.script(begin)
    except Exception as error:
        if not troubles.is_lost(error):
            raise
        # nothing was done yet: a connection that broke while nobody used it is made anew, once
        link.drop()
        link.open()
        link.script(begin)


def _undo(link: Link, error: Exception) -> None:
    if troubles.is_lost(error) or not link.is_open:
        link.drop()
        return
    try:
        link.script("ROLLBACK")
    except Exception as second:
        link.drop()
        if not troubles.is_lost(second):
            raise
