"""The stores the machine drives, each called as if it were not asynchronous, and looked at as a whole."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tests.contract.conftest import Bells, Documents, FakeClock

from morag.control.ports import SweepReport, TaskStore
from morag.domain.content import StoredDocument
from morag.domain.history import Attempt, Event
from morag.domain.task import Task
from morag.storage.memory.documents import MemoryDocumentStore
from morag.storage.memory.tasks import MemoryTaskStore
from morag.storage.sql import records, transaction
from morag.storage.sql.connection import connect
from morag.storage.sql.database import Database, machine_at
from morag.storage.sql.engine import Engine
from morag.storage.sql.migrate import known_migrations, migrate
from morag.storage.sql.postgres.database import Member, PostgresDatabase
from morag.storage.sql.postgres.engine import PostgresEngine
from morag.storage.sql.postgres.link import Address
from morag.storage.sql.tasks import SqlTaskStore
from morag.storage.sql.transaction import Act, Moment, Row, Transaction, Transactor

T = TypeVar("T")
EVERYTHING = (
    "SELECT * FROM records",
    "SELECT * FROM document_records",
    "SELECT task_id, seq, at, kind, data FROM events ORDER BY task_id, seq",
    """
    SELECT task_id, n, fence, worker_id, lane, started_at, ended_at, outcome, failure, decision FROM attempts
    ORDER BY task_id, n
    """,
)
USERS = ("ada", "bob", "eve")


@dataclass
class Machine:
    """The computer around a store: its clocks, bells, dead processes and the run of its operating system."""

    clock: FakeClock = field(default_factory=FakeClock)
    bells: Bells = field(default_factory=Bells)
    dead: set[int] = field(default_factory=set[int])
    boot_id: str = "boot-0"

    def is_alive(self, pid: int, _started_at: float | None) -> bool:
        return pid not in self.dead


@dataclass(frozen=True, slots=True)
class Whole:
    """All a store holds, by task id, and by user and document id."""

    tasks: Mapping[str, Task]
    events: Mapping[str, Sequence[Event]]
    attempts: Mapping[str, Sequence[Attempt]]
    documents: Mapping[tuple[str, str], StoredDocument]


class Subject(Protocol):
    """A store under test."""

    @property
    def tasks(self) -> TaskStore: ...
    @property
    def documents(self) -> Documents: ...
    @property
    def can_restart(self) -> bool: ...
    @property
    def is_shared(self) -> bool: ...

    def run(self, act: Coroutine[Any, Any, T]) -> T: ...
    def whole(self) -> Whole: ...
    def look(self) -> None: ...
    def repair(self) -> SweepReport: ...
    def restart(self) -> None: ...
    def close(self) -> None: ...


Open = Callable[[Machine], Subject]


class InMemory:
    """The store without a file. It never waits, so its acts need no event loop."""

    can_restart = False
    is_shared = False

    def __init__(self, machine: Machine) -> None:
        self.documents = MemoryDocumentStore(machine.clock)
        self.tasks = MemoryTaskStore(
            self.documents,
            clock=machine.clock,
            signals=machine.bells,
            boot_id=machine.boot_id,
            is_alive=machine.is_alive,
        )

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        try:
            act.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("the store in memory waited")

    def whole(self) -> Whole:
        tasks: dict[str, Task] = {}
        for user in USERS:
            self._add(tasks, self.run(self.tasks.find(user_id=user, limit=10_000)))
        shown = [one for user in USERS for one in self.run(self.documents.documents(user, limit=100))]
        return Whole(
            tasks=tasks,
            events={task_id: self.run(self.tasks.events(task_id)) for task_id in tasks},
            attempts={task_id: self.run(self.tasks.attempts(task_id)) for task_id in tasks},
            documents={(one.user_id, one.publication.document_id): one for one in shown},
        )

    def look(self) -> None:
        raise AssertionError("in memory a sweep is one act")

    def repair(self) -> SweepReport:
        raise AssertionError("in memory a sweep is one act")

    def restart(self) -> None:
        raise AssertionError("memory does not outlive its process")

    def close(self) -> None:
        """Nothing is held open."""

    def _add(self, found: dict[str, Task], tasks: Sequence[Task]) -> None:
        for task in tasks:
            found[task.id] = task
            self._add(found, self.run(self.tasks.children(task.id)))


class LateSweep:
    """A sweep that waits between what it reads and what it writes: a `Transactor` with a gate before its writes."""

    def __init__(self, engine: Transactor, host: transaction.Host) -> None:
        self._engine = engine
        self._host = host
        self._arrived, self._gate = asyncio.Event(), asyncio.Event()
        self._sweep: asyncio.Task[SweepReport] | None = None

    async def write(self, act: Act[T], *, is_urgent: bool = False, lanes: frozenset[str] = frozenset()) -> T:
        self._arrived.set()
        await self._gate.wait()
        return await self._engine.write(act, is_urgent=is_urgent, lanes=lanes)

    async def read(self, act: Act[T]) -> T:
        return await self._engine.read(act)

    async def look(self) -> None:
        """Return once it came to its gate, or found nothing to repair."""
        self._sweep = asyncio.create_task(SqlTaskStore(self, self._host).sweep())
        self._sweep.add_done_callback(lambda _sweep: self._arrived.set())
        await self._arrived.wait()

    async def repair(self) -> SweepReport:
        self._gate.set()
        return await self._sweep if self._sweep else SweepReport()

    async def abandon(self) -> None:
        if self._sweep:
            self._sweep.cancel()
            await asyncio.wait([self._sweep])


class InSql:
    """What the stores in SQL have in common: they can be closed and opened again, and another process may sweep."""

    can_restart = True
    tasks: TaskStore
    documents: Documents
    _engine: Transactor
    _host: transaction.Host
    _database: Database | PostgresDatabase

    def __init__(self, machine: Machine, runner: asyncio.Runner) -> None:
        self._machine = machine
        self._runner = runner
        self._late: LateSweep | None = None

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(act)

    def look(self) -> None:
        """Begin a sweep, as another process may, and hold it up before it repairs what it found."""
        self._late = LateSweep(self._engine, self._host)
        self.run(self._late.look())

    def repair(self) -> SweepReport:
        """Let it go on."""
        if self._late is None:
            raise AssertionError("no sweep was begun")
        late, self._late = self._late, None
        return self.run(late.repair())

    def _let_go(self) -> None:
        if self._late:
            self.run(self._late.abandon())
            self._late = None
        self.run(self._database.close())


class InSqlite(InSql):
    """The store in a file."""

    is_shared = False

    def __init__(self, machine: Machine, runner: asyncio.Runner, template: Path) -> None:
        """`template` is a migrated, empty file; it is copied."""
        super().__init__(machine, runner)
        self._folder = tempfile.mkdtemp(dir=template.parent)
        self._path = Path(self._folder) / "morag.sqlite3"
        shutil.copy(template, self._path)
        self._open()

    def _open(self) -> None:
        self._engine = Engine(self._path, self._machine.bells)
        machine = self._machine
        self._host = self.run(machine_at(self._engine, machine.clock, machine.boot_id, machine.is_alive))
        self._database = Database(self._path, self._engine, self._host)
        self.tasks, self.documents = self._database.tasks, self._database.documents
        self._reader = connect(self._path, is_reader=True)

    def whole(self) -> Whole:
        self._reader.execute("BEGIN")
        tasks, shown, events, attempts = (self._reader.execute(statement).fetchall() for statement in EVERYTHING)
        self._reader.execute("ROLLBACK")
        return _whole(tasks, shown, events, attempts)

    def restart(self) -> None:
        self._reader.close()
        self._let_go()
        self._open()

    def close(self) -> None:
        self._reader.close()
        self._let_go()
        shutil.rmtree(self._folder)


class InPostgres(InSql):
    """The store on a server that other machines may use too; leases go by its clock."""

    is_shared = True

    def __init__(self, machine: Machine, runner: asyncio.Runner, address: Address) -> None:
        """The schema is there, and empty."""
        super().__init__(machine, runner)
        self._address = address
        self._open()

    def _open(self) -> None:
        machine, self._engine = self._machine, PostgresEngine(self._address, self._machine.bells)
        self._host = Member(boot_id=machine.boot_id, is_alive=machine.is_alive, turned=self._moment)
        self._database = PostgresDatabase(self._engine, self._host)
        self.tasks, self.documents = self._database.tasks, self._database.documents

    def _moment(self) -> Moment:
        clock = self._machine.clock
        return Moment(now=clock.wall, steady=clock.wall, monotonic=clock.ticks, boot_id="the server")

    def whole(self) -> Whole:
        def act(tx: Transaction) -> list[list[Row]]:
            return [tx.rows(statement) for statement in EVERYTHING]

        return _whole(*self.run(self._engine.read(act)))

    def restart(self) -> None:
        self._let_go()
        self._open()

    def close(self) -> None:
        self._let_go()


def template(folder: Path) -> Path:
    """A migrated, empty database file in the folder."""
    path = folder / "template.sqlite3"
    migrate(path, known_migrations())
    return path


def _whole(tasks: Sequence[Row], shown: Sequence[Row], events: Sequence[Row], attempts: Sequence[Row]) -> Whole:
    found = [records.document(row) for row in shown]
    return Whole(
        tasks={row[0]: records.task(row) for row in tasks},
        events=_by_task(events, lambda row: records.event(row[0], row[1:])),
        attempts=_by_task(attempts, lambda row: records.attempt(row[1:])),
        documents={(one.user_id, one.publication.document_id): one for one in found},
    )


def _by_task(rows: Sequence[tuple[Any, ...]], read: Callable[[tuple[Any, ...]], T]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(read(row))
    return found
