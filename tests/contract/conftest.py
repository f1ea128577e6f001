"""One world per adapter: the stores under test, a clock to turn, bells to look at, processes to end."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
import uuid_utils
from tests.postgres import PostgresServer

from morag.control import ports
from morag.domain.content import ContentType, Publication
from morag.domain.failure import Decision, Failure, FailureType, Strategy
from morag.domain.task import Answer, Completed, Failed, Lease, NewTask, Offers, Parked, Retried, Routing, Task, Worker
from morag.pipeline import ports as pipeline_ports
from morag.storage.memory.documents import MemoryDocumentStore
from morag.storage.memory.tasks import MemoryTaskStore
from morag.storage.sql.database import open_database
from morag.storage.sql.postgres.database import open_postgres
from morag.storage.sql.transaction import Moment

LANE = "celery"
NAMESPACE = "test"
LEASE_S = 30.0
SLEPT_S = 50.0
"""How long the machine was asleep since its boot."""


class Documents(ports.DocumentStore, pipeline_ports.DocumentStore, Protocol):
    """What both planes ask of the one store of documents."""


@dataclass
class FakeClock:
    wall: float = 1_800_000_000.0
    ticks: float = 1_000.0
    steady: float = 1_800_000_000.0
    """What passed in truth since the wall clock was right: what a store must find, never asked by one."""

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    def uptime(self) -> float:
        return self.ticks + SLEPT_S

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds
        self.steady += seconds


@dataclass
class Bells:
    """Signals that remember what was rung."""

    lanes: list[str] = field(default_factory=list[str])
    tasks: list[str] = field(default_factory=list[str])

    def lane(self, lane: str) -> None:
        self.lanes.append(lane)

    def task(self, task_id: str) -> None:
        self.tasks.append(task_id)

    def everything(self) -> None:
        """Nobody listens."""

    def sounds(
        self, lanes: Iterable[str], tasks: Mapping[str, Task | None]
    ) -> Mapping[asyncio.AbstractEventLoop, ports.Sound]:
        self.lanes += lanes
        self.tasks += tasks
        return {}

    @property
    def changes(self) -> int:
        return len(self.tasks)

    def heard(self, task_ids: Iterable[str]) -> list[str]:
        del task_ids
        return []

    def hear_lanes(self, lanes: Sequence[str]) -> AbstractContextManager[ports.Bell]:
        raise AssertionError(f"a store only rings: {lanes}")

    def hear_task(self, task_id: str) -> AbstractContextManager[ports.Bell]:
        raise AssertionError(f"a store only rings: {task_id}")


FAILURE = Failure(type=FailureType.PROCESSING_ERROR, code="broken_file", message="It is broken.", hint="Mend it.")
DECISION = Decision(strategy=Strategy.RETRY_SAME_WORKER, reason="it may help", delay_s=0.0)
WORKER = Worker(id="server-1", boot_id="boot-1", pid=100, pid_started_at=1.0)
REMOTE = Worker(id="remote-1", boot_id="elsewhere")


@dataclass
class World:
    tasks: ports.TaskStore
    documents: Documents
    clock: FakeClock
    bells: Bells
    dead: set[int]
    is_shared: bool = False
    """Whether several machines may use the store."""
    kept_deliveries: ports.DeliveryStore | None = None
    """Not in memory: nobody is told of tasks that only a test sees."""
    kept_workers: ports.WorkerStore | None = None
    claims: Iterator[int] = field(default_factory=itertools.count)

    @property
    def deliveries(self) -> ports.DeliveryStore:
        assert self.kept_deliveries is not None
        return self.kept_deliveries

    @property
    def workers(self) -> ports.WorkerStore:
        assert self.kept_workers is not None
        return self.kept_workers

    def new(self, user_id: str = "ada", **fields: Any) -> NewTask:
        """A task of `user_id`, with what the test cares about."""
        lane = fields.pop("lane", LANE)
        settled: dict[str, Any] = {"namespace": NAMESPACE, "name": "work", "routing": Routing(lane=lane), **fields}
        settled.setdefault("id", str(uuid_utils.uuid7()))
        return NewTask(user_id=user_id, **settled)

    def jump(self, seconds: float) -> None:
        """Set the wall clock of the machine; a server that several use has its own."""
        if not self.is_shared:
            self.clock.wall += seconds

    async def submit(self, user_id: str = "ada", **fields: Any) -> Task:
        (task,) = await self.tasks.submit([self.new(user_id, **fields)])
        return task

    async def claim(self, n: int = 1, **terms: Any) -> list[Lease]:
        settled: dict[str, Any] = {
            "lanes": [LANE],
            "worker": WORKER,
            "claim_id": f"claim-{next(self.claims)}",
            "lease_s": LEASE_S,
            "offers": Offers(namespace=NAMESPACE),
        }
        return await self.tasks.claim(n=n, **{**settled, **terms})

    async def running(self, user_id: str = "ada", **fields: Any) -> Lease:
        """A task, submitted and claimed."""
        task = await self.submit(user_id, **fields)
        (lease,) = await self.claim()
        assert lease.task.id == task.id
        return lease

    async def read(self, task_id: str) -> Task:
        task = await self.tasks.get(task_id)
        assert task is not None
        return task

    async def complete(self, lease: Lease, result: Any = None, **more: Any) -> Answer:
        return await self.tasks.settle(lease.task.id, lease.fence, Completed(result=result, **more))

    async def fail(self, lease: Lease) -> Answer:
        return await self.tasks.settle(lease.task.id, lease.fence, Failed(failure=FAILURE, decision=DECISION))

    async def retry(self, lease: Lease, *, delay_s: float = 0.0, is_infrastructure: bool = False) -> Answer:
        decision = Decision(strategy=Strategy.REASSIGN_SAME_QUEUE, reason="another may do", delay_s=delay_s)
        outcome = Retried(failure=FAILURE, decision=decision, is_infrastructure=is_infrastructure)
        return await self.tasks.settle(lease.task.id, lease.fence, outcome)

    async def park(self, lease: Lease, *steps: str, **fields: Any) -> Answer:
        children = tuple(self.new(lease.task.user_id, step=step, **{"name": "child", **fields}) for step in steps)
        return await self.tasks.park(lease.task.id, lease.fence, Parked(children=children))

    async def states(self, task_id: str) -> list[Any]:
        """The states of the task's log, in order."""
        return [event.data["state"] for event in await self.tasks.events(task_id) if event.kind == "state"]

    async def outcomes(self, task_id: str) -> list[str | None]:
        return [attempt.outcome for attempt in await self.tasks.attempts(task_id)]

    def publication(self, document_id: str = "doc", **fields: Any) -> Publication:
        settled: dict[str, Any] = {
            "title": "Title",
            "source": "file.pdf",
            "content_type": ContentType.DOCUMENT,
            "media_type": "application/pdf",
            "content_hash": "hash",
            "options_digest": "options",
            "metadata": {"author": "Ada", "n": 1},
            "chunks": 3,
            "size_bytes": 10,
            "document_blob": "blob-document",
            "original_blob": "blob-original",
        }
        return Publication(document_id=document_id, **{**settled, **fields})


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    clock, bells, dead = FakeClock(), Bells(), set[int]()

    def is_alive(pid: int, _started_at: float | None) -> bool:
        return pid not in dead

    if request.param == "memory":
        documents = MemoryDocumentStore(clock)
        tasks = MemoryTaskStore(documents, clock=clock, signals=bells, boot_id="boot-1", is_alive=is_alive)
        yield World(tasks, documents, clock, bells, dead)
        return
    if request.param == "sqlite":
        path = tmp_path / "morag.sqlite3"
        database = await open_database(path, clock=clock, signals=bells, boot_id="boot-1", is_alive=is_alive)
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        await asyncio.to_thread(server.empty)

        def turned() -> Moment:
            return Moment(now=clock.wall, steady=clock.wall, monotonic=clock.ticks, boot_id="the server")

        database = await open_postgres(server.url, signals=bells, boot_id="boot-1", is_alive=is_alive, turned=turned)
    try:
        yield World(
            database.tasks,
            database.documents,
            clock,
            bells,
            dead,
            is_shared=request.param == "postgres",
            kept_deliveries=database.deliveries,
            kept_workers=database.workers,
        )
    finally:
        await database.close()
