"""The task store said once more, as plainly as can be: a dict, loops, and nothing of either store's code.

It takes the words of the domain (`NewTask`, `Outcome`, …) and none of its rules. Only at a claim it does not foretell
what the store grants, it judges it (`machine.judging`). Its clock, boot id and dead processes are the store's own.
"""

from collections.abc import Sequence

from tests.contract.machine.record import Rec, Seen, Shown, brought, reserved
from tests.contract.machine.tree import Tree

from morag.domain.content import Publication
from morag.domain.errors import DocumentExists, IdempotencyConflict, LimitReached
from morag.domain.limits import Limits, Usage
from morag.domain.task import Answer, Completed, Extension, Failed, NewTask, Outcome, Parked, Retried, Worker

DAY_S = 86_400.0


class Model(Tree):
    """What each act does to them."""

    # what users do

    def submit(self, tasks: Sequence[NewTask]) -> list[str] | type[Exception]:
        before = dict(self.tasks)
        told: list[str] = []
        for new in tasks:
            known = self._known(new)
            if known and known.new.idempotency_digest != new.idempotency_digest:
                self.tasks = before
                return IdempotencyConflict
            if known is None and self._is_too_much(new):
                self.tasks = before
                return LimitReached
            if known is None and self._is_taken(new):
                self.tasks = before
                return DocumentExists
            told.append(known.new.id if known else self.insert(new, new.user_id, None).new.id)
        return told

    def cancel(self, task_id: str, user_id: str) -> bool:
        rec = self.tasks.get(task_id)
        if rec is None or rec.user != user_id:
            return False
        self.close(rec, "cancelled")
        return True

    def hasten(self, task_id: str) -> bool:
        rec = self.tasks[task_id]
        if rec.state != "pending" or rec.is_ready:
            return False
        rec.ready_at, rec.is_ready = self.steady, True
        return True

    def remove(self, user_id: str, document_id: str) -> bool:
        if self.documents.pop((user_id, document_id), None) is None:
            return False
        for rec in list(self.tasks.values()):
            if rec.is_open and rec.user == user_id and reserved(rec) == document_id:
                self.close(rec, "cancelled")
        return True

    def set_limits(self, user: str | None, limits: Limits | None) -> None:
        self.terms.pop(user, None)
        if limits:
            self.terms[user] = limits

    def limits(self, user: str) -> Limits:
        own, everybodys = self.terms.get(user), self.terms.get(None)
        return own or everybodys or Limits()

    def usage(self, user: str) -> Usage:
        mine = [rec for rec in self.all() if rec.user == user]
        shown = [shown.publication.size_bytes for (owner, _), shown in self.documents.items() if owner == user]
        return Usage(
            running=sum(rec.state == "running" or rec.lapsed for rec in mine),
            queued=sum(
                rec.state in {"pending", "waiting"} and not (rec.lapsed or rec.was_resumed or rec.parent is not None)
                for rec in mine
            ),
            stored_bytes=sum(shown) + sum(brought(rec.new) for rec in mine if rec.is_open and rec.parent is None),
            documents=len(shown),
        )

    def may_run(self, rec: Rec) -> bool:
        """Whether a grant of it would leave its user within the limit."""
        most = self.limits(rec.user).running
        if most is None:
            return True
        others = [other for other in self.all() if other.user == rec.user and other is not rec]
        running = sum(other.state == "running" for other in others)
        lost = sum(other.lapsed for other in others)
        return running + (0 if rec.lapsed else lost) < most

    # what holders do

    def extend(self, extension: Extension, lease_s: float) -> Answer:
        rec = self.held(extension.task_id, extension.fence)
        if rec is None:
            return self._refused(extension.task_id)
        self.renew(rec, lease_s)
        if rec.lapsed:
            self._forgive(rec)
            rec.is_ready = False
            rec.attempts[-1][2] = None
            rec.become("running")
        rec.progress = extension.progress or rec.progress
        return Answer.OK

    def park(self, task_id: str, fence: int, parked: Parked) -> Answer:
        steps = sorted(str(child.step) for child in parked.children)
        rec = self.held(task_id, fence)
        if rec is None:
            return self._refused(task_id, fence, steps)
        known = {child.new.step for child in self.children(task_id)}
        for new in parked.children:
            if new.step not in known:
                self.insert(new, rec.user, task_id)
        self._let_go(rec, "parked", steps)
        rec.worker_id = None
        rec.become("waiting")
        self.wake(rec)
        return Answer.OK

    def settle(self, task_id: str, fence: int, outcome: Outcome) -> Answer:
        rec = self.held(task_id, fence)
        if rec is None:
            return self._refused(task_id, fence, outcome)
        if isinstance(outcome, Retried):
            self._let_go(rec, "retried", outcome)
            self._retry(rec, outcome)
            return Answer.OK
        state = (
            "completed" if isinstance(outcome, Completed) else "failed" if isinstance(outcome, Failed) else "timeout"
        )
        self._let_go(rec, state, outcome)
        if isinstance(outcome, Completed):
            rec.result = outcome.result
            self._publish(rec, outcome.publication)
            self.end(rec, state)
        else:
            rec.needs_attention = outcome.needs_attention
            self.end(rec, state, outcome.failure)
        return Answer.OK

    def release(self, task_id: str, fence: int) -> Answer:
        rec = self.held(task_id, fence)
        if rec is None:
            return self._refused(task_id)
        self._let_go(rec, "released")
        self.stand(rec, self.steady)
        return Answer.OK

    # what time and the supervisor do

    def look(self) -> Seen:
        running = [rec for rec in self.tasks.values() if rec.state == "running"]
        lost = [rec for rec in running if self._is_gone(rec) or self._has_expired(rec)]
        overdue = [rec for rec in self.tasks.values() if self._is_overdue(rec)]
        overdue.sort(key=lambda rec: (rec.due_at, rec.new.id))
        return Seen(
            lost=[(rec.new.id, rec.fence, self._is_gone(rec)) for rec in lost],
            overdue=[rec.new.id for rec in overdue],
            has_timers=any(self._has_timer(rec) for rec in self.all()),
            is_time_to_note=self._is_time_to_note(),
        )

    def repair(self, seen: Seen) -> tuple[int, int]:
        """(expired, timed out)"""
        if seen.lost or seen.overdue or seen.has_timers or seen.is_time_to_note:
            self.promote()
        if seen.is_time_to_note:
            self.noted = self.clock.wall, self.steady
        late = [self.tasks[task_id] for task_id in seen.overdue if task_id in self.tasks]
        timed_out = sum(self._is_overdue(rec) and self._time_out(rec) for rec in late)
        expired = 0
        for task_id, fence, is_gone in seen.lost:
            rec = self.held(task_id, fence)
            if rec and rec.state == "running" and (is_gone or self._has_expired(rec)):
                expired += 1
                self._lapse(rec)
        return expired, timed_out

    def boot(self) -> None:
        """The machine starts anew: what passed meanwhile only the wall clock can tell, from when it was noted last."""
        wall, steady = self.noted
        self.clock.steady = steady + max(0.0, self.clock.wall - wall)
        self.noted = self.clock.wall, self.steady

    def reclaim(self, keep: Worker) -> int:
        freed = 0
        for rec in [rec for rec in self.tasks.values() if rec.state == "running"]:
            if rec.holder is None or rec.holder.pid is None:
                self.renew(rec, rec.lease_s)
            elif self._is_gone(rec) or (rec.holder.pid == keep.pid and rec.holder.id != keep.id):
                freed += 1
                rec.attempts[-1][2] = "released"
                rec.worker_id = None
                self.stand(rec, self.steady)
        return freed

    def retire(self, older_than_s: float) -> int:
        before = self.steady - older_than_s
        roots = [rec for rec in self.tasks.values() if rec.parent is None]
        old = [rec.new.id for rec in roots if rec.finished is not None and rec.finished_steady < before]
        gone = [task_id for root in old for task_id in self.tree(root)]
        for task_id in gone:
            del self.tasks[task_id]
        return len(gone)

    def promote(self) -> None:
        for rec in self.tasks.values():
            rec.is_ready = rec.is_ready or self._has_timer(rec)

    def _known(self, new: NewTask) -> Rec | None:
        since = self.steady - DAY_S
        same = [
            rec
            for rec in self.tasks.values()
            if new.idempotency_key and (rec.user, rec.new.idempotency_key) == (new.user_id, new.idempotency_key)
        ]
        young = [rec for rec in same if rec.created_steady > since]
        return young[-1] if young else None

    def _is_too_much(self, new: NewTask) -> bool:
        limits, usage = self.limits(new.user_id), self.usage(new.user_id)
        if new.completed_with is not None:
            return False
        if limits.queued is not None and usage.queued + 1 > limits.queued:
            return True
        more = brought(new)
        return limits.stored_bytes is not None and more > 0 and usage.stored_bytes + more > limits.stored_bytes

    def _is_taken(self, new: NewTask) -> bool:
        if new.reservation is None or new.reservation.replace_existing:
            return False
        wanted = new.reservation.document_id
        under_way = any(rec.is_open and rec.user == new.user_id and reserved(rec) == wanted for rec in self.all())
        return under_way or (new.user_id, wanted) in self.documents

    # small steps

    def _refused(self, task_id: str, fence: int = 0, told: object = None) -> Answer:
        rec = self.tasks.get(task_id)
        if rec and told is not None and rec.settled.get(fence) == told:
            return Answer.DUPLICATE
        return Answer.CANCELLED if rec and rec.state == "cancelled" else Answer.LOST

    def _forgive(self, rec: Rec) -> None:
        rec.losses -= rec.lapsed
        rec.lapsed = False

    def _let_go(self, rec: Rec, outcome: str, told: object = None) -> None:
        self._forgive(rec)
        rec.is_ready = False
        rec.attempts[-1][2] = outcome
        if told is not None:
            rec.settled[rec.fence] = told
        if outcome == "released":
            rec.worker_id = None

    def _retry(self, rec: Rec, outcome: Retried) -> None:
        rec.failures += not outcome.is_infrastructure
        rec.losses += outcome.is_infrastructure
        rec.failure, rec.failure_code, rec.worker_id = outcome.failure, outcome.failure.code, None
        self.stand(rec, self.steady + outcome.decision.delay_s)
        rec.is_ready = outcome.decision.delay_s <= 0

    def _lapse(self, rec: Rec) -> None:
        rec.attempts[-1][2] = "lost"
        rec.losses += 1
        rec.lapsed = True
        if rec.losses > rec.new.budget.infrastructure:
            self.close(rec, "failed", "workers_lost")
            return
        self.stand(rec, rec.ready_at)

    def _time_out(self, rec: Rec) -> bool:
        return self.close(rec, "timeout", "waited_too_long" if rec.started is None else "deadline")

    def _has_timer(self, rec: Rec) -> bool:
        """Whether its time has come and nobody noticed yet."""
        return rec.state == "pending" and not rec.is_ready and rec.ready_at <= self.steady

    def _is_time_to_note(self) -> bool:
        wall, steady = self.noted
        moved_s, passed_s = self.clock.wall - wall, self.steady - steady
        return not self.is_shared and (abs(moved_s - passed_s) > 2 or passed_s > 60)

    def _is_overdue(self, rec: Rec) -> bool:
        return rec.is_open and rec.due_at <= self.steady

    def _has_expired(self, rec: Rec) -> bool:
        return rec.lease_boot != self.lease_boot or rec.lease_until <= self.clock.monotonic()

    def _is_gone(self, rec: Rec) -> bool:
        holder = rec.holder
        if holder is None or holder.pid is None:
            return False
        if self.is_shared and holder.boot_id != self.boot_id:
            return False  # it may be another machine
        return holder.boot_id != self.boot_id or holder.pid in self.dead

    def _publish(self, rec: Rec, publication: Publication | None) -> None:
        if publication is None:
            return
        key, now = (rec.user, publication.document_id), self.clock.now()
        before = self.documents.get(key)
        if before is None or before.task_id <= rec.new.id:
            created = before.created if before else now
            self.documents[key] = Shown(publication, rec.new.id, rec.fence, created, now)
