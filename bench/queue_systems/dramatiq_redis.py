"""dramatiq on Redis."""

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from queue_systems import contract

broker = RedisBroker(url=contract.REDIS)
broker.add_middleware(Results(backend=RedisBackend(url=contract.REDIS), store_results=True))
dramatiq.set_broker(broker)
actor: Any = dramatiq.actor  # its types ask for options of a broker that is set later
noop = actor(contract.noop, actor_name="noop")
nap = actor(contract.nap, actor_name="nap")


class Dramatiq(contract.Peer):
    """Its defaults, with one process for each of two cores."""

    package = "dramatiq"
    settings = "2 processes x 8 threads, Redis results; one loop of send()"
    commands = ((str(contract.PROGRAMS / "dramatiq"), "queue_systems.dramatiq_redis", "-p", "2", "-t", "8"),)

    async def flood(self, ids: range, in_flight: int) -> None:
        """One after the other."""
        del in_flight
        await contract.flood_calling(noop.send, ids)

    async def once(self, i: int) -> None:
        """Its results are waited for in Redis."""
        noop.send(i).get_result(block=True, timeout=30_000)

    async def nap(self, i: int, seconds: float) -> None:
        """In a thread."""
        nap.send(i, seconds)


SYSTEM: contract.System = Dramatiq()
