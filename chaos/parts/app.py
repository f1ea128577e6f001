"""The application that `chaos/tasks.py` torments: `app.py serve`, or `app.py submit END RATE`, RATE a second up to END.

Each run of a function leaves one line outside the store before it does anything, and its result names that line.
"""

import asyncio
import os
import random
import sys
import time
import uuid
from pathlib import Path

from morag import TaskContext, TaskManager
from morag.domain.errors import StorageFull, Unavailable

FOLDER = Path(os.environ["CHAOS_FOLDER"])
LEASE_S = float(os.environ["CHAOS_LEASE_S"])
KINDS = ("quick", "quick", "threaded", "quick", "flaky", "quick", "slow", "family", "threaded", "heavy")
AT_ONCE = 32
RETRY_S = 0.2

chance = random.Random()  # noqa: S311 - how long something takes, no secret

tasks = TaskManager(
    "chaos", data_dir=FOLDER / "data", loop_slots=40, thread_slots=8, child_slots=2, drain_s=2, lease_s=LEASE_S
)


def witness(context: TaskContext) -> str:
    """Leave a line in this process's own file; its mark."""
    mark = uuid.uuid4().hex
    with (FOLDER / "witness" / str(os.getpid())).open("a") as file:
        file.write(f"{context.task_id} {context.attempt} {mark}\n")
    return mark


@tasks.task("quick")
async def quick(context: TaskContext) -> str:
    """Wait a moment on the loop."""
    mark = witness(context)
    await asyncio.sleep(chance.uniform(0.0, 0.02))
    return mark


@tasks.task("slow")
async def slow(context: TaskContext) -> str:
    """Run for so long that what happens happens to it."""
    mark = witness(context)
    await asyncio.sleep(chance.uniform(0.2, 1.5))
    return mark


@tasks.task("threaded")
def threaded(context: TaskContext) -> str:
    """Block a thread."""
    mark = witness(context)
    time.sleep(chance.uniform(0.0, 0.05))
    return mark


@tasks.task("heavy", heavy=True, retries=20, backoff_s=0.05)
def heavy(context: TaskContext) -> str:
    """Run in a child process, which may be killed."""
    mark = witness(context)
    time.sleep(chance.uniform(0.0, 0.05))
    return mark


@tasks.task("flaky", retries=3, backoff_s=0.05)
async def flaky(context: TaskContext) -> str:
    """Fail at first."""
    mark = witness(context)
    if context.attempt == 1:
        raise ConnectionError("the first time it always fails")
    return mark


@tasks.task("family")
async def family(context: TaskContext) -> str:
    """Wait for two others without a slot, then begin again."""
    mark = witness(context)
    if not all(child.status == "success" for child in context.wait_for(context.call(quick), context.call(slow))):
        raise RuntimeError("a child did not succeed")
    return mark


async def submit(end: int, rate: float) -> None:
    """Submit the tasks of the numbers up to `end` that are not acknowledged yet, and note each that is."""
    path = FOLDER / "acknowledged"
    done = {int(line.split()[0]) for line in path.read_text().splitlines()} if path.exists() else set[int]()
    numbers = iter([number for number in range(end) if number not in done])
    with path.open("a", buffering=1) as acknowledged:

        async def some() -> None:
            for number in numbers:
                task_id = await submitted(number)
                acknowledged.write(f"{number} {task_id}\n")
                await asyncio.sleep(chance.uniform(0.0, 2 * AT_ONCE / rate))

        async with tasks, asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(some())


async def submitted(number: int) -> str:
    """Submit until the store takes it. The key makes it one task, however often that is."""
    while True:
        try:
            return await tasks.submit(KINDS[number % len(KINDS)], idempotency_key=f"n{number}")
        except (StorageFull, Unavailable):
            await asyncio.sleep(RETRY_S)


if __name__ == "__main__":
    if sys.argv[1] == "submit":
        asyncio.run(submit(int(sys.argv[2]), float(sys.argv[3])))
    else:
        tasks.run()
