"""Children that wait: spares with nothing of anybody in them, and warm ones kept for the user they served.

A child serves one user in its life, one content type, and either with network or without.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from morag.domain.content import ContentType
from morag.telemetry import log
from morag.worker.sandbox import memory
from morag.worker.sandbox.process import ChildProcess

T = TypeVar("T")

END_S = 2.0
"""A killed process that is not gone by then hangs in the kernel; nothing here can hurry it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a child has worked for, and how; it works for no other."""

    user_id: str
    content_type: ContentType
    network: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many children may wait, and how long."""

    spares: int
    warm: int
    warm_bytes: int
    """Resident memory of all warm children together."""
    idle_s: float
    """Longest a warm child waits for its user's next job."""


class Pool:
    """Gives out children, takes them back, ends them."""

    def __init__(self, start: Callable[[bool], Awaitable[ChildProcess]], waiting: Waiting) -> None:
        self._start = start
        self._waiting = waiting
        self._spares: list[ChildProcess] = []
        self._warm: dict[ChildProcess, tuple[Owner, asyncio.TimerHandle]] = {}
        self._alive: set[ChildProcess] = set()
        self._acts: set[asyncio.Task[Any]] = set()
        self._is_closing = False
        self._is_filling = False

    def fill(self) -> None:
        """Start spares until there are enough, beside whatever else goes on."""
        if not (self._is_closing or self._is_filling):
            self._begin(self._refill())

    async def take(self, owner: Owner) -> ChildProcess:
        """A child for this owner: one of its own, else a spare, else a new one. Raises OSError."""
        child = self._take_warm(owner)
        if child is None and not owner.network:
            child = self._take_spare()
            self.fill()
        return child or await self._take_new(owner)

    async def keep(self, child: ChildProcess, owner: Owner) -> None:
        """Take back a healthy child; it waits for its owner's next job, or ends where there is no room for it."""
        await asyncio.shield(self._begin(self._keep(child, owner)))

    async def _take_new(self, owner: Owner) -> ChildProcess:
        starting = self._begin(self._new(network=owner.network))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._end_unwanted)
            raise

    def _end_unwanted(self, started: "asyncio.Task[ChildProcess]") -> None:
        if not started.cancelled() and started.exception() is None:
            self._begin(self._clear(started.result()))

    async def _keep(self, child: ChildProcess, owner: Owner) -> None:
        size = memory.resident_bytes(child.pid) if child.is_alive else 0
        is_welcome = child.is_alive and self._waiting.warm > 0 and size <= self._waiting.warm_bytes
        if self._is_closing or not is_welcome or not await _emptied(child):
            await self._clear(child)
            return
        self._make_room(size)
        expiry = asyncio.get_running_loop().call_later(self._waiting.idle_s, self._expire, child)
        self._warm[child] = (owner, expiry)

    async def end(self, child: ChildProcess) -> None:
        """Kill a child at once and clear up behind it; goes on when the caller is cancelled."""
        child.kill()
        await asyncio.shield(self._begin(self._clear(child)))

    async def close(self) -> None:
        """End all children, those at work too."""
        self._is_closing = True
        for _, expiry in self._warm.values():
            expiry.cancel()
        for child in list(self._alive):
            self._begin(self._clear(child))
        while self._acts:
            await asyncio.wait(self._acts)

    def _take_warm(self, owner: Owner) -> ChildProcess | None:
        for child, (theirs, expiry) in list(self._warm.items()):
            if theirs == owner:
                expiry.cancel()
                del self._warm[child]
                if child.is_alive:
                    return child
                self._begin(self._clear(child))
        return None

    def _take_spare(self) -> ChildProcess | None:
        while self._spares:
            child = self._spares.pop(0)
            if child.is_alive:
                return child
            self._begin(self._clear(child))
        return None

    def _make_room(self, size: int) -> None:
        """End the longest waiting, until one more of that size fits."""
        sizes = {child: memory.resident_bytes(child.pid) for child in self._warm}
        while sizes and (len(sizes) >= self._waiting.warm or sum(sizes.values()) + size > self._waiting.warm_bytes):
            oldest = next(iter(sizes))
            del sizes[oldest]
            self._expire(oldest)

    def _expire(self, child: ChildProcess) -> None:
        _, expiry = self._warm.pop(child)
        expiry.cancel()
        self._begin(self._clear(child))

    async def _refill(self) -> None:
        self._is_filling = True
        try:
            while len(self._spares) < self._waiting.spares and not self._is_closing:
                self._spares.append(await self._new(network=False))
        except OSError as error:
            log.warning("spare_not_started", reason=str(error))  # the next job starts its own, and fails for itself
        finally:
            self._is_filling = False

    async def _new(self, *, network: bool) -> ChildProcess:
        child = await self._start(network)
        self._alive.add(child)
        if self._is_closing:
            await self._clear(child)
        return child

    async def _clear(self, child: ChildProcess) -> None:
        child.kill()
        with suppress(TimeoutError):
            await asyncio.wait_for(child.ended(), END_S)
        await asyncio.to_thread(child.folder.remove)
        self._alive.discard(child)
        if child.stderr:
            log.debug("child_stderr", text=child.stderr.decode(errors="replace"))

    def _begin(self, act: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(act)
        self._acts.add(task)
        task.add_done_callback(self._acts.discard)
        return task


async def _emptied(child: ChildProcess) -> bool:
    try:
        await asyncio.to_thread(child.folder.empty)
    except OSError:
        return False
    return True
