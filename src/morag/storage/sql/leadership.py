"""Who leads: one of all processes on the store does what needs doing once, until its lease ends or it dies.

A look on a reader comes first, so that a process which asks each second writes only to take the lead, or to renew a
lease of which half is over.
"""

from dataclasses import dataclass

from morag.domain.task import Worker
from morag.storage.sql.statements import leadership as sql
from morag.storage.sql.transaction import Host, Moment, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a look found."""

    leads: bool | None
    """Whether the asker leads; None if only a write can tell."""
    gone_id: str | None = None
    """The holder whose process is dead."""


def look(tx: Transaction, at: Moment, host: Host, worker: Worker, lease_s: float) -> Standing:
    """How things stand for `worker`."""
    row = tx.row(sql.GET)
    if row is None:
        return Standing(leads=None)
    holder_id, *process, lease_boot, lease_until = row
    left_s = lease_until - at.monotonic if lease_boot == at.boot_id else 0.0
    if holder_id == worker.id:
        return Standing(leads=True if left_s > lease_s / 2 else None)
    if host.is_gone(*process):
        return Standing(leads=None, gone_id=holder_id)
    return Standing(leads=False if left_s > 0 else None)


def take(tx: Transaction, at: Moment, worker: Worker, lease_s: float, gone_id: str | None) -> bool:
    """Take or renew the lead, unless another holds it by now; whether `worker` leads.

    `gone_id`: a holder who was seen to be dead.
    """
    taken = tx.row(
        sql.TAKE,
        worker_id=worker.id,
        worker_boot=worker.boot_id,
        worker_pid=worker.pid,
        worker_pid_started=worker.pid_started_at,
        boot_id=at.boot_id,
        monotonic=at.monotonic,
        until=at.monotonic + lease_s,
        gone_id=gone_id,
    )
    return taken is not None


def resign(tx: Transaction, worker: Worker) -> None:
    """Let go of the lead, if `worker` has it."""
    tx.run(sql.RESIGN, worker_id=worker.id)
