"""What the holder of a lease may do: extend it, park, settle, release. Every act is conditional on the fence."""

from typing import Any

from morag.domain.failure import Decision, Failure
from morag.domain.task import (
    Answer,
    Completed,
    Extension,
    Failed,
    NewTask,
    Outcome,
    Parked,
    Retried,
    TaskState,
    TimedOut,
)
from morag.domain.transitions import digest, outcome_name, refused
from morag.storage.sql import records
from morag.storage.sql.ending import follow_up, note_end, resume
from morag.storage.sql.intake import insert
from morag.storage.sql.limits import slot_freed
from morag.storage.sql.statements import documents
from morag.storage.sql.statements import holding as sql
from morag.storage.sql.statements import intake as intake_sql
from morag.storage.sql.transaction import Moment, Transaction
from morag.storage.sql.webhooks import enqueue
from morag.storage.sql.writing import note, note_decision, note_state, stand_in_lane


def extend(tx: Transaction, at: Moment, extension: Extension, lease_s: float) -> Answer:
    """Renew one lease, take it up again if it had expired, and log its progress."""
    told = records.dump_record(extension.progress)
    terms: dict[str, Any] = {
        "id": extension.task_id,
        "fence": extension.fence,
        "boot_id": at.boot_id,
        "until": at.monotonic + lease_s,
        "lease_s": lease_s,
        "progress": told,
    }
    if not tx.rows(sql.RENEW, **terms) and not _recover(tx, at, terms):
        return _refused(tx, extension.task_id, extension.fence)
    if extension.progress:
        progress = extension.progress
        data = {"fraction": progress.fraction, "stage": progress.stage, "message": progress.message}
        note(tx, at, extension.task_id, "progress", data)
    return Answer.OK


def park(tx: Transaction, at: Moment, task_id: str, fence: int, parked: Parked) -> Answer:
    """Let the task wait for its children, those it has and those made now."""
    parent = tx.row(sql.PARK, id=task_id, fence=fence)
    if parent is None:
        return _refused(tx, task_id, fence, digest(parked))
    children = [_child(tx, at, task_id, parent[0], new) for new in parked.children]
    open_children = sum(is_open for _, is_open in children)
    tx.run(sql.EXPECT_CHILDREN, id=task_id, open_children=open_children)
    _end_attempt(tx, at, task_id, fence, parked)
    slot_freed(tx, parent[0])
    note_state(tx, at, task_id, TaskState.WAITING, children=tuple(child_id for child_id, _ in children))
    if not open_children:
        resume(tx, at, task_id)
    return Answer.OK


def settle(tx: Transaction, at: Moment, task_id: str, fence: int, outcome: Outcome) -> Answer:
    """End the attempt, and the task unless it is tried again."""
    is_ours = (
        _retry(tx, at, task_id, fence, outcome)
        if isinstance(outcome, Retried)
        else _end(tx, at, task_id, fence, outcome)
    )
    return Answer.OK if is_ours else _refused(tx, task_id, fence, digest(outcome))


def release(tx: Transaction, at: Moment, task_id: str, fence: int, reason: str) -> Answer:
    """Put the task back into its lane as if it had not been claimed."""
    queue = _back_to_lane(tx, task_id, fence, ready_at=at.steady)
    if queue is None:
        return _refused(tx, task_id, fence)
    _close_attempt(tx, at, task_id, fence, "released")
    stand_in_lane(tx, *queue)
    note_state(tx, at, task_id, TaskState.PENDING, reason=reason)
    return Answer.OK


def hasten(tx: Transaction, at: Moment, task_id: str) -> bool:
    """Put a task that waits for its time into its lane now."""
    queue = tx.row(sql.HASTEN, id=task_id, steady=at.steady)
    if queue is None:
        return False
    stand_in_lane(tx, *queue)
    return True


def _recover(tx: Transaction, at: Moment, terms: dict[str, Any]) -> bool:
    found = tx.row(sql.RECOVER, **terms)
    if found is None:
        return False
    attempt, worker_id = found
    tx.run(sql.REOPEN_ATTEMPT, task_id=terms["id"], fence=terms["fence"])
    note_state(tx, at, terms["id"], TaskState.RUNNING, attempt=attempt, worker_id=worker_id, reason="holder_is_back")
    return True


def _child(tx: Transaction, at: Moment, parent_id: str, user_id: str, new: NewTask) -> tuple[str, bool]:
    """(id, whether it is open) of the child of that step, made now if there is none."""
    found = tx.row(sql.FIND_STEP, parent_id=parent_id, step=new.step)
    if found is not None:
        return found[0], found[1] is None
    child = insert(tx, at, new, user_id=user_id, parent_id=parent_id)
    return child.id, not child.state.is_terminal


