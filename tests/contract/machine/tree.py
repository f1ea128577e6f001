"""How the model's tasks hang together: who ends with whom, who waits for whom."""

from collections.abc import Iterator

from tests.contract.conftest import FakeClock
from tests.contract.machine.record import Rec, Shown

from morag.domain.failure import Failure
from morag.domain.limits import Limits
from morag.domain.task import NewTask


class Tree:
    """All tasks and documents, and the steps every act is made of."""

    def __init__(self, clock: FakeClock, boot_id: str, dead: set[int], *, is_shared: bool) -> None:
        """`is_shared`: several machines may use the store, so that leases outlive a run of this one."""
        self.clock = clock
        self.is_shared = is_shared
        self.boot_id = boot_id
        self.dead = dead
        self.tasks: dict[str, Rec] = {}
        self.documents: dict[tuple[str, str], Shown] = {}
        self.terms: dict[str | None, Limits] = {}
        self.noted = clock.wall, clock.steady
        """The wall clock as it stood when it was last compared with what passed in truth."""

    @property
    def lease_boot(self) -> str:
        return "the server" if self.is_shared else self.boot_id

    @property
    def steady(self) -> float:
        """Now, for delays and deadlines: on a server its only clock, elsewhere what passed in truth."""
        return self.clock.wall if self.is_shared else self.clock.steady

    def all(self) -> list[Rec]:
        return list(self.tasks.values())

    def children(self, task_id: str) -> list[Rec]:
        return [rec for rec in self.tasks.values() if rec.parent == task_id]

    def open_children(self, task_id: str) -> int:
        return sum(rec.is_open for rec in self.children(task_id))

    def tree(self, task_id: str) -> Iterator[str]:
        yield task_id
        for child in self.children(task_id):
            yield from self.tree(child.new.id)

    def close(self, rec: Rec, state: str, code: str | None = None) -> bool:
        if not rec.is_open:
            return False
        if rec.state == "running" or rec.lapsed:
            rec.fence += 1
        if rec.attempts and rec.attempts[-1][2] is None:
            rec.attempts[-1][2] = state
        self.end(rec, state)
        rec.failure_code = code
        return True

    def end(self, rec: Rec, state: str, failure: Failure | None = None) -> None:
        rec.become(state)
        rec.finished, rec.is_ready, rec.lapsed = self.clock.now(), False, False
        rec.finished_steady = self.steady
        rec.failure, rec.failure_code = failure, failure.code if failure else None
        for child in self.children(rec.new.id):
            self.close(child, "cancelled")
        if rec.parent in self.tasks:
            self.wake(self.tasks[rec.parent])

    def wake(self, rec: Rec) -> None:
        if rec.state == "waiting" and not self.open_children(rec.new.id):
            rec.was_resumed = True
            self.stand(rec, self.steady)

    def insert(self, new: NewTask, user: str, parent: str | None) -> Rec:
        now = self.clock.now()
        rec = Rec(new, user, parent, now, self.steady, self.steady + new.delay_s, is_ready=new.delay_s <= 0)
        rec.due_at = self.steady + (float("inf") if new.budget.waiting_s is None else new.budget.waiting_s)
        rec.become("pending")
        self.tasks[new.id] = rec
        if new.completed_with is not None:
            rec.result, rec.finished, rec.is_ready = new.completed_with, now, False
            rec.finished_steady = self.steady
            rec.become("completed")
        return rec

    def stand(self, rec: Rec, ready_at: float) -> None:
        rec.ready_at, rec.is_ready = ready_at, True
        rec.become("pending")

    def held(self, task_id: str, fence: int) -> Rec | None:
        rec = self.tasks.get(task_id)
        return rec if rec and rec.is_held(fence) else None

    def renew(self, rec: Rec, lease_s: float) -> None:
        rec.lease_s, rec.lease_boot = lease_s, self.lease_boot
        rec.lease_until = self.clock.monotonic() + lease_s
