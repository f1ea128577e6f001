"""BackgroundTasksExecutor: claims, runs and settles in this process, on its event loop.

One loop a door claims as many tasks as the door has free slots; one heartbeat renews all leases in one write. What
a task does is the runner's business: it is handed in.
"""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from morag.control.ports import Run, Signals, TaskStore
from morag.control.tasks.timers import ring_when_due
from morag.domain.errors import StorageFull, Unavailable
from morag.domain.task import Answer, Extension, Lease, Offers, Outcome, Parked, Progress, Retried, Worker
from morag.telemetry import log

PULSE_S = 1.0
"""How long an idle door sleeps at most until it looks for work whose doorbell got lost."""
PROGRESS_S = 0.25
"""Progress is written at most this often."""
LOOK_S = 0.5
"""How often it is asked whether what runs is still ours: a deadline or another process may have closed it."""
GRACE_S = 5.0
"""How long cancelled work may take to clean up."""


class AnyDoor(Protocol):
    """Asked at each turn: what it offers, and how much at once, may change while it is open."""

    @property
    def lanes(self) -> Sequence[str]:
        """Where it claims."""
        ...

    @property
    def offers(self) -> Offers:
        """What it claims."""
        ...

    @property
    def slots(self) -> int:
        """How many may run at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Some task names, the lanes they stand in, and how many of them may run at once."""

    lanes: Sequence[str]
    offers: Offers
    slots: int


@dataclass(slots=True, kw_only=True)
class _Held:
    """A lease, what runs under it, and the news of it that is not yet written."""

    lease: Lease
    work: "asyncio.Task[None] | None" = None
    progress: Progress | None = None
    is_withdrawn: bool = False
    """The store said that it is not ours any more: stop, settle nothing."""
    is_over: bool = False
    """It ran to its outcome, which is being handed in."""

    def report(self, fraction: float, stage: str, message: str) -> None:
        """Note progress; the heartbeat writes it."""
        self.progress = Progress(fraction=min(max(fraction, 0.0), 1.0), stage=stage, message=message)

    def stop(self) -> None:
        """Cancel the work."""
        if self.work:
            self.work.cancel()


