"""The gateway: how users' machines claim, renew and settle. Knows no HTTP; every act names the user whose key asked.

register ─▶ claim ─(lease under a fence)─▶ heartbeat … ─▶ complete │ fail │ release ─▶ settle in the record

A worker is told nothing and can change nothing but what stands in its owner's lanes and was granted to it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from morag.control.fleet.registry import WORKER_PREFIX, Registry
from morag.control.ports import Clock, Signals, TaskStore
from morag.domain.errors import Conflict, InvalidRequest, NotFound
from morag.domain.failure import Decision, Failure
from morag.domain.json import JsonObject
from morag.domain.task import Answer, Completed, Extension, Lease, Offers, Outcome, Progress, Task, Worker
from morag.domain.worker import LEASE_S, Machine, Presence, Readiness, RemoteWorker

LOOK_S = 10.0
"""How long a claim sleeps at most though no bell rang: one may have got lost."""
ELSEWHERE = "remote"
"""Boot id of claimers that are not on this machine: only their leases tell of their end."""

Decide = Callable[[Failure, Task, float], Outcome]
"""What becomes of a task after a failure; the last argument, 0 to 1, spreads retries."""
Check = Callable[[], Awaitable[object]]
"""Raises if whoever asked is no longer allowed to: asked again before every grant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A lease as its holder tells of it."""

    attempt_id: str
    fence: int
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How much a worker asks for, and how long it waits."""

    claim_id: str
    slots: int
    wait_s: float


