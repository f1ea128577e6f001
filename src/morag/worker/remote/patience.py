"""Asking again: as long as it takes while the server is away, never in step with others, and its word is honoured."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from morag.worker.remote.answers import Away, Redirected
from morag.worker.remote.screen import Screen

T = TypeVar("T")

FIRST_S, LONGEST_S = 0.5, 30.0
LONGEST_ASKED_S = 600.0
"""A `Retry-After` beyond this is not believed."""


def pause_s(tries: int, jitter: float, longest_s: float = LONGEST_S) -> float:
    """How long to wait before the next try: half of what doubles each time, and up to the other half by `jitter`."""
    whole = min(longest_s, FIRST_S * 2.0 ** min(tries, 16))
    return whole / 2 + jitter * whole / 2


class Patience:
    """What all loops of a worker share about its server: whether it is there, and how to wait for it."""

    def __init__(self, screen: Screen) -> None:
        """Tell `screen` when the server goes away, and when it is back."""
        self.is_over = asyncio.Event()
        """Set when nobody has time to wait any more: whatever is asked then is asked once."""
        self._screen = screen
        self._was_there = self._is_away = False

    async def call(self, ask: Callable[[], Awaitable[T]], *, longest_s: float = LONGEST_S) -> T:
        """What `ask` answers, asked until it does. Raises Refused; Away when patience is over."""
        tries = 0
        while True:
            try:
                answer = await ask()
            except (Away, Redirected) as error:
                if isinstance(error, Redirected) and not self._was_there:
                    raise  # not a server that moved, but a wrong address
                if self.is_over.is_set():
                    raise Away(error.message, code=error.code) from error
                await self._pause(error, tries, longest_s)
                tries += 1
            else:
                self._there()
                return answer

    async def _pause(self, error: Away | Redirected, tries: int, longest_s: float) -> None:
        jitter = random.random()  # noqa: S311 - spreads retries, no secret
        wait_s = pause_s(tries, jitter, longest_s)
        if isinstance(error, Away) and error.retry_after_s is not None:
            wait_s = max(wait_s, min(error.retry_after_s, LONGEST_ASKED_S))
        if not self._is_away:
            self._is_away = True
            self._screen.away(error)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self.is_over.wait()

    def _there(self) -> None:
        if self._is_away:
            self._screen.back()
        self._was_there, self._is_away = True, False