class BackgroundTasksExecutor:
    """Runs claimed tasks in this process until cancelled."""

    def __init__(
        self,
        store: TaskStore,
        signals: Signals,
        run: Run,
        *,
        worker: Worker,
        doors: Sequence[AnyDoor],
        lease_s: float = 30.0,
    ) -> None:
        """Claim as `worker` through each of the `doors`, renewing leases of `lease_s` at a quarter of it."""
        self._store = store
        self._signals = signals
        self._run = run
        self._worker = worker
        self._doors = doors
        self._lease_s = lease_s
        self._held: dict[tuple[str, int], _Held] = {}
        self._is_draining = False

    @property
    def slots(self) -> int:
        """How many tasks it runs at once, all doors together."""
        return sum(door.slots for door in self._doors)

    async def serve(self) -> None:
        """Claim, run and settle until cancelled; then stop the work and give it back, uncharged."""
        try:
            async with asyncio.TaskGroup() as group:
                for door in self._doors:
                    group.create_task(self._serve_door(door))
                group.create_task(self._heartbeat())
                group.create_task(self._watch())
        finally:
            await self._give_back()

    async def run_next(self, door: AnyDoor) -> bool:
        """Claim one task through a door that is not served here, run and settle it; whether there was one."""
        leases = await self._claim(door, 1)
        works = [self._start(lease) for lease in leases]
        if works:
            await asyncio.wait(works)
        return bool(works)

    async def check(self) -> None:
        """Ask about every lease held, now, so that a cancel is felt at once."""
        await self._extend(self._ours())

    async def drain(self, timeout_s: float) -> None:
        """Claim nothing more, and return when what runs has ended, or after the time-out."""
        self._is_draining = True
        until = asyncio.get_running_loop().time() + timeout_s
        while works := [each.work for each in self._held.values() if each.work]:
            left_s = until - asyncio.get_running_loop().time()
            if left_s <= 0:
                return
            await asyncio.wait(works, timeout=left_s)

    async def _serve_door(self, door: AnyDoor) -> None:
        running: set[asyncio.Task[None]] = set()
        ended = asyncio.Event()

        def let_go(work: asyncio.Task[None]) -> None:
            running.discard(work)
            ended.set()

        is_rung = True
        with self._signals.hear_lanes(door.lanes) as bell:
            while True:
                ended.clear()
                free = door.slots - len(running)
                leases = await self._claim(door, free) if is_rung or await self._is_any_ready(door) else []
                for lease in leases:
                    work = self._start(lease)
                    running.add(work)
                    work.add_done_callback(let_go)
                if len(leases) < free or not running:
                    is_rung = await bell.wait(PULSE_S)
                else:
                    is_rung = True
                    # not wait_for: Python 3.11's loses a cancel that comes in the turn in which the work ends
                    with suppress(TimeoutError):
                        async with asyncio.timeout(PULSE_S):
                            await ended.wait()

    async def _is_any_ready(self, door: AnyDoor) -> bool:
        """Whether a doorbell got lost: a read, where an idle claim would take the lock of all that write."""
        if self._is_draining or door.offers.names == frozenset():
            return False
        try:
            return any([await self._store.ready(lane, door.offers, limit=1) for lane in door.lanes])
        except (Unavailable, StorageFull) as error:
            log.warning("look_failed", error=error.message)
            return False

    async def _claim(self, door: AnyDoor, n: int) -> list[Lease]:
        if n <= 0 or self._is_draining or door.offers.names == frozenset():
            return []
        claiming = asyncio.ensure_future(
            self._store.claim(
                lanes=door.lanes,
                worker=self._worker,
                claim_id=str(uuid.uuid4()),
                n=n,
                lease_s=self._lease_s,
                offers=door.offers,
            )
        )
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(Unavailable, StorageFull):
                for lease in await claiming:  # granted while it was told to stop
                    await self._store.release(lease.task.id, lease.fence, reason="the server stops")
            raise
        except (Unavailable, StorageFull) as error:
            log.warning("claim_failed", error=error.message)
            await asyncio.sleep(PULSE_S)
            return []

    def _start(self, lease: Lease) -> asyncio.Task[None]:
        held = self._held[lease.task.id, lease.fence] = _Held(lease=lease)
        held.work = asyncio.create_task(self._attempt(held), name=f"task {lease.task.id}")
        return held.work

    async def _attempt(self, held: _Held) -> None:
        """One claim to its settlement, in an asyncio task and so in a context of its own."""
        lease, task = held.lease, held.lease.task
        structlog.contextvars.bind_contextvars(task_id=task.id, task=task.name)
        try:
            outcome = await self._run(lease, held.report)
            held.is_over = True
            answer = await self._settle(lease, outcome)
            if isinstance(outcome, Retried):
                ring_when_due(self._signals, task.lane, outcome.decision.delay_s)
            log.info("attempt_ended", attempt=task.attempt, answer=answer)
        except asyncio.CancelledError:
            log.info("attempt_stopped", attempt=task.attempt, is_withdrawn=held.is_withdrawn)
            raise
        finally:
            del self._held[task.id, lease.fence]

    async def _settle(self, lease: Lease, outcome: Outcome | Parked) -> Answer:
        """Hand in the outcome; while the store cannot take it (disk full, locked), keep the lease and try again."""
        while True:
            try:
                if isinstance(outcome, Parked):
                    return await self._store.park(lease.task.id, lease.fence, outcome)
                return await self._store.settle(lease.task.id, lease.fence, outcome)
            except (Unavailable, StorageFull) as error:
                log.warning("settle_failed", error=error.message)
                await asyncio.sleep(PULSE_S)

    async def _heartbeat(self) -> None:
        """Renew every lease at a quarter of its length, and between write the progress there is."""
        renew_at = 0.0
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PROGRESS_S)
            is_due = loop.time() >= renew_at
            if is_due:
                renew_at = loop.time() + self._lease_s / 4
            await self._extend([each for each in self._ours() if is_due or each.progress])

    async def _watch(self) -> None:
        """Feel soon what others did to the tasks that run here. It is a read: a renewal would make others look, too."""
        while True:
            await asyncio.sleep(LOOK_S)
            before = list(self._held.items())
            if not before:
                continue
            try:
                held = set(await self._store.held(self._worker.id))
            except (Unavailable, StorageFull) as error:
                log.warning("look_failed", error=error.message)
                continue
            gone = [each for key, each in before if key not in held and key in self._held]
            # the store says what it means; one that is only taken for lost is taken up again
            await self._extend([each for each in gone if not each.is_over and not each.is_withdrawn])

    def _ours(self) -> list[_Held]:
        return [each for each in self._held.values() if not each.is_withdrawn]

    async def _extend(self, held: Sequence[_Held]) -> None:
        if not held:
            return
        extensions = [
            Extension(task_id=each.lease.task.id, fence=each.lease.fence, progress=each.progress) for each in held
        ]
        for each in held:
            each.progress = None
        try:
            answers = await self._store.extend(extensions, lease_s=self._lease_s)
        except (Unavailable, StorageFull) as error:
            log.warning("heartbeat_failed", error=error.message)
            return
        for each, answer in zip(held, answers, strict=True):
            if answer is not Answer.OK:
                each.is_withdrawn = True
                each.stop()

    async def _give_back(self) -> None:
        left = list(self._held.values())
        for each in left:
            each.stop()
        works = [each.work for each in left if each.work]
        if works:
            await asyncio.wait(works, timeout=GRACE_S)
        # what the store cannot take back now, it frees when it sees that this process is gone
        with suppress(Unavailable, StorageFull):
            for each in left:
                if not each.is_withdrawn:
                    await self._store.release(each.lease.task.id, each.lease.fence, reason="the server stops")
