"""Celery on Redis."""

import sys
import uuid
from typing import Any

from celery import Celery  # pyright: ignore[reportMissingTypeStubs] - it brings no types
from queue_systems import contract

app: Any = Celery("bench", broker=contract.REDIS, backend=contract.REDIS)
noop = app.task(contract.noop, name="noop")
nap = app.task(contract.nap, name="nap")


class CeleryRedis(contract.Peer):
    """Its defaults, with one process for each of two cores."""

    package = "celery"
    settings = "prefork -c 2, early acknowledgement, prefetch 4, Redis results; one loop of delay()"

    def workers(self) -> list[list[str]]:
        """One main process with two children, under a name of its own."""
        name = f"{uuid.uuid4().hex}@bench"
        app_of = ["-A", "queue_systems.celery_redis"]
        return [[sys.executable, "-m", "celery", *app_of, "worker", "-c", "2", "-l", "WARNING", "-n", name]]

    async def flood(self, ids: range, in_flight: int) -> None:
        """One after the other."""
        del in_flight
        await contract.flood_calling(noop.delay, ids)

    async def once(self, i: int) -> None:
        """Its results are pushed."""
        noop.delay(i).get(timeout=30)

    async def nap(self, i: int, seconds: float) -> None:
        """In a child."""
        nap.delay(i, seconds)


SYSTEM: contract.System = CeleryRedis()
