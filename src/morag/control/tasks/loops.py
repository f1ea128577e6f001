"""The loops a process lives by (executor, supervisor, scheduler): kept going until the process closes them.

A loop ends by itself only by a bug. A process that went on without it would accept work that nobody does; one that
ended would take the application around it along. So the loop is started again, after a pause, and the process says
that it is ailing.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from morag.telemetry import log

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
SOUND_S = 60.0
"""A loop that has run for so long since it broke is sound again."""

Serve: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Goes on until it is cancelled."""


class Loops:
    """Some loops, by name."""

    def __init__(self, *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        """A loop that broke is started again after `first_pause_s`, and twice that each time it breaks at once."""
        self._first_pause_s = first_pause_s
        self._tasks: list[asyncio.Task[None]] = []
        self._broke_at: dict[str, float] = {}

    @property
    def ailing(self) -> list[str]:
        """The names of those that broke in the last minute."""
        return [name for name, at in self._broke_at.items() if time.monotonic() - at < SOUND_S]

    def start(self, name: str, serve: Serve) -> None:
        """Run `serve` until closed, again whenever it ends by itself."""
        self._tasks.append(asyncio.create_task(self._keep(name, serve), name=f"morag {name}"))

    async def close(self) -> None:
        """Cancel them all, and return when they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _keep(self, name: str, serve: Serve) -> None:
        pause_s = self._first_pause_s
        while True:
            began = time.monotonic()
            await _one_life(name, serve)
            self._broke_at[name] = time.monotonic()
            pause_s = self._first_pause_s if time.monotonic() - began > SOUND_S else pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def _one_life(name: str, serve: Serve) -> None:
    """Return when the loop ended by itself. Raises CancelledError when it was told to end, once it has."""
    # a task of its own: a TaskGroup in it that fails leaves the task around it looking cancelled
    life = asyncio.create_task(serve(), name=f"morag {name}, a life")
    try:
        await asyncio.wait({life})
    except asyncio.CancelledError:
        life.cancel()
        await asyncio.wait({life})
        if trouble := _trouble(life):
            log.warning("loop_ended_badly", loop=name, exc_info=trouble)
        raise
    log.critical("loop_broken", loop=name, exc_info=_trouble(life))


def _trouble(life: "asyncio.Task[None]") -> BaseException | None:
    return None if life.cancelled() else life.exception()
