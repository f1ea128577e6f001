"""What the holder of a lease may do, over the ledger. Every act looks at the fence first."""

from dataclasses import replace

from morag.domain.task import Answer, Completed, Extension, Outcome, Parked, Retried, TaskState
from morag.domain.transitions import as_json, digest, outcome_name, refused
from morag.storage.memory.documents import MemoryDocumentStore
from morag.storage.memory.ledger import Entry, Ledger


class Holding:
    """Extend, park, settle, release."""

    def __init__(self, ledger: Ledger, documents: MemoryDocumentStore) -> None:
        self._ledger = ledger
        self._documents = documents
        self._clock = ledger.clock

    def park(self, task_id: str, fence: int, parked: Parked) -> Answer:
        """Let the task wait for its children, those it has and those made now."""
        entry = self._ledger.held(task_id, fence)
        if entry is None:
            return self._refused(task_id, fence, parked)
        known = {child.task.step: child for child in self._ledger.children(task_id)}
        children = [
            known.get(new.step) or self._ledger.insert(new, user_id=entry.task.user_id, parent_id=task_id)
            for new in parked.children
        ]
        self._let_go(entry, fence, parked)
        waiting_for = sum(not child.task.state.is_terminal for child in children)
        entry.set(state=TaskState.WAITING, open_children=waiting_for, worker_id=None)
        self._ledger.note_state(entry, children=[child.task.id for child in children])
        if not waiting_for:
            self._ledger.resume(entry)
        return Answer.OK

    def settle(self, task_id: str, fence: int, outcome: Outcome) -> Answer:
        """End the attempt, and the task unless it is tried again."""
        entry = self._ledger.held(task_id, fence)
        if entry is None:
            return self._refused(task_id, fence, outcome)
        self._let_go(entry, fence, outcome)
        if isinstance(outcome, Completed):
            self._complete(entry, fence, outcome)
        elif isinstance(outcome, Retried):
            self._retry(entry, outcome)
        else:
            state = TaskState(outcome_name(outcome))
            self._ledger.end(entry, state, outcome.failure, needs_attention=outcome.needs_attention)
        return Answer.OK

    def release(self, task_id: str, fence: int, reason: str) -> Answer:
        """Put the task back into its lane as if it had not been claimed."""
        entry = self._ledger.held(task_id, fence)
        if entry is None:
            return self._refused(task_id, fence)
        self._forgive(entry)
        self.free(entry, reason=reason)
        return Answer.OK

    def extend(self, extension: Extension, lease_s: float) -> Answer:
        """Renew one lease, take it up again if it had expired, and log its progress."""
        entry = self._ledger.held(extension.task_id, extension.fence)
        if entry is None:
            return self._refused(extension.task_id, extension.fence)
        entry.lease_s, entry.lease_until = lease_s, self._clock.monotonic() + lease_s
        if entry.lapsed:
            self._recover(entry)
        if extension.progress:
            entry.set(progress=extension.progress)
            self._ledger.note(entry, "progress", **as_json(extension.progress))
        return Answer.OK

    def free(self, entry: Entry, *, reason: str, was_held_by: str | None = None) -> None:
        """Take the task from its holder and put it back into its lane."""
        self._ledger.slot_freed(entry)
        self._ledger.end_attempt(entry, "released")
        self._ledger.stand_in_lane(entry, ready_at=self._ledger.steady(), worker_id=None)
        self._ledger.note_state(entry, reason=reason, **({"worker_id": was_held_by} if was_held_by else {}))

    def _recover(self, entry: Entry) -> None:
        self._forgive(entry)
        entry.is_ready = False
        entry.set(state=TaskState.RUNNING)
        entry.attempts[-1] = replace(entry.attempts[-1], ended_at=None, outcome=None)
        task = entry.task
        self._ledger.note_state(entry, attempt=task.attempt, worker_id=task.worker_id, reason="holder_is_back")

    def _forgive(self, entry: Entry) -> None:
        if entry.lapsed:
            entry.set(infrastructure_losses=entry.task.infrastructure_losses - 1)
            entry.lapsed = False

    def _let_go(self, entry: Entry, fence: int, outcome: Outcome | Parked) -> None:
        self._ledger.slot_freed(entry)
        self._forgive(entry)
        entry.is_ready = False
        entry.digests[fence] = digest(outcome)
        if isinstance(outcome, Completed | Parked):
            self._ledger.end_attempt(entry, outcome_name(outcome))
            return
        self._ledger.end_attempt(entry, outcome_name(outcome), outcome.failure, outcome.decision)
        self._ledger.note_decision(entry, outcome.decision)

    def _complete(self, entry: Entry, fence: int, outcome: Completed) -> None:
        if outcome.result_blob:
            entry.blobs.add(outcome.result_blob)
        if outcome.publication:
            self._documents.publish(entry.task.user_id, outcome.publication, entry.task.id, fence)
        self._ledger.end(entry, TaskState.COMPLETED, result=outcome.result, result_blob=outcome.result_blob)

    def _retry(self, entry: Entry, outcome: Retried) -> None:
        task, delay_s = entry.task, outcome.decision.delay_s
        self._ledger.stand_in_lane(
            entry,
            ready_at=self._ledger.steady() + delay_s,
            worker_id=None,
            failure=outcome.failure,
            processing_failures=task.processing_failures + (not outcome.is_infrastructure),
            infrastructure_losses=task.infrastructure_losses + outcome.is_infrastructure,
        )
        self._ledger.note_state(entry, reason="retry", delay_s=delay_s, code=outcome.failure.code)

    def _refused(self, task_id: str, fence: int, outcome: Outcome | Parked | None = None) -> Answer:
        entry = self._ledger.of(task_id)
        if entry is None:
            return Answer.LOST
        is_known = outcome is not None and entry.digests.get(fence) == digest(outcome)
        return refused(entry.task.state, is_known=is_known)
