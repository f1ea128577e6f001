"""taskiq on Redis Streams, the broker of taskiq-redis that acknowledges."""

from queue_systems import contract
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

POLL_S = 0.002
"""Its results are polled: every 200 ms by default, which would be all that is measured."""

# consumer_id "0": from "$" on, what was sent before the first worker made the group would be dropped
broker = RedisStreamBroker(contract.REDIS, consumer_id="0").with_result_backend(
    RedisAsyncResultBackend(contract.REDIS, result_ex_time=3600)
)


@broker.task(task_name="noop")
async def noop(i: int) -> int:
    """On the worker's loop."""
    return contract.noop(i)


@broker.task(task_name="nap")
async def nap(i: int, seconds: float) -> int:
    """On the worker's loop."""
    return await contract.async_nap(i, seconds)


class Taskiq(contract.Peer):
    """Its defaults."""

    package = "taskiq-redis"
    settings = "2 processes, streams, acknowledged when executed; awaited kiq(), results polled each 2 ms"
    commands = (
        (
            str(contract.PROGRAMS / "taskiq"),
            *("worker", "queue_systems.taskiq_streams:broker", "-w", "2", "--log-level", "WARNING"),
        ),
    )

    async def open(self, *, is_running: bool = True) -> None:
        """Connect and make the consumer group."""
        del is_running
        await broker.startup()

    async def close(self) -> None:
        """Disconnect."""
        await broker.shutdown()

    async def flood(self, ids: range, in_flight: int) -> None:
        """Awaited."""
        await contract.flood_awaiting(noop.kiq, ids, in_flight)

    async def once(self, i: int) -> None:
        """Polled."""
        await (await noop.kiq(i)).wait_result(check_interval=POLL_S, timeout=30)

    async def nap(self, i: int, seconds: float) -> None:
        """On a worker's loop."""
        await nap.kiq(i, seconds)


SYSTEM: contract.System = Taskiq()
