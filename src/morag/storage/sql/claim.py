"""Claims: the fairest user's first task, under a lease and a new fence.

Stride scheduling: each user of a lane was charged `pass` so far, the lane's floor is what the one served last had paid
before. The lowest pass is served and then stands `COST / weight` above the larger of pass and floor, so that who comes
back after a pause has saved nothing; of equal passes the one served longest ago goes first, so that nobody is passed
twice by another of equal weight.

A user at the limit of running tasks is passed over inside the statement that looks for the next user (the view
`turns`); their share stays as it is. Users at a limit above 0 are at most as many as tasks run, and one costs a count
of that few entries of an index. A task whose lease expired has its slot still, so it may be granted at the limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from morag.domain.task import Lease, Offers, TaskState, Worker
from morag.domain.transitions import LAST_RANK, child_result, is_offered
from morag.storage.sql import limits, records
from morag.storage.sql.statements import claim as sql
from morag.storage.sql.statements import reading
from morag.storage.sql.transaction import Moment, Transaction
from morag.storage.sql.writing import note_state, stand_in_lane

COST = 1.0
"""What one grant is charged, at weight 1."""
_ANY = 2
"""Room for any task of the user; less is room for one only whose lease expired."""


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
    granted: list[Lease] = []
    for lane in lanes:
        granted += _grant_in_lane(tx, at, claim, lane, n - len(granted))
    return granted


def promote(tx: Transaction, at: Moment) -> None:
    """Let delayed tasks whose time has come stand in their lanes."""
    for lane, namespace, user_id in tx.rows(sql.PROMOTE_DUE, now=at.now):
        stand_in_lane(tx, lane, namespace, user_id)


def _held(tx: Transaction, at: Moment, claim: Claim) -> list[Lease]:
    mine = {"claim_id": claim.claim_id, "worker_id": claim.worker.id}
    ids = sorted(row[0] for row in tx.rows(sql.HELD_BY_CLAIM, **mine))
    if ids:
        until = at.monotonic + claim.lease_s
        tx.run(sql.RENEW_CLAIM, boot_id=at.boot_id, until=until, lease_s=claim.lease_s, **mine)
    return [_lease(tx, task_id, claim.lease_s) for task_id in ids]


def _grant_in_lane(tx: Transaction, at: Moment, claim: Claim, lane: str, n: int) -> list[Lease]:
    if n <= 0:
        return []
    queue = {"lane": lane, "namespace": claim.offers.namespace}
    floor, grants = tx.row(sql.GET_FLOOR, **queue) or (0.0, 0)
    granted: list[Lease] = []
    while len(granted) < n and (found := _fairest(tx, claim.offers, queue)):
        user_id, task_id, charged = found
        floor, grants = max(floor, charged), grants + 1
        tx.run(sql.CHARGE, user_id=user_id, last_grant=grants, floor=floor, cost=COST, **queue)
        granted.append(_grant(tx, at, claim, task_id))
    if granted:
        tx.run(sql.SET_FLOOR, floor=floor, grants=grants, **queue)
    return granted


def _fairest(tx: Transaction, offers: Offers, queue: dict[str, str]) -> tuple[str, str, float] | None:
    """(user, task, pass) of the lowest-charged user with something on offer; of equals who was served longest ago."""
    user_id, charged, last_grant = "", -1.0, 0
    while row := tx.row(sql.NEXT_USER, user_id=user_id, last_grant=last_grant, **queue, **{"pass": charged}):
        charged, last_grant, user_id, room = row
        if room < _ANY:
            task_id, has_any = _first_lapsed(tx, offers, user_id, queue), True
        else:
            task_id, has_any = _first_of(tx, offers, user_id, queue)
        if task_id:
            return user_id, task_id, charged
        # a share that is locked belongs to somebody who submits just now
        if not has_any and tx.row(sql.LOCK_SHARE, user_id=user_id, **queue):
            tx.run(sql.REST_SHARE, user_id=user_id, **queue)
    return None


def _first_of(tx: Transaction, offers: Offers, user_id: str, queue: dict[str, str]) -> tuple[str | None, bool]:
    """The user's first task on offer, and whether there is any at all. Looks at the head of each kind of work."""
    best: tuple[int, str] | None = None
    name, content_type, has_any = "", "", False
    # beyond every rank: the seek lands on the next kind, not on the rest of this one
    while row := tx.row(
        sql.NEXT_KIND, user_id=user_id, name=name, content_type=content_type, last_rank=LAST_RANK, **queue
    ):
        name, content_type, ranked, task_id = row
        has_any = True
        if is_offered(offers, name, content_type) and (best is None or (ranked, task_id) < best):
            best = (ranked, task_id)
    return (best[1] if best else None), has_any


def _first_lapsed(tx: Transaction, offers: Offers, user_id: str, queue: dict[str, str]) -> str | None:
    """The user's first task on offer whose lease expired."""
    found = tx.rows(sql.FIRST_LAPSED, user_id=user_id, **queue)
    return next((task_id for name, content_type, task_id in found if is_offered(offers, name, content_type)), None)


def _grant(tx: Transaction, at: Moment, claim: Claim, task_id: str) -> Lease:
    worker = claim.worker
    ((fence, n, lane),) = tx.rows(
        sql.GRANT,
        id=task_id,
        now=at.now,
        claim_id=claim.claim_id,
        worker_id=worker.id,
        worker_boot=worker.boot_id,
        worker_pid=worker.pid,
        worker_pid_started=worker.pid_started_at,
        lease_s=claim.lease_s,
        boot_id=at.boot_id,
        until=at.monotonic + claim.lease_s,
    )
    tx.run(sql.INSERT_ATTEMPT, task_id=task_id, n=n, fence=fence, worker_id=worker.id, lane=lane, started_at=at.now)
    note_state(tx, at, task_id, TaskState.RUNNING, attempt=n, worker_id=worker.id)
    return _lease(tx, task_id, claim.lease_s)


def _lease(tx: Transaction, task_id: str, lease_s: float) -> Lease:
    (row,) = tx.rows(reading.GET, id=task_id)
    task = records.task(row)
    # only a holder makes children, so the first one finds none
    found = tx.rows(reading.CHILDREN, id=task_id) if task.attempt > 1 else []
    children = [records.task(child) for child in found]
    ended = {child.step: child_result(child) for child in children if child.step and child.state.is_terminal}
    return Lease(task=task, fence=task.fence, lease_s=lease_s, children=ended)
