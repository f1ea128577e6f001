"""Whether a queue grows dearer (P10): a claim with 10³, 10⁵ and 10⁶ tasks queued; and what limits of users cost.

    .venv/bin/python bench/growth.py [folder]

On a SQLite file in the folder, a temporary one by default. The queue is one batch of submitted tasks, copied until
there are enough. A durable claim waits for the disk; beside it stands the claim without that.
"""

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uuid_utils
from parts.timing import table

from morag.domain.limits import Limits
from morag.domain.task import NewTask, Offers, Worker
from morag.storage.host import SystemClock
from morag.storage.signals import LocalSignals
from morag.storage.sql import claim, intake
from morag.storage.sql.connection import SqliteTransaction, connect
from morag.storage.sql.database import open_database
from morag.storage.sql.tasks import SqlTaskStore
from morag.storage.sql.transaction import Moment
from morag.telemetry import configure

QUEUED = (1_000, 100_000, 1_000_000)
USERS = 100
TIMES = 300
AT_LIMIT = (0, 100, 1_000)
STANDING = 5_000
OFFERS = Offers(namespace="bench")


class Queue:
    """One file and what stands in it."""

    def __init__(self, path: Path, store: SqlTaskStore) -> None:
        self.store = store
        self._path = path
        self._numbers = itertools.count()
        self._worker = Worker(id="bench", boot_id="bench")

    async def submit(self, user_ids: list[str], each: int) -> None:
        """So many tasks of each user, in their turn."""
        for _ in range(each):
            await self.store.submit([self.new(user_id) for user_id in user_ids])

    def fill(self, wanted: int) -> None:
        """Copy what stands until so many do."""
        connection = connect(self._path)
        heads = [row[1] for row in connection.execute("PRAGMA table_info(tasks)").fetchall()]
        chosen = ", ".join("lower(hex(randomblob(16)))" if head == "id" else head for head in heads)
        standing = "SELECT count(*) FROM tasks WHERE is_ready = 1"
        while (left := wanted - connection.execute(standing).fetchall()[0][0]) > 0:
            copy = f"INSERT INTO tasks SELECT {chosen} FROM tasks WHERE is_ready = 1 LIMIT {left}"  # noqa: S608 -- our own
            connection.execute(copy)
        connection.close()

    def new(self, user_id: str) -> NewTask:
        """A task to submit."""
        return NewTask(id=str(uuid_utils.uuid7()), namespace="bench", name="work", user_id=user_id)

    async def durable_ms(self) -> float:
        """Median of a claim through the store."""
        took: list[float] = []
        for _ in range(TIMES):
            began = time.perf_counter()
            claim_id = f"claim-{next(self._numbers)}"
            granted = await self.store.claim(
                lanes=["celery"], worker=self._worker, claim_id=claim_id, n=1, lease_s=3_600.0, offers=OFFERS
            )
            took.append((time.perf_counter() - began) * 1e3)
            assert granted, "nothing was granted"  # noqa: S101 - a figure of nothing
        return statistics.median(took)

    def bare_ms(self, act: Callable[[SqliteTransaction, Moment], object]) -> float:
        """Median of an act in an open transaction, undone at the end."""
        connection = connect(self._path)
        connection.execute("BEGIN IMMEDIATE")
        at = Moment(now=time.time(), steady=time.time(), monotonic=time.monotonic(), boot_id="bench")
        took: list[float] = []
        for _ in range(TIMES):
            began = time.perf_counter()
            act(SqliteTransaction(connection), at)
            took.append((time.perf_counter() - began) * 1e3)
        connection.execute("ROLLBACK")
        connection.close()
        return statistics.median(took)

    def claim_ms(self) -> float:
        """Median of a claim without the commit."""

        def act(tx: SqliteTransaction, at: Moment) -> None:
            asked = claim.Claim(
                worker=self._worker, claim_id=f"bare-{next(self._numbers)}", lease_s=3_600.0, offers=OFFERS
            )
            claim.take_turn(tx, asked, ["celery"])
            assert claim.grant(tx, at, asked, lanes=["celery"], n=1), "nothing was granted"  # noqa: S101 - as above

        return self.bare_ms(act)

    def submit_ms(self, user_id: str) -> float:
        """Median of a submit without the commit."""
        return self.bare_ms(lambda tx, at: intake.submit(tx, at, [self.new(user_id)]))


async def growth(queue: Queue) -> None:
    """Claims as the queue grows."""
    await queue.submit([f"user-{number}" for number in range(USERS)], 10)
    rows: list[list[str]] = []
    first: tuple[float, float] | None = None
    for wanted in QUEUED:
        await asyncio.to_thread(queue.fill, wanted)
        found = await asyncio.to_thread(queue.claim_ms), await queue.durable_ms()
        first = first or found
        ratios = [mine / theirs for mine, theirs in zip(found, first, strict=True)]
        rows.append([f"{wanted:,}", *(f"{ms:.3f} ms, {ratio:.2f}" for ms, ratio in zip(found, ratios, strict=True))])
    table(("queued", "claim without the commit, times the first", "durable claim"), rows)
    print("target: at most 1.5 times\n")


async def limits(queue: Queue) -> None:
    """Claims past users at their limit, and submits of users with and without one."""
    await queue.submit(["free"], TIMES * 4)
    rows: list[list[str]] = []
    known = 0
    for wanted in AT_LIMIT:
        for number in range(known, wanted):
            user_id = f"capped-{number}"
            await queue.store.set_limits(user_id, Limits(running=1, queued=STANDING + TIMES))
            await queue.submit([user_id], 2)
            await _run_one(queue, user_id)
        known = wanted
        rows.append(
            [f"claim past {wanted:,} users at their limit", f"{await asyncio.to_thread(queue.claim_ms):.3f} ms"]
        )
    await queue.submit(["free", "capped-0"], 1)
    rows.append(["submit of a user without a limit", f"{await asyncio.to_thread(queue.submit_ms, 'free'):.3f} ms"])
    few = await asyncio.to_thread(queue.submit_ms, "capped-0")
    await queue.submit(["capped-0"] * 100, STANDING // 100 - 1)
    many = await asyncio.to_thread(queue.submit_ms, "capped-0")
    rows.append(["submit of a user with a limit, few standing", f"{few:.3f} ms"])
    rows.append([f"… with {STANDING:,} standing", f"{many:.3f} ms"])
    table(("without the commit", "p50"), rows)


async def _run_one(queue: Queue, user_id: str) -> None:
    """Let one task of the user run: who comes new is served first."""
    await queue.store.claim(
        lanes=["celery"],
        worker=Worker(id=user_id, boot_id="bench"),
        claim_id=user_id,
        n=1,
        lease_s=3_600.0,
        offers=OFFERS,
    )


async def measured(given: Path | None) -> None:
    for measure in (growth, limits):
        with tempfile.TemporaryDirectory(dir=given) as folder:
            path = Path(folder) / "morag.sqlite3"
            database = await open_database(path, clock=SystemClock(), signals=LocalSignals())
            try:
                await measure(Queue(path, database.tasks))
            finally:
                await database.close()


def main() -> None:
    configure(level="WARNING")
    asyncio.run(measured(Path(sys.argv[1]) if len(sys.argv) > 1 else None))


if __name__ == "__main__":
    main()
