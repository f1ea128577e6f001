"""When a manager's engine is opened and closed: on the first use, on whichever event loop that is."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass

from morag.tasks.engine import Engine


@dataclass(frozen=True, slots=True)
class _Opening:
    loop: asyncio.AbstractEventLoop
    engine: "Future[Engine]"


class Life:
    """At most one open engine. Callable from any thread that runs an event loop."""

    def __init__(self, open_: Callable[[], Awaitable[Engine]]) -> None:
        """`open_` makes the engine."""
        self._open = open_
        self._lock = threading.Lock()
        self._current: _Opening | None = None

    async def engine(self) -> Engine:
        """The engine, opened now if there is none, or if the loop that it lived on is closed. Raises StartupError."""
        with self._lock:
            before = self._current
            if before is not None and not before.loop.is_closed():
                mine, is_first = before, False
            else:
                mine = self._current = _Opening(asyncio.get_running_loop(), Future())
                is_first = True
        if is_first:
            await self._fill(mine, before)
        if mine.engine.done():
            return mine.engine.result()
        return await asyncio.shield(asyncio.wrap_future(mine.engine))

    async def close(self) -> None:
        """Close it, if it is open."""
        with self._lock:
            current, self._current = self._current, None
        if current is not None:
            engine = await asyncio.shield(asyncio.wrap_future(current.engine))
            await engine.close()

    async def _fill(self, mine: _Opening, before: _Opening | None) -> None:
        try:
            if before is not None and before.engine.done() and not before.engine.exception():
                await before.engine.result().close()  # its loop is closed: nothing runs any more, the file is open
            mine.engine.set_result(await self._open())
        except BaseException as error:
            with self._lock:
                if self._current is mine:
                    self._current = None
            mine.engine.set_exception(error)
            raise
