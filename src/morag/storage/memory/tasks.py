"""The task record in memory: `control.ports.TaskStore` in its plainest form, gone with the process.

Nothing here awaits inside an act, so that each is atomic on its event loop. One loop only.
"""

from collections.abc import Mapping, Sequence

from morag.control.ports import LaneLoad, Signals, SteadyClock, SweepReport
from morag.domain.history import Attempt, Event
from morag.domain.limits import Limits, Usage, check
from morag.domain.task import Answer, Extension, Lease, NewTask, Offers, Outcome, Parked, Task, TaskState, Worker
from morag.domain.transitions import (
    check_inline,
    overdue,
    steps,
    worn_out,
)
from morag.storage.memory.claiming import Claim, Shares, fits, grant, held
from morag.storage.memory.documents import MemoryDocumentStore
from morag.storage.memory.holding import Holding
from morag.storage.memory.intake import Intake
from morag.storage.memory.ledger import Entry, IsAlive, Ledger
from morag.storage.memory.limits import Accounts


class MemoryTaskStore:
    """`control.ports.TaskStore` without a file."""

    def __init__(
        self, documents: MemoryDocumentStore, *, clock: SteadyClock, signals: Signals, boot_id: str, is_alive: IsAlive
    ) -> None:
        """Publish to `documents`; `boot_id` and `is_alive` tell which processes of this machine are gone."""
        self._documents = documents
        self._ledger = Ledger(clock, signals)
        documents.on_remove(self._ledger.withdraw)
        self._shares = Shares(self._ledger)
        self._accounts = Accounts(self._ledger, documents)
        self._intake = Intake(self._ledger, documents, self._accounts)
        self._holding = Holding(self._ledger, documents)
        self._clock = clock
        self._boot_id = boot_id
        self._is_alive = is_alive
        self._leader: tuple[Worker, float] | None = None
        """Who leads, and until when on the monotonic clock."""

    async def submit(self, tasks: Sequence[NewTask]) -> list[Task]:
        """Store all of them or none, in order. Raises IdempotencyConflict, DocumentExists, LimitReached."""
        return self._intake.submit(tasks)

    async def claim(
        self, *, lanes: Sequence[str], worker: Worker, claim_id: str, n: int, lease_s: float, offers: Offers
    ) -> list[Lease]:
        """Grant up to `n` ready tasks, fairest user first; the same `claim_id` gives the same leases, renewed."""
        asked = Claim(worker=worker, claim_id=claim_id, lease_s=lease_s, offers=offers)
        granted = held(self._ledger, asked)
        if granted:
            return granted
        self._ledger.promote()
        for lane in lanes:
            granted += grant(self._ledger, self._shares, asked, lane, n - len(granted))
        return granted

    async def extend(self, extensions: Sequence[Extension], *, lease_s: float) -> list[Answer]:
        """Renew leases and note progress."""
        return [self._holding.extend(extension, lease_s) for extension in extensions]

    async def park(self, task_id: str, fence: int, parked: Parked) -> Answer:
        """Let the task wait for its children. Raises ValueError if a child's step is missing or doubled."""
        steps(parked.children)
        return self._holding.park(task_id, fence, parked)

    async def settle(self, task_id: str, fence: int, outcome: Outcome) -> Answer:
        """End the attempt with all that follows from it. Raises ValueError for a result that must be a blob."""
        check_inline(outcome)
        return self._holding.settle(task_id, fence, outcome)

    async def release(self, task_id: str, fence: int, *, reason: str) -> Answer:
        """Give the task back to its lane at once, charging no budget."""
        return self._holding.release(task_id, fence, reason)

    async def cancel(self, task_id: str, *, user_id: str) -> Task | None:
        """End an open task and all its open descendants; the record afterwards, None if the user has no such task."""
        entry = self._ledger.of(task_id)
        if entry is None or entry.task.user_id != user_id:
            return None
        self._ledger.close(entry, TaskState.CANCELLED)
        return entry.task

    async def hasten(self, task_id: str) -> bool:
        """Let a pending task that waits for its time be claimable now."""
        entry = self._ledger.of(task_id)
        if entry is None or entry.is_ready or entry.task.state is not TaskState.PENDING:
            return False
        self._ledger.stand_in_lane(entry, ready_at=self._ledger.steady())
        return True

    async def sweep(self) -> SweepReport:
        """Repair what time or death broke."""
        self._ledger.promote()
        entries = list(self._ledger.entries.values())
        return SweepReport(
            timed_out=sum(
                self._ledger.close(entry, TaskState.TIMEOUT, overdue(entry.task)) for entry in self._ledger.overdue()
            ),
            expired=sum(self._lapse(entry) for entry in entries),
            unparked=sum(self._ledger.resume(entry) for entry in entries if self._is_forgotten(entry)),
        )

    async def held(self, worker_id: str, *, but: str = "") -> list[tuple[str, int]]:
        """(task id, fence) of each lease that a claimer of that id holds, those of the claim id `but` left out."""
        mine = [entry for entry in self._held_by(worker_id) if entry.claim_id != but]
        return sorted((entry.task.id, entry.task.fence) for entry in mine)

    async def forsake(self, worker_id: str) -> int:
        """Take the leases of a claimer whose session is over as expired now; how many."""
        mine = self._held_by(worker_id)
        for entry in mine:
            entry.lease_until = self._clock.monotonic()
        return sum(self._lapse(entry) for entry in mine)

    async def reclaim(self, *, keep: Worker) -> int:
        """Free the leases of dead processes and of earlier runs in this one; renew those of machines elsewhere."""
        freed = 0
        for entry in [entry for entry in self._ledger.entries.values() if entry.is_running]:
            worker = entry.worker
            if worker is None or worker.pid is None:
                entry.lease_until = self._clock.monotonic() + entry.lease_s
            elif self._is_gone(worker) or (worker.pid == keep.pid and worker.id != keep.id):
                self._holding.free(entry, reason="server_restarted", was_held_by=worker.id)
                freed += 1
        return freed

    async def lead(self, worker: Worker, *, lease_s: float) -> bool:
        """Whether `worker` leads."""
        if self._leader:
            holder, until = self._leader
            if holder.id != worker.id and until > self._clock.monotonic() and not self._is_gone(holder):
                return False
        self._leader = worker, self._clock.monotonic() + lease_s
        return True

    async def resign(self, worker: Worker) -> None:
        """Give the lead back, if `worker` has it."""
        if self._leader and self._leader[0].id == worker.id:
            self._leader = None

    async def set_limits(self, user_id: str | None, limits: Limits | None) -> None:
        """Give a user, or everybody without their own, limits; None takes them back. Raises InvalidRequest."""
        if limits:
            check(limits)
        self._accounts.assign(user_id, limits)

    async def limits(self, user_id: str) -> Limits:
        """The user's limits, else everybody's, else none."""
        return self._ledger.limits_of(user_id)

    async def users(self) -> list[str]:
        """Everybody who is known by limits of their own, by tasks or by documents; in order."""
        return self._accounts.users()

    async def usage(self, user_id: str) -> Usage:
        """What the user uses now."""
        return self._accounts.usage(user_id)

    async def get(self, task_id: str, *, user_id: str | None = None) -> Task | None:
        """The record; with a user id only if it is that user's."""
        entry = self._ledger.of(task_id)
        return entry.task if entry and user_id in {None, entry.task.user_id} else None

    async def find(
        self,
        *,
        user_id: str,
        states: Sequence[TaskState] = (),
        name: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Task]:
        """A user's root tasks, newest first, from before the task `before` on."""
        tasks = [entry.task for entry in self._ledger.entries.values() if entry.task.parent_id is None]
        wanted = [
            task
            for task in tasks
            if task.user_id == user_id
            and (not states or task.state in states)
            and name in {None, task.name}
            and (before is None or task.id < before)
        ]
        return sorted(wanted, key=lambda task: task.id, reverse=True)[:limit]

    async def children(self, task_id: str) -> list[Task]:
        """The children of a task, oldest first."""
        return [entry.task for entry in self._ledger.children(task_id)]

    async def attempts(self, task_id: str) -> list[Attempt]:
        """All attempts, oldest first."""
        entry = self._ledger.of(task_id)
        return list(entry.attempts) if entry else []

    async def events(self, task_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """The log after a sequence number, oldest first."""
        entry = self._ledger.of(task_id)
        return entry.log[after : after + limit] if entry else []

    async def position(self, task_id: str) -> int | None:
        """How many ready tasks of its user in its lane are before a pending task."""
        mine = self._ledger.of(task_id)
        if mine is None or mine.task.state is not TaskState.PENDING:
            return None
        place, queue = (mine.rank, task_id), (mine.task.lane, mine.task.namespace, mine.task.user_id)
        return sum(
            entry.is_ready
            and (entry.task.lane, entry.task.namespace, entry.task.user_id) == queue
            and (entry.rank, entry.task.id) < place
            for entry in self._ledger.entries.values()
        )

    async def lanes(self, *, user_id: str | None = None) -> Mapping[str, LaneLoad]:
        """By lane: what stands there and what runs."""
        standing = [
            entry
            for entry in self._ledger.entries.values()
            if entry.task.state in {TaskState.PENDING, TaskState.RUNNING} and user_id in {None, entry.task.user_id}
        ]
        return {lane: self._load(standing, lane) for lane in {entry.task.lane for entry in standing}}

    async def ready(self, lane: str, offers: Offers, *, limit: int) -> list[tuple[str, int]]:
        """(task id, attempts so far) of ready tasks in a lane that such a claimer could be granted, in no order."""
        found = filter(fits(self._ledger, offers, lane), self._ledger.entries.values())
        return [(entry.task.id, entry.task.attempt) for entry in found][:limit]

    async def ready_names(self, lane: str, namespace: str) -> set[str]:
        """The names of the ready tasks of a namespace in a lane."""
        ready = [entry.task for entry in self._ledger.entries.values() if entry.is_ready]
        return {task.name for task in ready if (task.lane, task.namespace) == (lane, namespace)}

    async def retire(self, *, older_than_s: float) -> int:
        """Delete trees that ended longer ago than that; how many tasks."""
        before = self._ledger.steady() - older_than_s
        roots = [
            entry.task.id
            for entry in self._ledger.entries.values()
            if entry.task.parent_id is None and entry.finished_steady is not None and entry.finished_steady < before
        ]
        retired = [entry.task.id for root in roots for entry in self._ledger.tree(root)]
        for task_id in retired:
            del self._ledger.entries[task_id]
        return len(retired)

    async def referenced(self, blobs: Sequence[str]) -> set[str]:
        """Those of the blobs that a task or a document refers to."""
        known = self._documents.blobs().union(*(entry.blobs for entry in self._ledger.entries.values()))
        return known.intersection(blobs)

    def _held_by(self, worker_id: str) -> list[Entry]:
        return [
            entry for entry in self._ledger.entries.values() if entry.is_running and entry.task.worker_id == worker_id
        ]

    def _lapse(self, entry: Entry) -> bool:
        is_gone = entry.worker is not None and self._is_gone(entry.worker)
        if not entry.is_running or not (is_gone or entry.lease_until <= self._clock.monotonic()):
            return False
        self._ledger.end_attempt(entry, "lost")
        entry.lapsed = True
        entry.set(infrastructure_losses=entry.task.infrastructure_losses + 1)
        if entry.task.infrastructure_losses > entry.task.budget.infrastructure:
            return self._ledger.close(entry, TaskState.FAILED, worn_out(entry.task))
        entry.set(state=TaskState.PENDING)
        self._ledger.ready(entry)
        self._ledger.slot_freed(entry)
        reason = "worker_gone" if is_gone else "lease_expired"
        self._ledger.note_state(entry, reason=reason, worker_id=entry.task.worker_id)
        return True

    def _is_gone(self, worker: Worker) -> bool:
        if worker.pid is None:
            return False
        return worker.boot_id != self._boot_id or not self._is_alive(worker.pid, worker.pid_started_at)

    def _is_forgotten(self, entry: Entry) -> bool:
        children = self._ledger.children(entry.task.id)
        return entry.task.state is TaskState.WAITING and all(child.task.state.is_terminal for child in children)

    def _load(self, standing: Sequence[Entry], lane: str) -> LaneLoad:
        here = [entry for entry in standing if entry.task.lane == lane]
        ready = [entry.task.ready_at for entry in here if entry.is_ready]
        return LaneLoad(
            length=sum(entry.task.state is TaskState.PENDING for entry in here),
            # the holder of an expired lease may still be at it
            running=sum(entry.is_running or entry.lapsed for entry in here),
            oldest_wait_s=max(0.0, self._ledger.steady() - min(ready)) if ready else None,
        )
