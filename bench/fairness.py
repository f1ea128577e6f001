"""Who waits how long for whom (P12): a small user beside a huge one, a newcomer beside 50, the first document of 1,000.

    .venv/bin/python bench/fairness.py

On the store in a SQLite file, by claims as a door makes them: one at a time into each free slot. A wait is from the
submit of a task until its result.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import uuid_utils
from parts.timing import table

from morag.domain.task import Completed, Lease, NewTask, Offers, Parked, Task, Worker
from morag.storage.host import SystemClock
from morag.storage.signals import LocalSignals
from morag.storage.sql.database import open_database
from morag.storage.sql.tasks import SqlTaskStore
from morag.telemetry import configure

SLOTS = 4
WORK_S = 0.02
SMALL, HUGE = 10, 10_000
ROUNDS = 10
BUSY = 50
DOCUMENTS = 1_000
OFFERS = Offers(namespace="bench")
T = TypeVar("T")


class Doors:
    """Claims from one store, counted."""

    def __init__(self, store: SqlTaskStore) -> None:
        self.store = store
        self.grants = 0
        self._worker = Worker(id="bench", boot_id="bench")

    async def submit(self, user_id: str, n: int) -> list[Task]:
        """So many tasks of a user, in batches."""
        tasks: list[Task] = []
        while len(tasks) < n:
            batch = [_new(user_id) for _ in range(min(1_000, n - len(tasks)))]
            tasks += await self.store.submit(batch)
        return tasks

    async def claim(self) -> Lease | None:
        """The fairest task, under a lease that outlasts the measurement."""
        self.grants += 1
        claim_id = f"claim-{self.grants}"
        found = await self.store.claim(
            lanes=["celery"], worker=self._worker, claim_id=claim_id, n=1, lease_s=3_600.0, offers=OFFERS
        )
        return found[0] if found else None

    async def serve(self, until: asyncio.Event) -> None:
        """One slot: claim, work, settle."""
        while not until.is_set():
            if lease := await self.claim():
                await asyncio.sleep(WORK_S)
                await self.complete(lease)
            else:
                await asyncio.sleep(WORK_S / 10)

    async def complete(self, lease: Lease) -> None:
        """Settle it."""
        await self.store.settle(lease.task.id, lease.fence, Completed(result=None))


def _new(user_id: str, step: str | None = None) -> NewTask:
    return NewTask(id=str(uuid_utils.uuid7()), namespace="bench", name="work", user_id=user_id, step=step)


async def waits(doors: Doors) -> list[float]:
    """Seconds each task of the small user took, over some rounds; so many slots at work."""
    done = asyncio.Event()
    found: list[float] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(SLOTS):
            group.create_task(doors.serve(done))
        for _ in range(ROUNDS):
            await asyncio.sleep(5 * WORK_S)
            found += await _round(doors)
        done.set()
    return found


async def _round(doors: Doors) -> list[float]:
    began = time.time()
    open_ids = {task.id for task in await doors.submit("small", SMALL)}
    ended: list[float] = []
    while open_ids:
        await asyncio.sleep(WORK_S / 4)
        tasks = [await doors.store.get(task_id) for task_id in sorted(open_ids)]
        ends = {task.id: task.finished_at - began for task in tasks if task and task.finished_at}
        ended += ends.values()
        open_ids -= ends.keys()
    return ended


async def newcomer(doors: Doors) -> int:
    """Grants until a newcomer beside busy users is served."""
    for number in range(BUSY):
        await doors.submit(f"busy-{number}", 6)
    for _ in range(120):
        await doors.claim()
    await doors.submit("newcomer", 1)
    before, lease = doors.grants, await doors.claim()
    while lease and lease.task.user_id != "newcomer":
        lease = await doors.claim()
    return doors.grants - before


async def first_document(doors: Doors, *, children: int, slots: int) -> int:
    """Grants until the first of many parents is complete; each has so many children."""
    await doors.submit("ingest", DOCUMENTS)
    held: list[Lease] = []
    while True:
        while len(held) < slots and (lease := await doors.claim()):
            held.append(lease)
        lease = held.pop(0)
        if lease.children:
            return doors.grants
        if lease.task.parent_id:
            await doors.complete(lease)
        else:
            wanted = tuple(_new("ingest", f"step-{number}") for number in range(children))
            await doors.store.park(lease.task.id, lease.fence, Parked(children=wanted))


async def cancelled_s(doors: Doors) -> tuple[float, float]:
    """Seconds to cancel the huge user's tasks one after another, and the longest claim of another user meanwhile."""
    tasks = await doors.submit("fickle", HUGE)
    await doors.submit("steady", ROUNDS)
    began, longest = time.perf_counter(), 0.0
    chunk = HUGE // ROUNDS
    for at in range(0, HUGE, chunk):
        cancels = [doors.store.cancel(task.id, user_id="fickle") for task in tasks[at : at + chunk]]
        under_way = asyncio.gather(*cancels)
        claimed = time.perf_counter()
        await doors.claim()
        longest = max(longest, time.perf_counter() - claimed)
        await under_way
    return time.perf_counter() - began, longest


def p95(found: Sequence[float]) -> float:
    return statistics.quantiles(found, n=20)[-1]


async def measured() -> list[tuple[str, str, str]]:
    """Each figure with its target, on a fresh file each."""
    alone = p95(await _on_a_fresh_file(waits))
    beside = p95(await _on_a_fresh_file(_after_huge))
    cancel_s, claim_s = await _on_a_fresh_file(cancelled_s)
    rows = [
        (f"p95 wait of {SMALL} tasks alone", f"{alone * 1e3:.0f} ms", ""),
        (f"… beside {HUGE:,} of another", f"{beside * 1e3:.0f} ms, {beside / alone:.2f} times", "≤ 2 times"),
        (f"grants until a newcomer beside {BUSY}", str(await _on_a_fresh_file(newcomer)), f"≤ {BUSY + 1}"),
    ]
    for children, slots in ((1, 1), (4, 1), (4, SLOTS)):
        grants = await _on_a_fresh_file(partial(first_document, children=children, slots=slots))
        what = f"grants until the first of {DOCUMENTS:,} documents, {children} children each, {slots} slots"
        rows.append((what, str(grants), f"≤ {3 * children}" if slots == 1 else ""))
    rows.append((f"{HUGE:,} cancels", f"{cancel_s:.2f} s", ""))
    rows.append((f"longest claim behind {HUGE // ROUNDS:,} of them at once", f"{claim_s * 1e3:.0f} ms", ""))
    return rows


async def _after_huge(doors: Doors) -> list[float]:
    await doors.submit("huge", HUGE)
    return await waits(doors)


async def _on_a_fresh_file(measure: Callable[[Doors], Awaitable[T]]) -> T:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "morag.sqlite3"
        database = await open_database(path, clock=SystemClock(), signals=LocalSignals())
        try:
            return await measure(Doors(database.tasks))
        finally:
            await database.close()


def main() -> None:
    configure(level="WARNING")
    table(("what", "found", "target"), asyncio.run(measured()))


if __name__ == "__main__":
    main()
