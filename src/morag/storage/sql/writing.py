"""What every change of the record does besides: append to the log, ring the bells, keep the lane's users known."""

from collections import Counter
from functools import lru_cache
from typing import Any

from morag.domain.failure import Decision
from morag.domain.task import TaskState
from morag.domain.transitions import as_json
from morag.storage.sql.records import dump
from morag.storage.sql.statements import intake as sql
from morag.storage.sql.transaction import Moment, Transaction


def note(tx: Transaction, at: Moment, task_id: str, kind: str, data: Any) -> None:
    """Append one line to the task's log, at the end of the transaction."""
    _append(tx, at, task_id, kind, dump(data))


def write_log(tx: Transaction) -> None:
    """Append all lines noted, in one statement; engines call it before they commit."""
    if not tx.notes:
        return
    lines: list[tuple[str, int, float, str, str]] = []
    before: Counter[str] = Counter()
    for task_id, at, kind, data in tx.notes:
        lines.append((task_id, before[task_id], at, kind, data))
        before[task_id] += 1
    tx.run(sql.APPEND_EVENTS, lines=dump(lines))


def note_state(tx: Transaction, at: Moment, task_id: str, state: TaskState, **more: Any) -> None:
    """Append a `state` event with what else is worth knowing."""
    _append(tx, at, task_id, "state", _state_line(state, *more.items()))


@lru_cache(maxsize=256)
def _state_line(state: TaskState, *more: tuple[str, Any]) -> str:
    """Most tasks go the same way, so most lines are equal but for the task."""
    return dump({"state": state.value, **dict(more)})


def _append(tx: Transaction, at: Moment, task_id: str, kind: str, line: str) -> None:
    tx.notes.append((task_id, at.now, kind, line))
    tx.tasks.add(task_id)


def note_decision(tx: Transaction, at: Moment, task_id: str, decision: Decision) -> None:
    """Append a `decision` event."""
    note(tx, at, task_id, "decision", as_json(decision))


def stand_in_lane(tx: Transaction, lane: str, namespace: str, user_id: str) -> None:
    """Let claims see that the user has ready tasks in the lane."""
    queue = {"lane": lane, "namespace": namespace, "user_id": user_id}
    share = tx.row(sql.HOLD_SHARE, **queue)
    if share is None or not share[0]:
        tx.run(sql.ACTIVATE_SHARE, **queue)
    tx.lanes.add(lane)
