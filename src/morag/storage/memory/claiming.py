"""Fair claims over the ledger: stride scheduling, by looking at everything."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from morag.domain.history import Attempt
from morag.domain.task import Lease, Offers, TaskState, Worker
from morag.domain.transitions import child_result, content_type_of, is_offered
from morag.storage.memory.ledger import Entry, Ledger
from morag.storage.memory.limits import has_room

COST = 1.0
"""What one grant is charged, at weight 1."""

Queue = tuple[str, str]
"""Lane and namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who asks, under which terms."""

    worker: Worker
    claim_id: str
    lease_s: float
    offers: Offers


class Shares:
    """What each user was charged in each lane, and each lane's floor."""

    def __init__(self, ledger: Ledger) -> None:
        """Users are charged by the limits the ledger knows."""
        self._ledger = ledger
        self._charged: defaultdict[tuple[Queue, str], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
        self._floors: defaultdict[Queue, float] = defaultdict(float)
        self._grants = 0

    def fairest(self, queue: Queue, waiting: list[Entry]) -> Entry:
        """The first task of the lowest-charged user, of equals of the one served longest ago; that user is charged."""
        users = {entry.task.user_id for entry in waiting}
        (passed, _), user_id = min((self._charged[queue, user], user) for user in users)
        self._floors[queue] = max(self._floors[queue], passed)
        self._grants += 1
        cost = COST / self._ledger.limits_of(user_id).weight
        self._charged[queue, user_id] = (self._floors[queue] + cost, self._grants)
        return min(
            (entry for entry in waiting if entry.task.user_id == user_id),
            key=lambda entry: (entry.rank, entry.task.id),
        )


def grant(ledger: Ledger, shares: Shares, claim: Claim, lane: str, n: int) -> list[Lease]:
    """Up to `n` new leases in one lane."""
    granted: list[Lease] = []
    while len(granted) < n and (waiting := list(filter(fits(ledger, claim.offers, lane), ledger.entries.values()))):
        granted.append(_grant(ledger, claim, shares.fairest((lane, claim.offers.namespace), waiting)))
    return granted


def held(ledger: Ledger, claim: Claim) -> list[Lease]:
    """The leases that this claim id still holds, renewed."""
    mine = [
        entry
        for entry in ledger.entries.values()
        if entry.is_running and entry.claim_id == claim.claim_id and entry.worker == claim.worker
    ]
    for entry in mine:
        entry.lease_s, entry.lease_until = claim.lease_s, ledger.clock.monotonic() + claim.lease_s
    return [_lease(ledger, claim, entry) for entry in sorted(mine, key=lambda entry: entry.task.id)]


def fits(ledger: Ledger, offers: Offers, lane: str) -> Callable[[Entry], bool]:
    """Whether a task could be granted to such a claimer now."""

    @cache
    def may_run(user_id: str, is_lapsed: bool) -> bool:  # noqa: FBT001 -- the key of the cache
        return has_room(ledger, user_id, for_lapsed=is_lapsed)

    def does_fit(entry: Entry) -> bool:
        task = entry.task
        stands_there = entry.is_ready and task.lane == lane and task.namespace == offers.namespace
        is_fit = stands_there and is_offered(offers, task.name, content_type_of(task.args))
        return is_fit and may_run(task.user_id, entry.lapsed)

    return does_fit


def _grant(ledger: Ledger, claim: Claim, entry: Entry) -> Lease:
    now, task = ledger.clock.now(), entry.task
    if task.started_at is None:
        entry.due_at = ledger.steady() + task.budget.deadline_s
    entry.task = replace(
        task,
        state=TaskState.RUNNING,
        fence=task.fence + 1,
        attempt=task.attempt + 1,
        worker_id=claim.worker.id,
        started_at=now if task.started_at is None else task.started_at,
    )
    entry.is_ready = entry.lapsed = False
    entry.worker, entry.claim_id, entry.lease_s = claim.worker, claim.claim_id, claim.lease_s
    entry.lease_until = ledger.clock.monotonic() + claim.lease_s
    entry.attempts.append(_attempt(entry, now))
    ledger.note_state(entry, attempt=entry.task.attempt, worker_id=claim.worker.id)
    return _lease(ledger, claim, entry)


def _attempt(entry: Entry, now: float) -> Attempt:
    return Attempt(
        n=entry.task.attempt,
        fence=entry.task.fence,
        worker_id=entry.task.worker_id or "",
        lane=entry.task.lane,
        started_at=now,
        ended_at=None,
        outcome=None,
        failure=None,
        decision=None,
    )


def _lease(ledger: Ledger, claim: Claim, entry: Entry) -> Lease:
    children = [child.task for child in ledger.children(entry.task.id)]
    ended = {child.step: child_result(child) for child in children if child.step and child.state.is_terminal}
    return Lease(task=entry.task, fence=entry.task.fence, lease_s=claim.lease_s, children=ended)
