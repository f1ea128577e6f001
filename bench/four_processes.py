"""Four busy processes on one SQLite file (P13): how long a commit waits for the file, and heartbeats among it.

    .venv/bin/python bench/four_processes.py [seconds]

Each process submits, claims and settles without pause and renews a lease twenty times a second. `file` is how long a
commit had to wait for the others' locks, the rest is an act from call to return, with the queue before it.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import uuid_utils

from morag.domain.task import Completed, Extension, NewTask, Offers
from morag.storage.host import SystemClock, this_worker
from morag.storage.signals import LocalSignals
from morag.storage.sql import engine
from morag.storage.sql.connection import patiently
from morag.storage.sql.database import Database, open_database
from morag.telemetry import configure

T = TypeVar("T")

PROCESSES = 4
CALLERS = 4
SECONDS = 10.0
BEAT_S = 0.05
NAMESPACE = "bench"

took: defaultdict[str, list[float]] = defaultdict(list)


@contextlib.contextmanager
def timed(kind: str) -> Generator[None]:
    began = time.perf_counter()
    yield
    took[kind].append(time.perf_counter() - began)


def patiently_timed(act: Callable[[], T]) -> T:
    with timed("file"):
        return patiently(act)


def new_task(name: str) -> NewTask:
    return NewTask(id=str(uuid_utils.uuid7()), namespace=NAMESPACE, name=name, user_id="u")


async def claimed(database: Database, name: str) -> Any:
    return await database.tasks.claim(
        lanes=["celery"],
        worker=this_worker("bench"),
        claim_id=str(uuid_utils.uuid7()),
        n=1,
        lease_s=30.0,
        offers=Offers(namespace=NAMESPACE, names=frozenset({name})),
    )


async def work(database: Database) -> None:
    while True:
        with timed("submit"):
            await database.tasks.submit([new_task("noop")])
        with timed("claim"):
            leases = await claimed(database, "noop")
        for lease in leases:
            with timed("settle"):
                await database.tasks.settle(lease.task.id, lease.fence, Completed(result=1))


async def beat(database: Database) -> None:
    name = f"long-{os.getpid()}"
    await database.tasks.submit([new_task(name)])
    (lease,) = await claimed(database, name)
    extension = Extension(task_id=lease.task.id, fence=lease.fence)
    while True:
        await asyncio.sleep(BEAT_S)
        with timed("heartbeat"):
            await database.tasks.extend([extension], lease_s=30.0)


async def one_process(path: Path, seconds: float) -> None:
    engine.patiently = patiently_timed  # pyright: ignore[reportAttributeAccessIssue] - the same with a clock beside it
    database = await open_database(path, clock=SystemClock(), signals=LocalSignals())
    busy: list[Awaitable[None]] = [work(database) for _ in range(CALLERS)]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*busy, beat(database))
    await database.close()
    print(json.dumps(took))


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, str(seconds), str(Path(folder) / "morag.db")]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
        found = [json.loads(process.communicate()[0]) for process in processes]
    loads = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    print(f"{PROCESSES} processes, {seconds:g} s, load at the end {loads}; ms   target: file ≤ 250 at worst")
    for kind in ("file", "heartbeat", "submit", "claim", "settle"):
        all_s = sorted(each for one in found for each in one.get(kind, []))
        worst = "  ".join(f"{max(one.get(kind, [0.0])) * 1e3:6.1f}" for one in found)
        middle, high = (all_s[int(len(all_s) * part)] * 1e3 for part in (0.5, 0.99))
        print(f"{kind:10} {len(all_s):7,}   p50 {middle:6.2f}  p99 {high:7.2f}   worst of each process {worst}")


if __name__ == "__main__":
    configure(level="WARNING")
    if len(sys.argv) > 2:  # called by itself
        asyncio.run(one_process(Path(sys.argv[2]), float(sys.argv[1])))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)
