"""SAQ on Redis."""

from contextlib import suppress
from typing import Any

from queue_systems import contract
from saq import Queue

NAP_S = 600
"""SAQ ends a job after 10 s unless told otherwise."""
LOOK_AGAIN_S = 0.25

queue = Queue.from_url(contract.REDIS)


async def noop(_: Any, *, i: int) -> int:
    """On the worker's loop."""
    return contract.noop(i)


async def nap(_: Any, *, i: int, seconds: float) -> int:
    """On the worker's loop."""
    return await contract.async_nap(i, seconds)


SETTINGS = {"queue": queue, "functions": [noop, nap]}


class Saq(contract.Peer):
    """Its defaults, in two processes."""

    package = "saq"
    settings = "2 processes x concurrency 10; awaited enqueue()"
    commands = ((str(contract.PROGRAMS / "saq"), "queue_systems.saq_redis.SETTINGS", "-q"),) * 2

    async def open(self, *, is_running: bool = True) -> None:
        """Connect."""
        del is_running
        await queue.connect()

    async def close(self) -> None:
        """Disconnect."""
        await queue.disconnect()

    async def flood(self, ids: range, in_flight: int) -> None:
        """Awaited."""
        await contract.flood_awaiting(lambda i: queue.enqueue("noop", i=i), ids, in_flight)

    async def once(self, i: int) -> None:
        """Subscribed, in turns of 250 ms: `apply`, its own way to wait, takes a second for each (tried)."""
        job = await queue.enqueue("noop", i=i)
        while job and not job.completed:
            # a result between its reading of the job and its subscribing is never announced
            with suppress(TimeoutError):
                await job.refresh(until_complete=LOOK_AGAIN_S)

    async def nap(self, i: int, seconds: float) -> None:
        """On a worker's loop."""
        await queue.enqueue("nap", i=i, seconds=seconds, timeout=NAP_S)


SYSTEM: contract.System = Saq()
