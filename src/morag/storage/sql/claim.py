"""Claims: the fairest user's first task, under a lease and a new fence.

Stride scheduling: each user of a lane was charged `pass` so far, the lane's floor is what the one served last had paid
before. The lowest pass is served and then stands `COST / weight` above the larger of pass and floor, so that who comes
back after a pause has saved nothing; of equal passes the one served longest ago goes first, so that nobody is passed
twice by another of equal weight.

Who is next is decided for the whole claim first (`turns`), then all its tasks are granted by a handful of statements,
however many they are. Only of a user with a limit on running tasks each is granted before the next is decided.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from morag.domain.task import Lease, Offers, Task, TaskState, Worker
from morag.domain.transitions import child_result
from morag.storage.sql import limits, records
from morag.storage.sql.statements import claim as sql
from morag.storage.sql.statements import reading
from morag.storage.sql.transaction import Moment, Transaction
from morag.storage.sql.turns import Turns
from morag.storage.sql.writing import note_state, stand_in_lane

COST = 1.0
"""What one grant is charged, at weight 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who asks for how much, under which terms."""

    worker: Worker
    claim_id: str
    lease_s: float
    offers: Offers


def take_turn(tx: Transaction, claim: Claim, lanes: Sequence[str]) -> None:
    """Let one claim at a time decide who is next in a lane. The time of the claim is after it had to wait here."""
    limits.take_turn(tx)
    for lane in sorted(set(lanes)):
        tx.lock("lane", claim.offers.namespace, lane)


def grant(tx: Transaction, at: Moment, claim: Claim, *, lanes: Sequence[str], n: int) -> list[Lease]:
    """The leases this claim id still holds, or up to `n` new ones, lanes in the order given."""
    held = _held(tx, at, claim)
    if held:
        return held
    promote(tx, at)
    granted: list[str] = []
    for lane in lanes:
        if len(granted) < n:
            granted += _grant_in_lane(tx, at, claim, lane, n - len(granted))
    leases = _leases(tx, granted, claim.lease_s)
    for lease in leases:
        told = {"attempt": lease.task.attempt, "worker_id": claim.worker.id}
        note_state(tx, at, lease.task.id, TaskState.RUNNING, **told)
    return leases


def promote(tx: Transaction, at: Moment) -> None:
    """Let delayed tasks whose time has come stand in their lanes."""
    for lane, namespace, user_id in tx.rows(sql.PROMOTE_DUE, steady=at.steady):
        stand_in_lane(tx, lane, namespace, user_id)


def _held(tx: Transaction, at: Moment, claim: Claim) -> list[Lease]:
    mine = {"claim_id": claim.claim_id, "worker_id": claim.worker.id}
    ids = sorted(row[0] for row in tx.rows(sql.HELD_BY_CLAIM, **mine))
    if ids:
        until = at.monotonic + claim.lease_s
        tx.run(sql.RENEW_CLAIM, boot_id=at.boot_id, until=until, lease_s=claim.lease_s, **mine)
    return _leases(tx, ids, claim.lease_s)


def _grant_in_lane(tx: Transaction, at: Moment, claim: Claim, lane: str, n: int) -> list[str]:
    """The ids of up to `n` tasks of the lane, granted, fairest first."""
    queue = {"lane": lane, "namespace": claim.offers.namespace}
    floor, grants = tx.row(sql.GET_FLOOR, **queue) or (0.0, 0)
    turns = Turns(tx, claim.offers, queue, most=n)
    chosen: list[str] = []
    granted = 0
    while len(chosen) < n and (turn := turns.next()):
        chosen.append(turn.task_id)
        floor, grants = max(floor, turn.charged), grants + 1
        if turn.is_capped:
            # what room is left is counted from what runs
            _grant_all(tx, at, claim, chosen[granted:])
            granted = len(chosen)
        turns.charge(turn, charged=floor + COST / turn.weight, last_grant=grants)
    _grant_all(tx, at, claim, chosen[granted:])
    if chosen:
        tx.run(sql.SET_FLOOR, floor=floor, grants=grants, **queue)
    turns.close()
    return chosen


def _grant_all(tx: Transaction, at: Moment, claim: Claim, ids: Sequence[str]) -> None:
    if not ids:
        return
    worker, asked = claim.worker, records.dump(list(ids))
    tx.run(
        sql.GRANT,
        ids=asked,
        now=at.now,
        steady=at.steady,
        claim_id=claim.claim_id,
        worker_id=worker.id,
        worker_boot=worker.boot_id,
        worker_pid=worker.pid,
        worker_pid_started=worker.pid_started_at,
        lease_s=claim.lease_s,
        boot_id=at.boot_id,
        until=at.monotonic + claim.lease_s,
    )
    tx.run(sql.INSERT_ATTEMPTS, ids=asked, now=at.now)


def _leases(tx: Transaction, ids: Sequence[str], lease_s: float) -> list[Lease]:
    if not ids:
        return []
    found = {row[0]: records.task(row) for row in tx.rows(sql.GRANTED, ids=records.dump(list(ids)))}
    return [_lease(tx, found[task_id], lease_s) for task_id in ids]


def _lease(tx: Transaction, task: Task, lease_s: float) -> Lease:
    # only a holder makes children, so the first one finds none
    found = tx.rows(reading.CHILDREN, id=task.id) if task.attempt > 1 else []
    children = [records.task(child) for child in found]
    ended = {child.step: child_result(child) for child in children if child.step and child.state.is_terminal}
    return Lease(task=task, fence=task.fence, lease_s=lease_s, children=ended)
