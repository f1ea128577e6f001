"""Huey on SQLite: the peer that needs no server either."""

from typing import Any

from huey import SqliteHuey  # pyright: ignore[reportMissingTypeStubs] - it brings no types
from queue_systems import contract

huey: Any = SqliteHuey("bench", filename=str(contract.FOLDER / "huey.db"))
noop = huey.task()(contract.noop)
nap = huey.task()(contract.nap)


class Huey(contract.Peer):
    """Its defaults, with one process for each of two cores."""

    package = "huey"
    settings = (
        "2 processes, no fsync asked for, workers poll each 0.1 to 10 s; one loop of calls, results polled each 2 ms"
    )
    commands = (
        (
            str(contract.PROGRAMS / "huey_consumer"),
            *("queue_systems.huey_sqlite.huey", "-w", "2", "-k", "process", "-q"),
        ),
    )

    async def flood(self, ids: range, in_flight: int) -> None:
        """One after the other."""
        del in_flight
        await contract.flood_calling(noop, ids)

    async def once(self, i: int) -> None:
        """Polled."""
        noop(i).get(blocking=True, timeout=30, backoff=1, max_delay=0.002)

    async def nap(self, i: int, seconds: float) -> None:
        """In a worker process."""
        nap(i, seconds)


SYSTEM: contract.System = Huey()
