"""The supervisor: claims, keeps alive what it holds, and lets go in order. Conversions run in children it can kill.

offer left-overs ─▶ register ─▶ claim ⇄ heartbeat ─▶ per lease: workshop ─▶ delivery ─▶ leave

The heartbeat is a loop of its own, so that no conversion, download or upload can hold it up.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import uuid4

import psutil

from morag.domain.errors import MoragError
from morag.protocol import Heartbeat, HeartbeatAnswer, LeaseMessage, ReleaseAttempt
from morag.telemetry import log
from morag.worker.remote.answers import ABOUT_THE_WORKER, Away, Refused
from morag.worker.remote.client import Client
from morag.worker.remote.delivery import Delivery
from morag.worker.remote.job import DELIVERING, Job
from morag.worker.remote.patience import Patience
from morag.worker.remote.screen import Screen
from morag.worker.remote.session import Session
from morag.worker.remote.spool import Spool
from morag.worker.remote.workshop import Workshop

Begin = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

GOODBYE_S = 3.0
"""How long leaving, or giving a task back, may take: the server finds out by itself a little later."""
LEAST_POLL_S = 1.0
"""A claim answered with nothing at once is not repeated at once, whoever answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long a worker works, and how much at once."""

    slots: int
    once: bool = False
    """One job, then leave."""
    idle_exit_s: float | None = None
    """Leave after so long without a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a supervisor works with."""

    client: Client
    session: Session
    patience: Patience
    workshop: Workshop
    delivery: Delivery
    spool: Spool
    screen: Screen


@dataclass(slots=True)
class _Idle:
    """Calls once nothing was done for a while."""

    after_s: float | None
    then: Callable[[], None]
    handle: asyncio.TimerHandle | None = field(default=None)

    def begin(self) -> None:
        if self.after_s is not None:
            self.handle = asyncio.get_running_loop().call_later(self.after_s, self.then)

    def end(self) -> None:
        if self.handle:
            self.handle.cancel()


class Supervisor:
    """One worker process, from its first call to its last."""

    def __init__(self, parts: Parts, terms: Terms) -> None:
        """Work with `parts` on these `terms`."""
        self._parts, self._terms = parts, terms
        self._jobs: dict[str, Job] = {}
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()
        self._idle = _Idle(terms.idle_exit_s, self._idle_long_enough)
        self._seq = 0
        self._is_paused = False
        self._heartbeat_s: float | None = None
        """As the server wanted it last."""

    async def run(self) -> None:
        """Work until told to leave. Raises MoragError for what only a person can change."""
        self._idle.begin()
        try:
            await self._offer_left_overs()
            await self._parts.session.register()
            await self._work()
        except Away:
            return  # told to leave while the server was away: it will find out
        except ExceptionGroup as errors:
            raise _told(errors) from None
        finally:
            self._idle.end()
        await self._leave()

    def drain(self, why: str = "asked to stop") -> None:
        """Take nothing new, finish what runs, do not wait for a server that is away, and leave."""
        self._parts.patience.is_over.set()
        self._close(why)

    def let_go(self) -> None:
        """Give back what runs, now."""
        for job in list(self._jobs.values()):
            job.is_released = True
            job.stop("given back")

    def _close(self, why: str) -> None:
        if not self._closing.is_set():
            self._closing.set()
            self._parts.screen.leaving(why)

    def _idle_long_enough(self) -> None:
        self.drain(f"no work for {self._terms.idle_exit_s:g} s")

    async def _offer_left_overs(self) -> None:
        """What earlier sessions made comes first: once registered, their leases count as given up."""
        for parcel in await asyncio.to_thread(self._parts.spool.parcels):
            line = self._parts.screen.left_over(parcel.name)
            ended = await self._parts.delivery.deliver(parcel, lambda told, line=line: line.at(1.0, DELIVERING, told))
            (line.done if ended.is_committed else line.failed)(ended.told)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            beats = group.create_task(self._beat())
            claims = group.create_task(self._claim(group.create_task))
            await self._closing.wait()
            claims.cancel()
            async with self._changed:
                await self._changed.wait_for(lambda: not self._jobs)
            beats.cancel()

    async def _claim(self, begin: Begin) -> None:
        claim_id = uuid4().hex
        while not self._closing.is_set():
            async with self._changed:
                await self._changed.wait_for(lambda: len(self._jobs) < self._terms.slots)
            asked_at = monotonic()
            try:
                leases = await self._parts.session.claim(claim_id, self._terms.slots - len(self._jobs))
            except Away:
                return  # told to leave
            claim_id = uuid4().hex
            for lease in leases:
                self._begin(lease, begin)
            if not leases:
                await asyncio.sleep(max(0.0, LEAST_POLL_S - (monotonic() - asked_at)))

    def _begin(self, lease: LeaseMessage, begin: Begin) -> None:
        if lease.attempt_id in self._jobs:
            return
        self._idle.end()
        job = Job(lease=lease, line=self._parts.screen.job(lease))
        self._jobs[lease.attempt_id] = job
        job.task = begin(self._do(job))
        if self._terms.once:
            self._close("one job was asked for")

    async def _do(self, job: Job) -> None:
        try:
            parcel = await self._parts.workshop.do(job.lease, job.report)
            ended = await self._parts.delivery.deliver(parcel, job.deliver)
            (job.line.done if ended.is_committed else job.line.failed)(ended.told)
        except asyncio.CancelledError:
            if job.told is None:
                raise
            await self._stopped(job)
        except Away as error:
            job.line.failed(f"left as it is: {error.message}")
        except ABOUT_THE_WORKER:
            raise
        except Refused as error:
            job.line.failed(error.message)
        except OSError as error:
            log.warning("job_left", attempt_id=job.lease.attempt_id, reason=type(error).__name__)
            job.line.failed(f"the disk of this machine: {(error.strerror or 'unknown reason').lower()}")
        finally:
            await asyncio.shield(self._forget(job))

    async def _stopped(self, job: Job) -> None:
        """Cancelled or lost: its result is nobody's. Given back: at once, unless only the delivery is left to do."""
        job.line.failed(job.told or "")
        if job.is_released and job.stage == DELIVERING:
            return
        await asyncio.to_thread(self._parts.spool.drop, job.lease.attempt_id)
        if job.is_released:
            body = ReleaseAttempt(fence=job.lease.fence, reason="drain")
            with suppress(TimeoutError, Away, Refused):
                async with asyncio.timeout(GOODBYE_S):
                    await self._parts.client.release(job.lease.attempt_id, body)

    async def _forget(self, job: Job) -> None:
        async with self._changed:
            self._jobs.pop(job.lease.attempt_id, None)
            self._changed.notify_all()
        if not self._jobs:
            self._idle.begin()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s or self._parts.session.now.heartbeat_s)
            try:
                answer = await self._parts.session.heartbeat(self._heartbeat)
            except Away:
                continue  # leaving, and the server is away: what runs is still finished
            self._heed(answer)

    def _heartbeat(self, generation: int) -> Heartbeat:
        self._seq += 1
        return Heartbeat(
            seq=self._seq,
            generation=generation,
            state="draining" if self._closing.is_set() else "active",
            load={"cpu_percent": psutil.cpu_percent(), "memory_percent": psutil.virtual_memory().percent},
            leases=[job.held() for job in self._jobs.values()],
        )

    def _heed(self, answer: HeartbeatAnswer) -> None:
        for attempt_id, word in answer.leases.items():
            job = self._jobs.get(attempt_id)
            if job and word == "cancel":
                job.stop("cancelled")
            elif job and word == "lost":
                job.lose()
        self._heartbeat_s = answer.directives.heartbeat_s
        if answer.directives.drain:
            self._close("the server asked to")
        if answer.directives.pause != self._is_paused:
            self._is_paused = answer.directives.pause
            self._parts.screen.paused(is_paused=self._is_paused)

    async def _leave(self) -> None:
        """Say goodbye; not with results in the spool, whose tasks would be given to others."""
        if await asyncio.to_thread(self._parts.spool.parcels):
            return
        with suppress(TimeoutError, Away, Refused):
            async with asyncio.timeout(GOODBYE_S):
                await self._parts.session.leave()


def _told(errors: ExceptionGroup[Exception]) -> Exception:
    """The one error to tell: two loops hear the same from a server. All of them if one is a bug."""
    matched, rest = errors.split(MoragError)
    if matched is None or rest is not None:
        return errors
    first: Exception = matched
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first
