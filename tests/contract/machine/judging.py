"""Whether what a claim granted was right: enough, in order, and fair.

Fairness is judged by its bound alone, not by the arithmetic that brings it about: while a user has something that a
grant could take, nobody else is served twice before that user.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tests.contract.machine.model import Model
from tests.contract.machine.record import Rec

from morag.domain.task import Lease, Offers, Worker


@dataclass(frozen=True, slots=True)
class Ask:
    """One call of `claim`."""

    lanes: Sequence[str]
    worker: Worker
    claim_id: str
    n: int
    lease_s: float
    offers: Offers


class Judge:
    """Follows the grants of one store."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._passed: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        """By lane, namespace and user: who was served while that user stood there, since it was served itself."""

    def claimed(self, ask: Ask, leases: list[Lease]) -> None:
        """Take a claim's answer over into the model. Raises AssertionError for one that is wrong."""
        held = [rec for rec in self._model.all() if self._holds(rec, ask)]
        if held:
            expected = sorted((rec.new.id, rec.fence) for rec in held)
            assert [(lease.task.id, lease.fence) for lease in leases] == expected, "the same claim gives other leases"
            for rec in held:
                self._model.renew(rec, ask.lease_s)
            return
        self._model.promote()
        left = list(leases)
        for lane in ask.lanes:
            while len(leases) - len(left) < ask.n and (waiting := self._waiting(ask, lane)):
                assert left, f"{waiting[0].new.id} could be claimed, nothing was granted"
                self._grant(ask, lane, waiting, left.pop(0))
        assert not left, f"{left[0].task.id} was granted though it could not be claimed"

    def _holds(self, rec: Rec, ask: Ask) -> bool:
        is_mine = rec.holder is not None and rec.holder.id == ask.worker.id and rec.claim_id == ask.claim_id
        return is_mine and rec.state == "running"

    def _waiting(self, ask: Ask, lane: str) -> list[Rec]:
        def fits(rec: Rec) -> bool:
            offers, args = ask.offers, rec.new.args
            return (
                (rec.state, rec.is_ready, rec.new.routing.lane) == ("pending", True, lane)
                and rec.new.namespace == offers.namespace
                and (offers.names is None or rec.new.name in offers.names)
                and (offers.content_types is None or args.get("content_type", "") in offers.content_types)
            )

        return [rec for rec in self._model.all() if fits(rec)]

    def _grant(self, ask: Ask, lane: str, waiting: list[Rec], lease: Lease) -> None:
        rec = self._model.tasks.get(lease.task.id)
        assert rec in waiting, f"{lease.task.id} was granted though it could not be claimed"
        mine = [other for other in waiting if other.user == rec.user]
        assert rec is min(mine, key=_order), f"{rec.new.id} was granted out of its user's order"
        for user in {other.user for other in waiting} - {rec.user}:
            passed = self._passed[lane, ask.offers.namespace, user]
            assert rec.user not in passed, f"{rec.user} was served twice while {user} waited"
            passed.add(rec.user)
        self._passed[lane, ask.offers.namespace, rec.user].clear()
        self._take(rec, ask)
        assert lease.fence == rec.fence, f"{rec.new.id} was granted under fence {lease.fence}, not {rec.fence}"
        ended = {child.new.step: child.state for child in self._model.children(rec.new.id) if not child.is_open}
        assert {step: child.state.value for step, child in lease.children.items()} == ended, "other children"

    def _take(self, rec: Rec, ask: Ask) -> None:
        rec.fence += 1
        rec.is_ready = rec.lapsed = False
        rec.started = self._model.clock.now() if rec.started is None else rec.started
        rec.holder, rec.worker_id, rec.claim_id = ask.worker, ask.worker.id, ask.claim_id
        rec.attempts.append([rec.fence, ask.worker.id, None])
        rec.become("running")
        self._model.renew(rec, ask.lease_s)


def _order(rec: Rec) -> tuple[int, int, str]:
    standing = 0 if rec.was_resumed else 2 if rec.parent is None else 1
    return standing, -int(rec.new.priority), rec.new.id
