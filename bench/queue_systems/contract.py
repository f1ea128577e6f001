"""What a measured task queue is to the measurements, and the task bodies that all of them run.

Each module beside this one names its queue in `SYSTEM`; producer and workers import the same module. A task body leaves
a line in the ledger, a file outside all systems: what ran is read there, not in a system's own books.
"""

import asyncio
import functools
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

LEDGER = Path(os.environ.get("BENCH_LEDGER", os.devnull))
FOLDER = Path(os.environ.get("BENCH_FOLDER", os.devnull))
"""Empty at the start of each measurement: for those who keep their tasks in a file."""
REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:0/0")
PROGRAMS = Path(sys.executable).parent
Producer = Callable[[int], object]


class System(Protocol):
    """One task queue, used as its documentation advises."""

    @property
    def package(self) -> str:
        """The distribution whose version is told."""
        ...

    @property
    def settings(self) -> str:
        """What a reader must know of how it is used."""
        ...

    def workers(self) -> Sequence[Sequence[str]]:
        """The command lines of one group of workers; none if the producer runs the tasks."""
        ...

    def naps_in_workers(self) -> Sequence[Sequence[str]]:
        """The same, for the recovery of long tasks."""
        ...

    async def open(self, *, is_running: bool = True) -> None:
        """Connect. An embedded queue that is not `is_running` only takes tasks in."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...

    async def flood(self, ids: range, in_flight: int) -> None:
        """Submit a no-op for each id by single submits, `in_flight` at a time where the client is asynchronous."""
        ...

    async def once(self, i: int) -> None:
        """Submit one no-op and return when its result is here."""
        ...

    async def nap(self, i: int, seconds: float) -> None:
        """Submit a task that takes `seconds`."""
        ...

    async def count_settled(self) -> int | None:
        """How many tasks have ended by the record; None where only the ledger is asked."""
        ...


class Peer:
    """What the peers share: workers apart, and the ledger as the only judge."""

    commands: Sequence[Sequence[str]] = ()

    def workers(self) -> Sequence[Sequence[str]]:
        """The `commands`."""
        return self.commands

    def naps_in_workers(self) -> Sequence[Sequence[str]]:
        """The same workers."""
        return self.workers()

    async def open(self, *, is_running: bool = True) -> None:
        """Nothing: connections are made at the first use."""

    async def close(self) -> None:
        """Nothing: the process ends."""

    async def count_settled(self) -> int | None:
        """The ledger says it, before the peer has stored result and acknowledgement: that is in its favour."""
        return None


@functools.cache
def _ledger(pid: int) -> int:
    """The ledger, opened once in each process."""
    del pid
    return os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def mark(kind: str, i: int) -> None:
    """Append what happens to task `i`, when and in which process."""
    os.write(_ledger(os.getpid()), f"{kind} {i} {time.monotonic():.6f} {os.getpid()}\n".encode())


def noop(i: int) -> int:
    """The task whose cost is the queue's."""
    mark("noop", i)
    return i


def nap(i: int, seconds: float) -> int:
    """A long task, for queues that run functions in threads or processes."""
    mark("start", i)
    time.sleep(seconds)
    mark("end", i)
    return i


async def async_nap(i: int, seconds: float) -> int:
    """A long task, for queues that run functions on an event loop."""
    mark("start", i)
    await asyncio.sleep(seconds)
    mark("end", i)
    return i


async def flood_awaiting(submit: Callable[[int], Coroutine[Any, Any, object]], ids: range, in_flight: int) -> None:
    """Keep `in_flight` awaited submits going until every id is submitted."""
    left = iter(ids)

    async def one_after_another() -> None:
        for i in left:
            await submit(i)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one_after_another())


async def flood_calling(submit: Producer, ids: range) -> None:
    """Submit each id by one blocking call after the other; 64 threads are no faster, and workers are slower (tried)."""

    def call() -> None:
        for i in ids:
            submit(i)

    await asyncio.to_thread(call)
