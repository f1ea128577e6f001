"""Repairs: what time or death broke goes back to its lane or ends, and nothing is forgotten.

A sweep looks first, on a reader; it writes only if there is something to repair, and then each repair is conditional on
what it saw.
"""

from dataclasses import dataclass

from morag.control.ports import SweepReport
from morag.domain.task import TaskState, Worker
from morag.domain.transitions import overdue, worn_out
from morag.storage.sql import records, steady_time
from morag.storage.sql.claim import promote
from morag.storage.sql.ending import close, resume
from morag.storage.sql.limits import slot_freed
from morag.storage.sql.statements import ending as sql
from morag.storage.sql.statements import reading
from morag.storage.sql.transaction import Host, Moment, Transaction
from morag.storage.sql.writing import note_state, stand_in_lane

GONE = "worker_gone"
AT_ONCE = 500
"""Tasks that one sweep times out at most; the rest is the next one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """What a look found."""

    lost: tuple[tuple[str, int, str], ...]
    """(task, fence, why) of leases that ran out or whose process is gone."""
    overdue: tuple[str, ...]
    forgotten: tuple[str, ...]
    has_timers: bool
    is_time_to_note: bool

    def __bool__(self) -> bool:
        return bool(self.lost or self.overdue or self.forgotten or self.has_timers or self.is_time_to_note)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    task_id: str
    fence: int
    worker_id: str
    boot_id: str
    pid: int | None
    pid_started_at: float | None
    has_expired: bool


def look(tx: Transaction, at: Moment, host: Host) -> Broken:
    """What there is to repair."""
    return Broken(
        lost=tuple(
            (held.task_id, held.fence, GONE if is_gone else "lease_expired")
            for held, is_gone in _judged(tx, at, host)
            if is_gone or held.has_expired
        ),
        overdue=tuple(row[0] for row in tx.rows(sql.OVERDUE, steady=at.steady, limit=AT_ONCE)),
        forgotten=tuple(row[0] for row in tx.rows(sql.FORGOTTEN)),
        has_timers=tx.row(sql.IS_TIMER_DUE, steady=at.steady) is not None,
        is_time_to_note=steady_time.is_time_to_note(tx, at),
    )


def repair(tx: Transaction, at: Moment, broken: Broken) -> SweepReport:
    """Repair it, as far as it still is so."""
    promote(tx, at)
    if broken.is_time_to_note:
        steady_time.note(tx, at)
    return SweepReport(
        timed_out=sum(_time_out(tx, at, task_id) for task_id in broken.overdue),
        expired=sum(_lapse(tx, at, task_id, fence, why) for task_id, fence, why in broken.lost),
        unparked=sum(_wake(tx, at, task_id) for task_id in broken.forgotten),
    )


def forsake(tx: Transaction, at: Moment, worker_id: str) -> int:
    """Take the leases of a claimer as expired, whatever their time."""
    held = tx.rows(reading.HELD, worker_id=worker_id, but="")
    return sum(_lapse(tx, at, task_id, fence, GONE) for task_id, fence in held)


def reclaim(tx: Transaction, at: Moment, host: Host, keep: Worker) -> int:
    """Free what dead processes of this machine, and earlier runs in `keep`'s own process, held; renew remote leases."""
    freed = 0
    for held, is_gone in _judged(tx, at, host):
        is_this_process = held.pid is not None and (held.pid, held.boot_id) == (keep.pid, keep.boot_id)
        if is_gone or (is_this_process and held.worker_id != keep.id):
            freed += _free(tx, at, held)
    tx.run(sql.REBASE_REMOTE, boot_id=at.boot_id, monotonic=at.monotonic)
    return freed


def _judged(tx: Transaction, at: Moment, host: Host) -> list[tuple[_Held, bool]]:
    """Each held lease, and whether its process is gone. A process is asked for once."""
    known: dict[tuple[str, int | None, float | None], bool] = {}
    judged: list[tuple[_Held, bool]] = []
    for row in tx.rows(sql.RUNNING, boot_id=at.boot_id, monotonic=at.monotonic):
        held = _Held(
            task_id=row[0],
            fence=row[1],
            worker_id=row[2],
            boot_id=row[3],
            pid=row[4],
            pid_started_at=row[5],
            has_expired=bool(row[6]),
        )
        process = (held.boot_id, held.pid, held.pid_started_at)
        if process not in known:
            known[process] = host.is_gone(*process)
        judged.append((held, known[process]))
    return judged


def _lapse(tx: Transaction, at: Moment, task_id: str, fence: int, why: str) -> bool:
    terms = {"is_gone": int(why == GONE), "boot_id": at.boot_id, "monotonic": at.monotonic}
    lapsed = tx.row(sql.LAPSE, id=task_id, fence=fence, **terms)
    if lapsed is None:
        return False
    *queue, worker_id, is_worn_out = lapsed
    tx.run(sql.CLOSE_ATTEMPT, id=task_id, now=at.now, outcome="lost", failure=None)
    if is_worn_out:
        (row,) = tx.rows(reading.GET, id=task_id)
        return close(tx, at, task_id, TaskState.FAILED, worn_out(records.task(row)))
    stand_in_lane(tx, *queue)
    slot_freed(tx, queue[2])
    note_state(tx, at, task_id, TaskState.PENDING, reason=why, worker_id=worker_id)
    return True


def _wake(tx: Transaction, at: Moment, task_id: str) -> bool:
    return tx.row(sql.IS_FORGOTTEN, id=task_id) is not None and resume(tx, at, task_id)


def _time_out(tx: Transaction, at: Moment, task_id: str) -> bool:
    if tx.row(sql.IS_OVERDUE, id=task_id, steady=at.steady) is None:
        return False
    (row,) = tx.rows(reading.GET, id=task_id)
    return close(tx, at, task_id, TaskState.TIMEOUT, overdue(records.task(row)))


def _free(tx: Transaction, at: Moment, held: _Held) -> bool:
    queue = tx.row(sql.FREE, id=held.task_id, fence=held.fence, steady=at.steady)
    if queue is None:
        return False
    tx.run(sql.CLOSE_ATTEMPT, id=held.task_id, now=at.now, outcome="released", failure=None)
    stand_in_lane(tx, *queue)
    slot_freed(tx, queue[2])
    note_state(tx, at, held.task_id, TaskState.PENDING, reason="server_restarted", worker_id=held.worker_id)
    return True
