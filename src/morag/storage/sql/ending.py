"""Tasks that end or are freed by others than their holder, and what follows for children and parent."""

from morag.domain.failure import Failure
from morag.domain.task import Task, TaskState
from morag.storage.sql import records
from morag.storage.sql.limits import slot_freed
from morag.storage.sql.statements import ending as sql
from morag.storage.sql.statements import reading
from morag.storage.sql.transaction import Moment, Transaction
from morag.storage.sql.webhooks import enqueue
from morag.storage.sql.writing import note_state, stand_in_lane


def cancel(tx: Transaction, at: Moment, task_id: str, user_id: str) -> Task | None:
    """End the user's open task and all below it; the record afterwards."""
    if tx.row(reading.GET_OF_USER, id=task_id, user_id=user_id) is None:
        return None
    close(tx, at, task_id, TaskState.CANCELLED)
    row = tx.row(reading.GET, id=task_id)
    return records.task(row) if row else None


def withdraw(tx: Transaction, at: Moment, user_id: str, document_id: str) -> None:
    """Cancel the user's ingests under way of a document that is removed: removing it came later."""
    for (task_id,) in tx.rows(sql.UNDER_WAY, user_id=user_id, document_id=document_id):
        close(tx, at, task_id, TaskState.CANCELLED)


def close(tx: Transaction, at: Moment, task_id: str, state: TaskState, failure: Failure | None = None) -> bool:
    """End an open task whoever holds it: its fence moves on, its open descendants are cancelled, its parent told."""
    told = records.dump_record(failure)
    ended = tx.row(sql.CLOSE, id=task_id, state=state.value, now=at.now, steady=at.steady, failure=told)
    if ended is None:
        return False
    parent_id, open_children, user_id, webhook_url, was_held = ended
    if was_held:
        slot_freed(tx, user_id)
    tx.run(sql.CLOSE_ATTEMPT, id=task_id, now=at.now, outcome=state.value, failure=told)
    note_end(tx, at, task_id, state, failure)
    if webhook_url:
        enqueue(tx, at, task_id, user_id, webhook_url, state)
    follow_up(tx, at, task_id, parent_id, open_children)
    return True


def follow_up(tx: Transaction, at: Moment, task_id: str, parent_id: str | None, open_children: int) -> None:
    """After a task ended: nothing below it goes on, and its parent waits for one less."""
    if open_children:
        for (child_id,) in tx.rows(sql.OPEN_DESCENDANTS, id=task_id):
            close(tx, at, child_id, TaskState.CANCELLED)
    if parent_id is None:
        return
    left = tx.row(sql.CHILD_ENDED, id=parent_id)
    if left is not None and left[0] <= 0:
        resume(tx, at, parent_id)


def resume(tx: Transaction, at: Moment, task_id: str) -> bool:
    """Put a waiting task whose children ended back into its lane, before the user's others."""
    queue = tx.row(sql.RESUME, id=task_id, steady=at.steady)
    if queue is None:
        return False
    stand_in_lane(tx, *queue)
    note_state(tx, at, task_id, TaskState.PENDING, reason="children_ended")
    return True


def note_end(tx: Transaction, at: Moment, task_id: str, state: TaskState, failure: Failure | None) -> None:
    """Append the terminal event, with the failure if there is one."""
    more = {} if failure is None else {"code": failure.code, "message": failure.message, "hint": failure.hint}
    note_state(tx, at, task_id, state, **more)
