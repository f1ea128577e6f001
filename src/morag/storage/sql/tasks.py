"""The task record in SQL: `control.ports.TaskStore` over the engine; what an act does stands in the modules beside."""

from collections.abc import Mapping, Sequence

from morag.control.ports import LaneLoad, SweepReport
from morag.domain.history import Attempt, Event
from morag.domain.limits import Limits, Usage, check
from morag.domain.task import Answer, Extension, Lease, NewTask, Offers, Outcome, Parked, Task, TaskState, Worker
from morag.domain.transitions import check_inline, steps
from morag.storage.sql import claim, ending, holding, intake, leadership, records, sweep
from morag.storage.sql import limits as limiting
from morag.storage.sql.statements import reading as sql
from morag.storage.sql.transaction import Host, Transaction, Transactor

RETIRED_AT_ONCE = 200
"""Trees deleted in one transaction, so that nobody waits long behind them."""
_AFTER_ALL_IDS = "~"


class SqlTaskStore:
    """`control.ports.TaskStore`: the record, durable at every return."""

    def __init__(self, engine: Transactor, host: Host) -> None:
        self._engine = engine
        self._host = host

    async def submit(self, tasks: Sequence[NewTask]) -> list[Task]:
        """Store all of them or none, in order. Raises IdempotencyConflict, DocumentExists, LimitReached."""
        ready = frozenset(new.routing.lane for new in tasks if new.delay_s <= 0 and new.completed_with is None)
        return await self._engine.write(lambda tx: intake.submit(tx, self._host.moment(tx), tasks), lanes=ready)

    async def claim(
        self, *, lanes: Sequence[str], worker: Worker, claim_id: str, n: int, lease_s: float, offers: Offers
    ) -> list[Lease]:
        """Grant up to `n` ready tasks, fairest user first; the same `claim_id` gives the same leases, renewed."""
        asked = claim.Claim(worker=worker, claim_id=claim_id, lease_s=lease_s, offers=offers)

        def act(tx: Transaction) -> list[Lease]:
            claim.take_turn(tx, asked, lanes)
            return claim.grant(tx, self._host.moment(tx), asked, lanes=lanes, n=n)

        return await self._engine.write(act)

    async def extend(self, extensions: Sequence[Extension], *, lease_s: float) -> list[Answer]:
        """Renew leases and note progress, in one write, before others that wait."""

        def act(tx: Transaction) -> list[Answer]:
            at = self._host.moment(tx)
            return [holding.extend(tx, at, extension, lease_s) for extension in extensions]

        return await self._engine.write(act, is_urgent=True)

    async def park(self, task_id: str, fence: int, parked: Parked) -> Answer:
        """Let the task wait for its children. Raises ValueError if a child's step is missing or doubled."""
        steps(parked.children)
        return await self._engine.write(lambda tx: holding.park(tx, self._host.moment(tx), task_id, fence, parked))

    async def settle(self, task_id: str, fence: int, outcome: Outcome) -> Answer:
        """End the attempt with all that follows from it. Raises ValueError for a result that must be a blob."""
        check_inline(outcome)
        return await self._engine.write(lambda tx: holding.settle(tx, self._host.moment(tx), task_id, fence, outcome))

    async def release(self, task_id: str, fence: int, *, reason: str) -> Answer:
        """Give the task back to its lane at once, charging no budget."""
        return await self._engine.write(lambda tx: holding.release(tx, self._host.moment(tx), task_id, fence, reason))

    async def cancel(self, task_id: str, *, user_id: str) -> Task | None:
        """End an open task and all its open descendants; the record afterwards, None if the user has no such task."""
        return await self._engine.write(lambda tx: ending.cancel(tx, self._host.moment(tx), task_id, user_id))

    async def hasten(self, task_id: str) -> bool:
        """Let a pending task that waits for its time be claimable now."""
        return await self._engine.write(lambda tx: holding.hasten(tx, self._host.moment(tx), task_id))

    async def sweep(self) -> SweepReport:
        """Repair what time or death broke; costs a few reads if nothing is."""
        broken = await self._engine.read(lambda tx: sweep.look(tx, self._host.moment(tx), self._host))
        if not broken:
            return SweepReport()
        return await self._engine.write(lambda tx: sweep.repair(tx, self._host.moment(tx), broken))

    async def held(self, worker_id: str, *, but: str = "") -> list[tuple[str, int]]:
        """(task id, fence) of each lease that a claimer of that id holds, those of the claim id `but` left out."""

        def act(tx: Transaction) -> list[tuple[str, int]]:
            return [(row[0], row[1]) for row in tx.rows(sql.HELD, worker_id=worker_id, but=but)]

        return await self._engine.read(act)

    async def forsake(self, worker_id: str) -> int:
        """Take the leases of a claimer whose session is over as expired now; how many."""
        return await self._engine.write(lambda tx: sweep.forsake(tx, self._host.moment(tx), worker_id))

    async def reclaim(self, *, keep: Worker) -> int:
        """Free the leases of dead processes and of earlier runs in this one; renew those of machines elsewhere."""
        return await self._engine.write(lambda tx: sweep.reclaim(tx, self._host.moment(tx), self._host, keep))

    async def lead(self, worker: Worker, *, lease_s: float) -> bool:
        """Whether `worker` leads; costs a read while nothing changes, a write each half of the lease."""
        standing = await self._engine.read(
            lambda tx: leadership.look(tx, self._host.moment(tx), self._host, worker, lease_s)
        )
        if standing.leads is not None:
            return standing.leads
        return await self._engine.write(
            lambda tx: leadership.take(tx, self._host.moment(tx), worker, lease_s, standing.gone_id)
        )

    async def resign(self, worker: Worker) -> None:
        """Give the lead back, if `worker` has it."""
        await self._engine.write(lambda tx: leadership.resign(tx, worker))

    async def set_limits(self, user_id: str | None, limits: Limits | None) -> None:
        """Give a user, or everybody without their own, limits; None takes them back. Raises InvalidRequest."""
        if limits:
            check(limits)
        await self._engine.write(lambda tx: limiting.assign(tx, user_id, limits))

    async def limits(self, user_id: str) -> Limits:
        """The user's limits, else everybody's, else none."""
        return await self._engine.read(lambda tx: limiting.of(tx, user_id))

    async def users(self) -> list[str]:
        """Everybody who is known by limits of their own, by tasks or by documents; in order."""
        return await self._engine.read(limiting.users)

    async def usage(self, user_id: str) -> Usage:
        """What the user uses now."""
        return await self._engine.read(lambda tx: limiting.usage(tx, user_id))

    async def get(self, task_id: str, *, user_id: str | None = None) -> Task | None:
        """The record; with a user id only if it is that user's."""

        def act(tx: Transaction) -> Task | None:
            row = tx.row(sql.GET, id=task_id)
            return records.task(row) if row else None

        task = await self._engine.read(act)
        return task if task and user_id in {None, task.user_id} else None

    async def find(
        self,
        *,
        user_id: str,
        states: Sequence[TaskState] = (),
        name: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Task]:
        """A user's root tasks, newest first, from before the task `before` on."""
        wanted = records.dump([state.value for state in states]) if states else None

        def act(tx: Transaction) -> list[Task]:
            rows = tx.rows(
                sql.FIND, user_id=user_id, states=wanted, name=name, limit=limit, before=before or _AFTER_ALL_IDS
            )
            return [records.task(row) for row in rows]

        return await self._engine.read(act)

    async def children(self, task_id: str) -> list[Task]:
        """The children of a task, oldest first."""
        found = await self._engine.read(lambda tx: [records.task(row) for row in tx.rows(sql.CHILDREN, id=task_id)])
        return sorted(found, key=lambda child: child.id)

    async def attempts(self, task_id: str) -> list[Attempt]:
        """All attempts, oldest first."""
        return await self._engine.read(lambda tx: [records.attempt(row) for row in tx.rows(sql.ATTEMPTS, id=task_id)])

    async def events(self, task_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """The log after a sequence number, oldest first."""

        def act(tx: Transaction) -> list[Event]:
            rows = tx.rows(sql.EVENTS, id=task_id, after=after, limit=limit)
            return [records.event(task_id, row) for row in rows]

        return await self._engine.read(act)

    async def position(self, task_id: str) -> int | None:
        """How many ready tasks of its user in its lane are before a pending task."""

        def act(tx: Transaction) -> int | None:
            row = tx.row(sql.POSITION, id=task_id)
            return row[0] if row else None

        return await self._engine.read(act)

    async def lanes(self, *, user_id: str | None = None) -> Mapping[str, LaneLoad]:
        """By lane: what stands there and what runs."""
        return await self._engine.read(lambda tx: _loads(tx, user_id, self._host.moment(tx).steady))

    async def ready(self, lane: str, offers: Offers, *, limit: int) -> list[tuple[str, int]]:
        """(task id, attempts so far) of ready tasks in a lane that such a claimer could be granted, in no order."""
        return await self._engine.read(lambda tx: _ready(tx, lane, offers, limit))

    async def ready_names(self, lane: str, namespace: str) -> set[str]:
        """The names of the ready tasks of a namespace in a lane."""

        def act(tx: Transaction) -> set[str]:
            return {row[0] for row in tx.rows(sql.READY_NAMES, lane=lane, namespace=namespace)}

        return await self._engine.read(act)

    async def retire(self, *, older_than_s: float) -> int:
        """Delete trees that ended longer ago than that; how many tasks."""
        before, retired = (await self._engine.read(self._host.moment)).steady - older_than_s, 0
        while sizes := await self._engine.write(lambda tx: intake.retire(tx, before=before, limit=RETIRED_AT_ONCE)):
            retired += sum(sizes)
        return retired

    async def referenced(self, blobs: Sequence[str]) -> set[str]:
        """Those of the blobs that a task or a document refers to."""
        asked = records.dump(list(blobs))
        return await self._engine.read(lambda tx: {row[0] for row in tx.rows(sql.REFERENCED, blobs=asked)})


def _ready(tx: Transaction, lane: str, offers: Offers, limit: int) -> list[tuple[str, int]]:
    queue = {"lane": lane, "namespace": offers.namespace}
    types = None if offers.content_types is None else records.dump(sorted(offers.content_types))
    names = {row[0] for row in tx.rows(sql.READY_NAMES, **queue)} if offers.names is None else offers.names
    found: list[tuple[str, int]] = []
    for name in sorted(names):
        left = limit - len(found)
        if left > 0:
            found += [(row[0], row[1]) for row in tx.rows(sql.READY, name=name, types=types, limit=left, **queue)]
    return found


def _loads(tx: Transaction, user_id: str | None, steady: float) -> dict[str, LaneLoad]:
    ready = {lane: (n, since) for lane, n, since in tx.rows(sql.READY_BY_LANE, user_id=user_id)}
    delayed, running, lapsed = (
        {row[0]: int(row[1]) for row in tx.rows(statement, user_id=user_id)}
        for statement in (sql.DELAYED_BY_LANE, sql.RUNNING_BY_LANE, sql.LAPSED_BY_LANE)
    )
    return {
        lane: LaneLoad(
            length=(ready[lane][0] if lane in ready else 0) + delayed.get(lane, 0),
            # the holder of an expired lease may still be at it
            running=running.get(lane, 0) + lapsed.get(lane, 0),
            oldest_wait_s=max(0.0, steady - ready[lane][1]) if lane in ready else None,
        )
        for lane in {*ready, *delayed, *running, *lapsed}
    }
