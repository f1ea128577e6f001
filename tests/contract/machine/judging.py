"""Whether what a claim granted was right: enough, in order, and fair.

Fairness is judged by its bounds alone, not by the arithmetic that brings it about. While a user has something that a
grant could take, nobody else is served twice before that user, or as often as their weight is a multiple of the
user's. And as long as two users both have something, neither gets ahead of what their weights give them by more than
one grant of each.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tests.contract.machine.model import Model
from tests.contract.machine.record import Rec

from morag.domain.task import Lease, Offers, Worker

User = tuple[str, str, str]
"""Lane, namespace and user."""


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
        self._passed: defaultdict[User, dict[str, float]] = defaultdict(dict)
        """By lane, namespace and user: what others paid while that user stood there, since it was served itself."""
        self._owed: defaultdict[User, float] = defaultdict(float)
        """What each user paid for the last grant."""
        self._leads: dict[tuple[User, User], float] = {}
        """How far the first is ahead of the second, at most, since both have been served with both waiting."""
        self._met: defaultdict[tuple[User, User], set[str]] = defaultdict(set)
        """Who of the two was served since both wait."""

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

        return [rec for rec in self._model.all() if fits(rec) and self._model.may_run(rec)]

    def _grant(self, ask: Ask, lane: str, waiting: list[Rec], lease: Lease) -> None:
        rec = self._model.tasks.get(lease.task.id)
        assert rec in waiting, f"{lease.task.id} was granted though it could not be claimed"
        mine = [other for other in waiting if other.user == rec.user]
        assert rec is min(mine, key=_order), f"{rec.new.id} was granted out of its user's order"
        self._charge((lane, ask.offers.namespace), rec.user, {other.user for other in waiting})
        self._take(rec, ask)
        assert lease.fence == rec.fence, f"{rec.new.id} was granted under fence {lease.fence}, not {rec.fence}"
        ended = {child.new.step: child.state for child in self._model.children(rec.new.id) if not child.is_open}
        assert {step: child.state.value for step, child in lease.children.items()} == ended, "other children"

    def weighed(self) -> None:
        """Weights or limits are others now: who is ahead counts from here."""
        self._met.clear()
        self._leads.clear()

    def _charge(self, queue: tuple[str, str], user: str, waiting: set[str]) -> None:
        paid = 1 / self._model.limits(user).weight
        for other in waiting - {user}:
            passed = self._passed[*queue, other]
            is_due = passed.get(user, 0.0) < self._owed[*queue, other]
            assert is_due or user not in passed, f"{user} was served too often while {other} waited"
            passed[user] = passed.get(user, 0.0) + paid
        self._passed[*queue, user].clear()
        self._owed[*queue, user] = paid
        self._compare(queue, user, waiting)

    def _compare(self, queue: tuple[str, str], user: str, waiting: set[str]) -> None:
        for pair in [pair for pair in self._met if pair[0][:2] == queue and not {pair[0][2], pair[1][2]} <= waiting]:
            del self._met[pair]
            self._leads.pop(pair, None)
        for ahead, behind in [(user, other) for other in waiting - {user}] + [(o, user) for o in waiting - {user}]:
            self._follow((*queue, ahead), (*queue, behind), user)

    def _follow(self, ahead: User, behind: User, served: str) -> None:
        pair, met = (ahead, behind), self._met[ahead, behind]
        one, other = (1 / self._model.limits(user[2]).weight for user in pair)
        if len(met) == len(pair):
            lead = self._leads.get(pair, 0.0) + (one if served == ahead[2] else -other)
            assert lead <= one + other, f"{ahead[2]} is {lead} ahead of {behind[2]}: more than the weights give"
            self._leads[pair] = max(0.0, lead)
        met.add(served)

    def _take(self, rec: Rec, ask: Ask) -> None:
        rec.fence += 1
        rec.is_ready = rec.lapsed = False
        if rec.started is None:
            rec.started = self._model.clock.now()
            rec.due_at = self._model.steady + rec.new.budget.deadline_s
        rec.holder, rec.worker_id, rec.claim_id = ask.worker, ask.worker.id, ask.claim_id
        rec.attempts.append([rec.fence, ask.worker.id, None])
        rec.become("running")
        self._model.renew(rec, ask.lease_s)


def _order(rec: Rec) -> tuple[int, int, str]:
    standing = 0 if rec.was_resumed else 2 if rec.parent is None else 1
    return standing, -int(rec.new.priority), rec.new.id
