"""Tasks come in: submitted by a user, or as children of a task that parks; and go out after their retention."""

from collections.abc import Sequence

from morag.domain.errors import DocumentExists, IdempotencyConflict
from morag.domain.limits import Allowance
from morag.domain.task import NewTask, Reservation, Task, TaskState
from morag.domain.transitions import IDEMPOTENCY_S, opened
from morag.storage.sql import limits, records
from morag.storage.sql.statements import intake as sql
from morag.storage.sql.statements import reading
from morag.storage.sql.transaction import Moment, Transaction
from morag.storage.sql.webhooks import enqueue
from morag.storage.sql.writing import note_state, stand_in_lane


def submit(tx: Transaction, at: Moment, tasks: Sequence[NewTask]) -> list[Task]:
    """Store the tasks in order; each known by its key gives the task that has it."""
    allowances = limits.allowances(tx, tasks)
    return [_known(tx, at, new) or _store(tx, at, new, allowances.get(new.user_id)) for new in tasks]


def insert(tx: Transaction, at: Moment, new: NewTask, *, user_id: str, parent_id: str | None) -> Task:
    """Store one record with its blobs, its place in the lane and the first line of its log."""
    record = opened(new, user_id=user_id, parent_id=parent_id, now=at.now, steady=at.steady)
    values = records.task_values(record, new, at.steady)
    tx.run(sql.INSERT_TASK, **values)
    for sha256 in new.blobs:
        tx.run(sql.INSERT_BLOB, task_id=new.id, sha256=sha256)
    if values["is_ready"]:
        stand_in_lane(tx, record.lane, record.namespace, user_id)
    note_state(tx, at, new.id, TaskState.PENDING, lane=record.lane, reason=record.routing.reason)
    if record.state.is_terminal:
        note_state(tx, at, new.id, record.state)
        if new.webhook_url:
            enqueue(tx, at, new.id, user_id, new.webhook_url, record.state, is_published=True)
    return record


def retire(tx: Transaction, *, before: float, limit: int) -> list[int]:
    """Delete up to `limit` trees that ended before a steady time; how many tasks each had."""
    return [_delete_tree(tx, row[0]) for row in tx.rows(sql.FIND_RETIRED, before=before, limit=limit)]


def _known(tx: Transaction, at: Moment, new: NewTask) -> Task | None:
    if new.idempotency_key is None:
        return None
    tx.lock("key", new.user_id, new.idempotency_key)
    found = tx.row(sql.FIND_KEY, user_id=new.user_id, key=new.idempotency_key, since=at.steady - IDEMPOTENCY_S)
    if found is None:
        return None
    if found[1] != new.idempotency_digest:
        raise IdempotencyConflict(
            "This idempotency key was used for another request.", hint="Use a new key for each different request."
        )
    row = tx.row(reading.GET, id=found[0])
    return records.task(row) if row else None


def _store(tx: Transaction, at: Moment, new: NewTask, allowance: Allowance | None) -> Task:
    if allowance and new.completed_with is None:
        allowance.take(new.args)
    if new.reservation:
        _check_reservation(tx, new.user_id, new.reservation)
    return insert(tx, at, new, user_id=new.user_id, parent_id=None)


def _check_reservation(tx: Transaction, user_id: str, reservation: Reservation) -> None:
    if reservation.replace_existing:
        return
    tx.lock("document", user_id, reservation.document_id)
    if tx.row(sql.IS_DOCUMENT_TAKEN, user_id=user_id, document_id=reservation.document_id):
        raise DocumentExists(
            f"There is a document {reservation.document_id} already, or one is on its way in.",
            hint="Send replace_existing=true to replace it, or choose another document_id.",
        )


def _delete_tree(tx: Transaction, root_id: str) -> int:
    ids = [row[0] for row in tx.rows(sql.TREE, id=root_id)]
    for task_id in ids:
        for statement in (sql.DELETE_ATTEMPTS, sql.DELETE_EVENTS, sql.DELETE_BLOBS, sql.DELETE_TASK):
            tx.run(statement, id=task_id)
    return len(ids)
