"""Holding a stored task back until the response that promised it is sent.

The hold is a delay in the record, so that it is durable: if the process dies, the task starts when the delay is over.
Sent responses end it, and so does whatever lets go of the `BackgroundTasks`: an endpoint that raised, a hand-made one
in a WebSocket handler that nobody ever runs.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

HOLD_S = 10.0
"""The longest a task is held back."""


class BackgroundTasks(Protocol):
    """The part of Starlette's and FastAPI's `BackgroundTasks` used here."""

    def add_task(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call `func` once the response is sent."""
        ...


class Hold:
    """One task held back; lives as long as the `BackgroundTasks` that refer to it."""

    def __init__(self, start: Callable[[], Awaitable[object]]) -> None:
        """Call `start` once: when told to, or when nobody refers to this any more."""
        self._start = start
        self._left = weakref.finalize(self, _start_later, asyncio.get_running_loop(), start)
        self._left.atexit = False

    async def end(self) -> None:
        """The response is sent."""
        if self._left.detach():
            await self._start()


_starting: set["asyncio.Task[None]"] = set()


def _start_later(loop: asyncio.AbstractEventLoop, start: Callable[[], Awaitable[object]]) -> None:
    """From a finaliser: on any thread, at any moment."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(_start_now, loop, start)


def _start_now(loop: asyncio.AbstractEventLoop, start: Callable[[], Awaitable[object]]) -> None:
    async def act() -> None:
        await start()

    task = loop.create_task(act())
    _starting.add(task)
    task.add_done_callback(_starting.discard)
