"""The records in memory, and the steps every act on them is made of."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from morag.control.ports import Signals, SteadyClock
from morag.domain.failure import Decision, Failure
from morag.domain.history import Attempt, Event
from morag.domain.limits import Limits
from morag.domain.task import TERMINAL_STATES, NewTask, Task, TaskState, Worker
from morag.domain.transitions import Standing, as_json, opened, rank, resumed, waits_until


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """A record with what only the store knows of it."""

    task: Task
    new: NewTask
    rank: int
    is_ready: bool
    created_steady: float
    finished_steady: float | None = None
    due_at: float | None = None
    """When it times out as it stands, on the steady time."""
    lapsed: bool = False
    """Pending because its lease expired: its holder may still come back."""
    worker: Worker | None = None
    claim_id: str | None = None
    lease_s: float = 0.0
    lease_until: float = 0.0
    """On the monotonic clock."""
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    digests: dict[int, str] = field(default_factory=dict[int, str])
    """By fence: of the outcome it was settled with."""
    log: list[Event] = field(default_factory=list[Event])
    blobs: set[str] = field(default_factory=set[str])

    @property
    def is_running(self) -> bool:
        """Whether someone holds it and its lease did not expire."""
        return self.task.state is TaskState.RUNNING

    @property
    def has_slot(self) -> bool:
        """Whether it counts as running: its holder is at it, or may still be."""
        return self.is_running or self.lapsed

    def is_held(self, fence: int) -> bool:
        """Whether the fence is that of a lease which still counts."""
        return self.task.fence == fence and self.has_slot

    def set(self, **changes: Any) -> None:
        """Replace fields of the record."""
        self.task = replace(self.task, **changes)


class Ledger:
    """All records, by id, with their log and bells."""

    def __init__(self, clock: SteadyClock, signals: Signals) -> None:
        self.clock = clock
        self._ahead_s = clock.now() - clock.uptime()
        self.entries: dict[str, Entry] = {}
        self.limits: dict[str | None, Limits] = {}
        """By user; None is for all who have none of their own."""
        self._signals = signals

    def steady(self) -> float:
        """Now, for delays and deadlines: begun as the wall clock, which may be set since then."""
        return self.clock.uptime() + self._ahead_s

    def of(self, task_id: str) -> Entry | None:
        """The entry, None for an unknown id."""
        return self.entries.get(task_id)

    def held(self, task_id: str, fence: int) -> Entry | None:
        """The entry if the fence is current."""
        entry = self.entries.get(task_id)
        return entry if entry and entry.is_held(fence) else None

    def of_user(self, user_id: str) -> list[Entry]:
        """All entries of the user."""
        return [entry for entry in self.entries.values() if entry.task.user_id == user_id]

    def limits_of(self, user_id: str) -> Limits:
        """The user's limits, else everybody's, else none."""
        return self.limits.get(user_id) or self.limits.get(None) or Limits()

    def children(self, task_id: str) -> list[Entry]:
        """The children, oldest first."""
        return sorted(
            (entry for entry in self.entries.values() if entry.task.parent_id == task_id),
            key=lambda entry: entry.task.id,
        )

    def tree(self, task_id: str) -> Iterator[Entry]:
        """The task and all below it."""
        yield self.entries[task_id]
        for child in self.children(task_id):
            yield from self.tree(child.task.id)

    def insert(self, new: NewTask, *, user_id: str, parent_id: str | None) -> Entry:
        """Store one record with the first line of its log."""
        steady = self.steady()
        task = opened(new, user_id=user_id, parent_id=parent_id, now=self.clock.now(), steady=steady)
        is_ready = not task.state.is_terminal and new.delay_s <= 0
        standing = Standing.ROOT if parent_id is None else Standing.CHILD
        entry = Entry(
            task=task,
            new=new,
            rank=rank(standing, new.priority),
            is_ready=is_ready,
            created_steady=steady,
            finished_steady=steady if task.state.is_terminal else None,
            due_at=waits_until(task, steady),
            blobs=set(new.blobs),
        )
        self.entries[new.id] = entry
        self.note(entry, "state", state=TaskState.PENDING.value, lane=task.lane, reason=task.routing.reason)
        if task.state.is_terminal:
            self.note_state(entry)
        elif is_ready:
            self._signals.lane(task.lane)
        return entry

    def note(self, entry: Entry, kind: str, /, **data: Any) -> None:
        """Append one line to the task's log."""
        line = Event(task_id=entry.task.id, seq=len(entry.log) + 1, at=self.clock.now(), kind=kind, data=as_json(data))
        entry.log.append(line)
        self._signals.task(entry.task.id)

    def note_state(self, entry: Entry, **more: Any) -> None:
        """Append the state as it is now."""
        self.note(entry, "state", state=entry.task.state.value, **more)

    def note_decision(self, entry: Entry, decision: Decision) -> None:
        """Append a `decision` event."""
        self.note(entry, "decision", **as_json(decision))

    def stand_in_lane(self, entry: Entry, *, ready_at: float, **changes: Any) -> None:
        """Let the task be pending, claimable from `ready_at` on."""
        entry.set(state=TaskState.PENDING, ready_at=ready_at, **changes)
        if ready_at <= self.steady():
            self.ready(entry)

    def ready(self, entry: Entry) -> None:
        """Let claims find the pending task."""
        entry.is_ready = True
        self._signals.lane(entry.task.lane)

    def slot_freed(self, entry: Entry) -> None:
        """A task stops running: if that makes room below a limit, the lanes of its user's others are rung."""
        if self.limits_of(entry.task.user_id).running is not None:
            self.ring_lanes(entry.task.user_id)

    def ring_lanes(self, user_id: str | None) -> None:
        """Ring where ready tasks of the user, or of anybody, stand."""
        for entry in self.entries.values():
            if entry.is_ready and user_id in {None, entry.task.user_id}:
                self._signals.lane(entry.task.lane)

    def promote(self) -> None:
        """Let delayed tasks whose time has come be claimable."""
        for entry in self.entries.values():
            task = entry.task
            if task.state is TaskState.PENDING and not entry.is_ready and task.ready_at <= self.steady():
                self.ready(entry)

    def end_attempt(
        self, entry: Entry, outcome: str, failure: Failure | None = None, decision: Decision | None = None
    ) -> None:
        """End the latest attempt."""
        if entry.attempts:
            entry.attempts[-1] = replace(
                entry.attempts[-1], ended_at=self.clock.now(), outcome=outcome, failure=failure, decision=decision
            )

    def end(self, entry: Entry, state: TaskState, failure: Failure | None = None, **changes: Any) -> None:
        """Make the state terminal, cancel what is open below, tell the parent."""
        entry.set(state=state, finished_at=self.clock.now(), failure=failure, **changes)
        entry.is_ready, entry.lapsed, entry.due_at = False, False, None
        entry.finished_steady = self.steady()
        more = {"code": failure.code, "message": failure.message, "hint": failure.hint} if failure else {}
        self.note_state(entry, **more)
        for child in self.children(entry.task.id):
            self.close(child, TaskState.CANCELLED)
        self._tell_parent(entry)

    def close(self, entry: Entry, state: TaskState, failure: Failure | None = None) -> bool:
        """End an open task whoever holds it; its fence moves on if someone does."""
        if entry.task.state in TERMINAL_STATES:
            return False
        if entry.has_slot:
            entry.set(fence=entry.task.fence + 1)
            self.slot_freed(entry)
        if entry.attempts and entry.attempts[-1].ended_at is None:
            self.end_attempt(entry, state.value, failure)
        self.end(entry, state, failure)
        return True

    def resume(self, entry: Entry) -> bool:
        """Put a waiting task back into its lane, before the user's others."""
        if entry.task.state is not TaskState.WAITING:
            return False
        entry.rank = resumed(entry.rank)
        self.stand_in_lane(entry, ready_at=self.steady(), open_children=0)
        self.note_state(entry, reason="children_ended")
        return True

    def withdraw(self, user_id: str, document_id: str) -> None:
        """Cancel the user's ingests under way of a document that is removed: removing it came later."""
        for entry in list(self.entries.values()):
            taken = entry.new.reservation
            if taken and (entry.task.user_id, taken.document_id) == (user_id, document_id):
                self.close(entry, TaskState.CANCELLED)

    def overdue(self) -> list[Entry]:
        """Open tasks past their deadline or their waiting limit, by when that was."""
        now = self.steady()
        found = [(entry.due_at, entry.task.id) for entry in self.entries.values() if entry.due_at is not None]
        return [self.entries[task_id] for due, task_id in sorted(found) if due <= now]

    def _tell_parent(self, entry: Entry) -> None:
        parent = self.entries.get(entry.task.parent_id or "")
        if parent is None or not parent.task.open_children:
            return
        parent.set(open_children=parent.task.open_children - 1)
        if parent.task.open_children <= 0:
            self.resume(parent)


IsAlive = Callable[[int, float | None], bool]
"""Whether the process with that number and start still runs on this machine."""
