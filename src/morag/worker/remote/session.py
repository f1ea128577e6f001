"""One registration after another: who this machine is to the server at the moment, and calls in its name."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from morag.protocol import ClaimWork, Heartbeat, HeartbeatAnswer, LeaseMessage, Registered, RegisterWorker
from morag.worker.remote.answers import SESSION_OVER, Away, Refused
from morag.worker.remote.client import Client
from morag.worker.remote.patience import Patience
from morag.worker.remote.screen import Screen

T = TypeVar("T")

NOT_FOUND = 404
LONGEST_POLL_S = 25.0
"""As the protocol has it."""


class SessionOver(Refused):
    """Another worker took this one's place."""

    def __init__(self) -> None:
        super().__init__(
            409,
            "Another worker with the same instance id took over, so this one stops.",
            code=SESSION_OVER,
            hint="Give each worker a --data-dir of its own; a copied folder holds the id of the machine it came from.",
        )


class Session:
    """A machine's place at its server; taken again when the server has forgotten it."""

    def __init__(self, client: Client, machine: RegisterWorker, patience: Patience, screen: Screen) -> None:
        """Register as `machine`."""
        self._client, self._machine, self._patience, self._screen = client, machine, patience, screen
        self._now: Registered | None = None
        self._registering = asyncio.Lock()
        self._line_works, self._line_broke = asyncio.Event(), asyncio.Event()
        self._line_works.set()

    @property
    def now(self) -> Registered:
        """The current registration; there is one after `register`."""
        if self._now is None:
            raise RuntimeError("register() comes first")
        return self._now

    async def register(self) -> None:
        """Take the place. Raises Refused; Away when patience is over."""
        self._now = await self._patience.call(partial(self._client.register, self._machine))
        self._screen.registered(self._now)

    async def claim(self, claim_id: str, slots: int) -> list[LeaseMessage]:
        """Leases of up to so many tasks, or none after a while. Raises as `heartbeat`.

        Not asked while heartbeats get no answer: what is held is kept alive first, else it might be granted anew.
        """

        def body(session: Registered) -> ClaimWork:
            return ClaimWork(
                claim_id=claim_id,
                generation=session.generation,
                slots=slots,
                wait_s=min(max(session.poll_s, 0.0), LONGEST_POLL_S),
            )

        return await self._patience.call(
            lambda: self._as_registered(
                lambda session: self._while_alive(lambda: self._client.claim(session.worker_id, body(session)))
            )
        )

    async def heartbeat(self, make: Callable[[int], Heartbeat]) -> HeartbeatAnswer:
        """Send what `make` says for the generation, anew at each try.

        Raises SessionOver, other Refused; Away when patience is over.
        """
        return await self._patience.call(
            lambda: self._felt(
                self._as_registered(lambda session: self._client.heartbeat(session.worker_id, make(session.generation)))
            ),
            longest_s=self.now.heartbeat_s,
        )

    async def leave(self) -> None:
        """Give the place up, without waiting for a server that is away. Raises Refused, Away."""
        await self._client.leave(self.now.worker_id)

    async def _felt(self, beat: Awaitable[T]) -> T:
        """The answer to a heartbeat; whether there is one tells of the line."""
        try:
            answer = await beat
        except Away:
            self._line_works.clear()
            self._line_broke.set()
            raise
        self._line_works.set()
        return answer

    async def _while_alive(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What is answered in its time; Away when the line it is awaited on turns out to be dead."""
        await self._line_works.wait()
        self._line_broke.clear()
        asking, breaking = asyncio.create_task(ask()), asyncio.create_task(self._line_broke.wait())
        try:
            await asyncio.wait({asking, breaking}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
        finally:
            asking.cancel()
            breaking.cancel()
        raise Away("The server did not answer a heartbeat.")

    async def _as_registered(self, ask: Callable[[Registered], Awaitable[T]]) -> T:
        while True:
            asked = self.now
            try:
                return await ask(asked)
            except Refused as error:
                if error.status != NOT_FOUND and error.code != SESSION_OVER:
                    raise
                await self._again(asked, is_forgotten=error.status == NOT_FOUND)

    async def _again(self, asked: Registered, *, is_forgotten: bool) -> None:
        """Register again, unless another loop did meanwhile. Raises SessionOver."""
        async with self._registering:
            if self.now is not asked:
                return
            if not is_forgotten:
                raise SessionOver
            await self.register()