class Gateway:
    """The door for users' own machines."""

    def __init__(
        self, registry: Registry, store: TaskStore, signals: Signals, clock: Clock, *, offers: Offers, decide: Decide
    ) -> None:
        """Grant tasks of the names that `offers` has; `decide` is asked about failures."""
        self._registry = registry
        self._store = store
        self._signals = signals
        self._clock = clock
        self._offers = offers
        self._decide = decide

    async def register(self, user_id: str, machine: Machine) -> RemoteWorker:
        """Take a machine in. What its sessions before hold may be granted to others from now on."""
        worker = await self._registry.register(user_id, machine)
        for generation in range(max(1, worker.generation - 3), worker.generation):
            await self._store.forsake(claimer_id(worker.id, generation))
        return worker

    async def claim(self, user_id: str, worker: RemoteWorker, asked: Asked, check: Check) -> list[Lease]:
        """Leases of the owner's fairest tasks, as soon as there are any; none after `wait_s`.

        The same `claim_id` gives the same leases. `check` is called before every grant.
        """
        if asked.slots > worker.machine.slots:
            raise InvalidRequest(
                f"This worker registered {worker.machine.slots} slots.", hint="Register it with more.", field="slots"
            )
        asked_at = self._clock.now()
        until = self._clock.monotonic() + asked.wait_s
        lanes = worker.machine.lanes
        with self._signals.hear_lanes(lanes) as bell:
            is_likely = True  # the same claim may have been granted before
            while True:
                leases = await self._grant(worker, lanes, asked, check) if is_likely else []
                left_s = until - self._clock.monotonic()
                if leases or left_s <= 0:
                    return leases
                is_rung = await bell.wait(min(LOOK_S, left_s))
                worker = await self._registry.known(user_id, worker.id, worker.generation)
                is_likely = self._is_there(worker, asked_at) and (is_rung or await self._is_any_ready(worker, lanes))

    async def heartbeat(
        self, worker: RemoteWorker, held: Sequence[Held], *, load: JsonObject, is_draining: bool
    ) -> tuple[RemoteWorker, list[Answer]]:
        """Renew the leases it holds, in the order given; the worker as it is wanted to be.

        Raises Conflict for a session that is over.
        """
        heard = await self._registry.hear(worker, load=load, held=len(held))
        if is_draining and heard.readiness is Readiness.ACTIVE:
            heard = await self._registry.set_readiness(worker.user_id, worker.id, Readiness.DRAINING)
        own = [await self._own(worker.user_id, each.attempt_id, each.fence) for each in held]
        renewed = await self._store.extend(
            [
                Extension(task_id=task.id, fence=each.fence, progress=each.progress)
                for each, task in zip(held, own, strict=True)
                if task
            ],
            lease_s=LEASE_S,
        )
        answers = iter(renewed)
        return heard, [next(answers) if task else Answer.LOST for task in own]

    async def leave(self, user_id: str, worker_id: str) -> None:
        """Forget a worker that leaves; what it still holds goes back to its lane, uncharged. Raises NotFound."""
        worker = await self._registry.known(user_id, worker_id)
        for task_id, fence in await self._store.held(claimer_id(worker.id, worker.generation)):
            await self._store.release(task_id, fence, reason="worker_left")
        await self._registry.leave(user_id, worker_id)

    async def attempt(self, user_id: str, attempt_id: str) -> tuple[Task, int]:
        """The user's task behind an attempt, and the attempt's fence. Raises NotFound."""
        task_id, _, number = attempt_id.rpartition(".")
        fence = int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else 0
        task = await self._store.get(task_id, user_id=user_id)
        granted = [each for each in await self._store.attempts(task_id) if each.fence == fence] if task else []
        # what the server itself runs is not for a worker's key to settle
        if task is None or not granted or not granted[0].worker_id.startswith(WORKER_PREFIX):
            raise NotFound("There is no such attempt.", hint="Claim again.")
        return task, fence

    async def complete(self, task: Task, fence: int, outcome: Completed) -> Answer:
        """Settle with a result."""
        return await self._store.settle(task.id, fence, outcome)

    async def is_committed(self, task: Task, fence: int) -> bool:
        """Whether the task was completed under this fence."""
        return any(each.fence == fence and each.outcome == "completed" for each in await self._store.attempts(task.id))

    async def fail(self, task: Task, fence: int, failure: Failure) -> tuple[Answer, Decision | None]:
        """Settle with a failure: what is done about it; the same again gives the same decision."""
        outcome = self._decide(failure, task, random.random())  # noqa: S311 - spreads retries, no secret
        answer = await self._store.settle(task.id, fence, outcome)
        if answer is Answer.OK:
            return answer, None if isinstance(outcome, Completed) else outcome.decision
        told = [each for each in await self._store.attempts(task.id) if each.fence == fence and each.decision]
        return (Answer.DUPLICATE, told[0].decision) if told else (answer, None)

    async def release(self, task: Task, fence: int, reason: str) -> Answer:
        """Give it back to its lane, uncharged."""
        return await self._store.release(task.id, fence, reason=reason)

    async def _grant(self, worker: RemoteWorker, lanes: Sequence[str], asked: Asked, check: Check) -> list[Lease]:
        me, claim_id = claimer_id(worker.id, worker.generation), f"{worker.id}/{asked.claim_id}"
        # both may have to read, and neither needs the other
        _, held = await asyncio.gather(check(), self._store.held(me, but=claim_id))
        free = worker.machine.slots - len(held)
        if worker.readiness is not Readiness.ACTIVE or free <= 0:
            return []
        return await self._store.claim(
            lanes=lanes,
            worker=Worker(id=me, boot_id=ELSEWHERE),
            claim_id=claim_id,
            n=min(asked.slots, free),
            lease_s=LEASE_S,
            offers=self._offers_of(worker),
        )

    async def _is_any_ready(self, worker: RemoteWorker, lanes: Sequence[str]) -> bool:
        """Look without the lock of a claim: of a thousand who wait, hardly one finds something that no bell told of."""
        offers = self._offers_of(worker)
        for lane in lanes:
            if await self._store.ready(lane, offers, limit=1):
                return True
        return False

    def _offers_of(self, worker: RemoteWorker) -> Offers:
        return replace(self._offers, content_types=frozenset(each.value for each in worker.machine.content_types))

    def _is_there(self, worker: RemoteWorker, asked_at: float) -> bool:
        """Whether it is alive: asking is a sign of life, waiting is none."""
        heard = replace(worker, seen_at=max(worker.seen_at, asked_at))
        return heard.presence(self._clock.now()) is Presence.ALIVE

    async def _own(self, user_id: str, attempt_id: str, fence: int) -> Task | None:
        """The task of a lease that may be this user's; whether it still holds is for the fence to say."""
        try:
            task, its_fence = await self.attempt(user_id, attempt_id)
        except NotFound:
            return None
        return task if its_fence == fence else None


def attempt_id(task_id: str, fence: int) -> str:
    """What the wire calls a grant."""
    return f"{task_id}.{fence}"


def claimer_id(worker_id: str, generation: int) -> str:
    """What the record calls one session of a worker."""
    return f"{worker_id}.{generation}"


def machine_of(claimer: str) -> str:
    """The worker behind a session of `claimer_id`; claimers of the server itself as they are."""
    return claimer.rpartition(".")[0] if is_machine(claimer) else claimer


def is_machine(claimer: str) -> bool:
    """Whether a claimer is a user's machine, and not the server itself."""
    return claimer.startswith(WORKER_PREFIX)


def refused(answer: Answer) -> Conflict:
    """Why a holder's word does not count any more."""
    if answer is Answer.CANCELLED:
        return Conflict("The task was cancelled.", code="cancelled", hint="Drop what you made of it.")
    return Conflict("The task was granted to another.", code="fence_lost", hint="Drop what you made of it.")
