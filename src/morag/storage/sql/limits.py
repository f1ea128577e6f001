"""Limits of users: set, read, counted against at a submit; and who is told when a slot becomes free.

The limit on running tasks is kept by the claim (`claim`, and the view `turns`), those on queued tasks and bytes by the
submit (`intake`). Whoever has no limit pays for one look at a small table, and nothing is counted.
"""

from collections.abc import Sequence
from dataclasses import asdict

from morag.domain.limits import MOST, Allowance, Limits, Usage
from morag.domain.task import NewTask
from morag.storage.sql.statements import limits as sql
from morag.storage.sql.transaction import Transaction

EVERYBODY = ""
"""Stands for all users who have no limits of their own."""


def assign(tx: Transaction, user_id: str | None, limits: Limits | None) -> None:
    """Give the user, or everybody, limits or take them back. Doors look again at what stands in their lanes."""
    whose = EVERYBODY if user_id is None else user_id
    if limits is None:
        tx.run(sql.UNSET, user_id=whose)
    else:
        tx.run(sql.SET, user_id=whose, **asdict(limits))
    tx.lanes.update(lane for (lane,) in tx.rows(sql.LANES, user_id=user_id))


def of(tx: Transaction, user_id: str) -> Limits:
    """The user's limits, else everybody's, else none."""
    row = tx.row(sql.GET, user_id=user_id)
    if row is None:
        return Limits()
    return Limits(
        weight=row[0],
        running=row[1],
        queued=row[2],
        stored_bytes=row[3],
        upload_bytes=row[4],
        requests_per_minute=row[5],
    )


def users(tx: Transaction) -> list[str]:
    """Everybody who is known by limits of their own, by tasks or by documents; in order."""
    return [user_id for (user_id,) in tx.rows(sql.USERS)]


def usage(tx: Transaction, user_id: str) -> Usage:
    """What the user uses now."""
    ((running,),) = tx.rows(sql.RUNNING, user_id=user_id)
    ((documents, _),) = tx.rows(sql.STORED, user_id=user_id)
    return Usage(
        running=running,
        queued=_queued(tx, user_id, MOST),
        stored_bytes=_stored_bytes(tx, user_id),
        documents=documents,
    )


def allowances(tx: Transaction, tasks: Sequence[NewTask]) -> dict[str, Allowance]:
    """By user, for those of a submit who have limits: what they may still bring. No other submit counts meanwhile."""
    found: dict[str, Allowance] = {}
    for user_id in sorted({new.user_id for new in tasks}):
        limits = of(tx, user_id)
        if limits.queued is not None or limits.stored_bytes is not None:
            tx.lock("allowance", user_id)
            queued = 0 if limits.queued is None else _queued(tx, user_id, limits.queued)
            stored_bytes = 0 if limits.stored_bytes is None else _stored_bytes(tx, user_id)
            found[user_id] = Allowance(limits=limits, queued=queued, stored_bytes=stored_bytes)
    return found


def take_turn(tx: Transaction) -> None:
    """Let one claim at a time count what runs, in whichever lane; only if anybody has a limit on it."""
    if tx.row(sql.IS_ANY_CAPPED):
        tx.lock("slots")


def slot_freed(tx: Transaction, user_id: str) -> None:
    """After a task of the user stopped running: if that made room below a limit, the lanes of the others are rung."""
    tx.lanes.update(lane for (lane,) in tx.rows(sql.LANES_OF_CAPPED, user_id=user_id))


def _queued(tx: Transaction, user_id: str, most: int) -> int:
    ((queued,),) = tx.rows(sql.QUEUED, user_id=user_id, most=most)
    return int(queued)


def _stored_bytes(tx: Transaction, user_id: str) -> int:
    ((_, stored),) = tx.rows(sql.STORED, user_id=user_id)
    ((coming,),) = tx.rows(sql.SOURCES, user_id=user_id)
    return int(stored) + int(coming)
