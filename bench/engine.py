"""How fast the embedded engine is (P2, P3): durable no-op tasks per second, and the latency of one task when idle.

    .venv/bin/python bench/engine.py [folder]

Everything goes through `TaskManager` as an application uses it, in one process: commits with fsync, fairness, events
and fences on. The folder, a temporary one by default, says which disk is measured.
"""

import asyncio
import contextlib
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any

import psutil
import uuid_utils

from morag.domain.task import Completed, Lease, NewTask, Offers
from morag.storage.host import SystemClock, this_worker
from morag.storage.signals import LocalSignals
from morag.storage.sql.connection import connect
from morag.storage.sql.database import Database, open_database
from morag.tasks.manager import TaskManager
from morag.telemetry import configure

TASKS = 6_000
IN_FLIGHT = (64, 256)
LATENCIES = 300
IDLE_S = 5.0
NAMESPACE = "bench"
USERS = 4
IS_ANY_LEFT = """
SELECT 1 WHERE EXISTS (SELECT 1 FROM tasks WHERE is_ready = 1) OR EXISTS (SELECT 1 FROM tasks WHERE state = 'running')
"""


async def shared_out(jobs: int, in_flight: int, job: Any) -> None:
    """Do `job(number)` so many times, so many at once, each starting when one before it ends."""
    numbers = iter(range(jobs))

    async def one_after_another() -> None:
        for number in numbers:
            await job(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one_after_another())


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[TaskManager]:
    tasks = TaskManager(NAMESPACE, data_dir=folder)

    @tasks.task(name="noop")
    async def noop(n: int) -> int:  # pyright: ignore[reportUnusedFunction] - called by its name
        return n

    async with tasks:
        yield tasks


async def all_ended(path: Path) -> None:
    """Return when the file, looked at from outside, has no task left that stands in a lane or runs."""
    # not `sqlite3`: another copy of the library in the process that has the file open undoes the locks of the first
    with contextlib.closing(connect(path, is_reader=True)) as file:
        while file.execute(IS_ANY_LEFT).fetchall():  # noqa: ASYNC110 - another process's view has no event to wait for
            await asyncio.sleep(0.01)


async def whole_life(folder: Path, in_flight: int) -> tuple[float, float]:
    """(submits, whole lives) per second: single submits, so many in flight, until the last result is stored."""
    async with opened(folder) as tasks:

        async def submit(number: int) -> None:
            await tasks.submit("noop", number, user_id=f"user-{number % USERS}")

        began = time.perf_counter()
        await shared_out(TASKS, in_flight, submit)
        submitted = time.perf_counter()
        await all_ended(folder / "morag.db")
        ended = time.perf_counter()
    return TASKS / (submitted - began), TASKS / (ended - began)


async def round_trips(folder: Path, in_flight: int) -> float:
    """Round trips per second: each of so many callers submits, waits for the result and submits again."""
    async with opened(folder) as tasks:

        async def submit_and_wait(number: int) -> None:
            task_id = await tasks.submit("noop", number, user_id=f"user-{number % USERS}")
            await tasks.wait(task_id)

        began = time.perf_counter()
        await shared_out(TASKS, in_flight, submit_and_wait)
        return TASKS / (time.perf_counter() - began)


async def at_the_store(folder: Path, in_flight: int) -> tuple[float, float]:
    """(submits, claims with settlements) per second at the store, without anything around it."""
    folder.mkdir(exist_ok=True)
    database = await open_database(folder / "store.db", clock=SystemClock(), signals=LocalSignals())

    async def submit(number: int) -> None:
        new = NewTask(id=str(uuid_utils.uuid7()), namespace=NAMESPACE, name="noop", user_id=f"user-{number % USERS}")
        await database.tasks.submit([new])

    began = time.perf_counter()
    await shared_out(TASKS, in_flight, submit)
    submitted = time.perf_counter()
    await drain(database, in_flight)
    drained = time.perf_counter()
    await database.close()
    return TASKS / (submitted - began), TASKS / (drained - submitted)


async def drain(database: Database, n: int) -> None:
    """Claim `n` at a time and settle each on its own, the next claim being made meanwhile."""
    worker, offers = this_worker("bench"), Offers(namespace=NAMESPACE)

    def claim() -> Coroutine[Any, Any, list[Lease]]:
        claim_id = str(uuid_utils.uuid7())
        return database.tasks.claim(
            lanes=["celery"], worker=worker, claim_id=claim_id, n=n, lease_s=30.0, offers=offers
        )

    leases = await claim()
    while leases:
        next_leases = asyncio.ensure_future(claim())
        done = Completed(result=1)
        await asyncio.gather(*(database.tasks.settle(each.task.id, each.fence, done) for each in leases))
        leases = await next_leases


async def latencies(folder: Path) -> list[float]:
    """Seconds from before `submit` to the result in hand, one task at a time with random pauses."""
    found: list[float] = []
    async with opened(folder) as tasks:
        for number in range(LATENCIES + 20):
            await asyncio.sleep(random.uniform(0.0, 0.02))  # noqa: S311 - spreads the moments
            began = time.perf_counter()
            await tasks.wait(await tasks.submit("noop", number))
            found.append(time.perf_counter() - began)
    return found[20:]


async def idle(folder: Path) -> float:
    """Seconds of processor time an open, idle TaskManager takes per second."""
    async with opened(folder):
        await asyncio.sleep(1)
        before = psutil.Process().cpu_times()
        await asyncio.sleep(IDLE_S)
        after = psutil.Process().cpu_times()
    return (after.user + after.system - before.user - before.system) / IDLE_S


def main() -> None:
    configure(level="WARNING")
    with contextlib.ExitStack() as stack:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(tempfile.TemporaryDirectory()))
        loads = ", ".join(f"{load:.2f}" for load in os.getloadavg())
        print(f"{os.cpu_count()} cores, load {loads}; {TASKS:,} tasks of {USERS} users each time")
        for n in IN_FLIGHT:
            submits, lives = asyncio.run(whole_life(folder / f"life-{n}", n))
            print(
                f"P2 submit → settled, {n:3} at once  {lives:8,.0f} /s   target ≥ 4,000   (submits {submits:,.0f} /s)"
            )
        for n in IN_FLIGHT:
            trips = asyncio.run(round_trips(folder / f"trips-{n}", n))
            print(f"submit, wait, again, {n:3} at once  {trips:8,.0f} /s")
        for n in IN_FLIGHT:
            submits, drained = asyncio.run(at_the_store(folder / f"store-{n}", n))
            print(
                f"at the store, {n:3} at once         {drained:8,.0f} /s   claimed, settled (submits {submits:,.0f} /s)"
            )
        found = sorted(asyncio.run(latencies(folder / "idle")))
        middle, worst = statistics.median(found) * 1e3, found[int(len(found) * 0.99)] * 1e3
        print(f"P3 submit → result, idle  p50 {middle:5.2f} ms  p99 {worst:5.2f} ms   target ≤ 1, ≤ 5")
        print(f"idle, of one core                  {asyncio.run(idle(folder / 'idle')):8.1%}      target ≤ 1 %")


if __name__ == "__main__":
    main()