def _end(tx: Transaction, at: Moment, task_id: str, fence: int, outcome: Completed | Failed | TimedOut) -> bool:
    state = TaskState(outcome_name(outcome))
    when = {"now": at.now, "steady": at.steady}
    ended = tx.row(sql.END, id=task_id, fence=fence, state=state.value, **when, **_end_values(outcome))
    if ended is None:
        return False
    parent_id, open_children, user_id, webhook_url = ended
    if isinstance(outcome, Completed):
        _show(tx, at, task_id, fence, user_id, outcome)
    _end_attempt(tx, at, task_id, fence, outcome)
    slot_freed(tx, user_id)
    note_end(tx, at, task_id, state, None if isinstance(outcome, Completed) else outcome.failure)
    if webhook_url:
        is_published = isinstance(outcome, Completed) and outcome.publication is not None
        enqueue(tx, at, task_id, user_id, webhook_url, state, is_published=is_published)
    follow_up(tx, at, task_id, parent_id, open_children)
    return True


def _end_values(outcome: Completed | Failed | TimedOut) -> dict[str, Any]:
    if isinstance(outcome, Completed):
        result = records.dump(outcome.result)
        return {"result": result, "result_blob": outcome.result_blob, "failure": None, "needs_attention": 0}
    told = records.dump_record(outcome.failure)
    return {"result": None, "result_blob": None, "failure": told, "needs_attention": int(outcome.needs_attention)}


def _show(tx: Transaction, at: Moment, task_id: str, fence: int, user_id: str, outcome: Completed) -> None:
    """Make visible what the outcome brings: its blob is kept, its document's generation is the one to be seen."""
    if outcome.result_blob:
        tx.run(intake_sql.INSERT_BLOB, task_id=task_id, sha256=outcome.result_blob)
    if outcome.publication:
        values = records.document_values(outcome.publication)
        tx.run(documents.PUBLISH, user_id=user_id, task_id=task_id, fence=fence, now=at.now, **values)


def _retry(tx: Transaction, at: Moment, task_id: str, fence: int, outcome: Retried) -> bool:
    delay_s = outcome.decision.delay_s
    queue = _back_to_lane(tx, task_id, fence, ready_at=at.steady + delay_s, is_ready=delay_s <= 0, outcome=outcome)
    if queue is None:
        return False
    _end_attempt(tx, at, task_id, fence, outcome)
    if delay_s <= 0:
        stand_in_lane(tx, *queue)
    note_state(tx, at, task_id, TaskState.PENDING, reason="retry", delay_s=delay_s, code=outcome.failure.code)
    return True


def _back_to_lane(
    tx: Transaction, task_id: str, fence: int, *, ready_at: float, is_ready: bool = True, outcome: Retried | None = None
) -> tuple[str, str, str] | None:
    row = tx.row(
        sql.RETRY,
        id=task_id,
        fence=fence,
        is_ready=int(is_ready),
        ready_at=ready_at,
        processing=int(outcome is not None and not outcome.is_infrastructure),
        infrastructure=int(outcome is not None and outcome.is_infrastructure),
        failure=records.dump_record(outcome.failure) if outcome else None,
    )
    if row is None:
        return None
    lane, namespace, user_id = row
    slot_freed(tx, user_id)
    return lane, namespace, user_id


def _end_attempt(tx: Transaction, at: Moment, task_id: str, fence: int, outcome: Outcome | Parked) -> None:
    failure = None if isinstance(outcome, Completed | Parked) else outcome.failure
    decision = None if isinstance(outcome, Completed | Parked) else outcome.decision
    _close_attempt(tx, at, task_id, fence, outcome_name(outcome), failure, decision, digest(outcome))
    if decision:
        note_decision(tx, at, task_id, decision)


def _close_attempt(
    tx: Transaction,
    at: Moment,
    task_id: str,
    fence: int,
    outcome: str,
    failure: Failure | None = None,
    decision: Decision | None = None,
    digest_: str | None = None,
) -> None:
    tx.run(
        sql.END_ATTEMPT,
        task_id=task_id,
        fence=fence,
        now=at.now,
        outcome=outcome,
        failure=records.dump_record(failure),
        decision=records.dump_record(decision),
        digest=digest_,
    )


def _refused(tx: Transaction, task_id: str, fence: int, told: str | None = None) -> Answer:
    before = tx.row(sql.GET_DIGEST, id=task_id, fence=fence) if told else None
    state = tx.row(sql.GET_STATE, id=task_id)
    return refused(TaskState(state[0]) if state else None, is_known=before is not None and before[0] == told)
