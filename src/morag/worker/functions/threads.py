"""Plain functions in threads. A thread cannot be killed: when nobody waits for it any more it is counted until it ends.

Each call has a thread of its own, and no thread keeps the process from ending.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

from morag.telemetry import log

T = TypeVar("T")

PATIENCE_S = 10.0
"""A cancelled thread that goes on for longer is reported."""


class Threads:
    """Runs functions, and keeps count of those left to themselves."""

    def __init__(self) -> None:
        self._left: set[str] = set()

    @property
    def stuck(self) -> int:
        """Threads that go on though their result will be thrown away."""
        return len(self._left)

    async def run(self, work: Callable[[], T], *, on_cancel: Callable[[], None], name: str) -> T:
        """The function's result, or what it raises. When cancelled, `on_cancel` is called and the thread left alone."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
        inside = contextvars.copy_context()

        def act() -> None:
            try:
                outcome = inside.run(work), None
            except BaseException as error:  # noqa: BLE001 - handed on to whoever waits
                outcome = None, error
            try:
                loop.call_soon_threadsafe(_resolve, ended, outcome)
            except RuntimeError:
                log.warning("thread_outlived_its_loop", thread=name)

        thread = threading.Thread(target=act, name=name, daemon=True)
        thread.start()
        try:
            result, error = await asyncio.shield(ended)
        except asyncio.CancelledError:
            on_cancel()
            self._leave(ended, f"{name} {thread.ident}")
            raise
        if error:
            raise error
        return result  # pyright: ignore[reportReturnType] - T may be None; without an error it is the result

    def _leave(self, ended: "asyncio.Future[tuple[T | None, BaseException | None]]", name: str) -> None:
        self._left.add(name)
        late = ended.get_loop().call_later(PATIENCE_S, _report, name)

        def let_go(_: object) -> None:
            self._left.discard(name)
            late.cancel()

        ended.add_done_callback(let_go)


def _resolve(
    ended: "asyncio.Future[tuple[T | None, BaseException | None]]", outcome: tuple[T | None, BaseException | None]
) -> None:
    if not ended.done():
        ended.set_result(outcome)


def _report(name: str) -> None:
    log.warning("thread_does_not_stop", thread=name, hint="Look at ctx.is_cancelled now and then, or make it heavy.")
