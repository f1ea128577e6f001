"""MoRAG's task engine inside the process that submits; also a program of its own, for the recovery of its tasks.

BENCH_FOLDER=… BENCH_LEDGER=… python -m queue_systems.morag_embedded [nap|heavy_nap ID SECONDS]
"""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from queue_systems import contract

from morag import TaskManager
from morag.storage.sql.connection import Connection, connect

DATABASE = contract.FOLDER / "morag.db"
SETTLED = "SELECT count(*) FROM tasks WHERE state = 'completed'"
NAMESPACE = "bench"
DRAIN_S = 1.0


def made(*, loop_slots: int | None = None) -> TaskManager:
    """A manager with the tasks registered; no `loop_slots` are its default."""
    slots = {} if loop_slots is None else {"loop_slots": loop_slots}
    manager = TaskManager(NAMESPACE, data_dir=contract.FOLDER, drain_s=DRAIN_S, **slots)
    manager.task("noop")(noop)
    manager.task("nap")(contract.async_nap)
    manager.task("heavy_nap", heavy=True)(contract.nap)
    return manager


async def noop(i: int) -> int:
    """On the loop."""
    return contract.noop(i)


class Embedded:
    """Producer and worker in one process, its defaults: durable before submit returns, fairness, events and fences."""

    package = "morag"
    settings = "1 process, submits and runs; synchronous=FULL; awaited submit(); counted when settled by the record"

    def __init__(self) -> None:
        self._manager = made()
        self._reader: Connection | None = None

    def workers(self) -> Sequence[Sequence[str]]:
        """None: the producer runs the tasks."""
        return ()

    def naps_in_workers(self) -> Sequence[Sequence[str]]:
        """A sibling on the file."""
        return ((sys.executable, "-m", "queue_systems.morag_embedded"),)

    async def open(self, *, is_running: bool = True) -> None:
        """Open the file."""
        self._manager = made() if is_running else made(loop_slots=0)
        await self._manager.__aenter__()

    async def close(self) -> None:
        """Close it."""
        if self._reader:
            self._reader.close()
            self._reader = None
        await self._manager.close()

    async def flood(self, ids: range, in_flight: int) -> None:
        """Awaited."""
        submit = self._manager.submit
        await contract.flood_awaiting(lambda i: submit("noop", i), ids, in_flight)

    async def once(self, i: int) -> None:
        """Its way to wait."""
        await self._manager.wait(await self._manager.submit("noop", i), timeout=30)

    async def nap(self, i: int, seconds: float) -> None:
        """On the loop of whichever process claims it."""
        await self._manager.submit("nap", i, seconds)

    async def count_settled(self) -> int | None:
        """By a connection of its own, so only what is committed."""
        if self._reader is None:
            # not `sqlite3`: another copy of the library in this process would undo the locks of the first
            self._reader = connect(Path(DATABASE), is_reader=True)
        return int(self._reader.execute(SETTLED).fetchall()[0][0])


SYSTEM: contract.System = Embedded()


async def serve(arguments: list[str]) -> None:
    """Submit the task of the command line if there is one, then run what there is until SIGTERM."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with made() as manager:
        if arguments:
            name, i, seconds = arguments
            await manager.submit(name, int(i), float(seconds))
        await told.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
