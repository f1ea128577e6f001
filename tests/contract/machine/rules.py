"""The state machine: every act a store knows, by several users and workers, in any order, through crashes and jumps."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from tests.contract.conftest import LEASE_S
from tests.contract.machine import drawing
from tests.contract.machine.acting import LOCAL, Acting, Counted
from tests.contract.machine.checking import queries
from tests.contract.machine.judging import Ask
from tests.contract.machine.subjects import USERS, Open

from morag.domain.errors import MoragError
from morag.domain.limits import Limits
from morag.domain.task import Budget, Completed, Extension, Offers, Outcome, Progress, Reservation, Worker

pick = st.integers(0, 999)
rarely = st.integers(0, 4).map(lambda n: n == 4)


class StoreMachine(Acting):
    """Drives one store and the model side by side. `of` gives the class for a store."""

    # users

    @initialize(forms=st.lists(drawing.forms, min_size=1, max_size=4))
    def begin(self, forms: list[drawing.Form]) -> None:
        self.submit(forms)
        self.claim_anything()

    @rule(forms=st.lists(drawing.forms, min_size=1, max_size=3))
    def submit(self, forms: list[drawing.Form]) -> None:
        new = [drawing.new_task(form, self.ids.next(is_skewed=form.is_skewed)) for form in forms]
        expected = self.model.submit(new)
        try:
            told: object = [task.id for task in self.subject.run(self.subject.tasks.submit(new))]
        except MoragError as error:
            told = type(error)
        assert told == expected, f"submit gave {told}, not {expected}"

    @rule(user=st.sampled_from([None, None, *USERS]), limits=drawing.limits)
    def limit(self, user: str | None, limits: Limits | None) -> None:
        self.do_limit(user, limits)

    @rule(weights=st.lists(drawing.weights, min_size=2, max_size=3), form=drawing.forms, n=st.integers(2, 6))
    def rush(self, weights: list[float], form: drawing.Form, n: int) -> None:
        """Some users of other weights send much at once, and much of it runs."""
        plain = replace(form, is_first_lane=True, is_first_namespace=True, key=None, reservation=None, delay_s=0.0)
        for user, weight in zip(USERS, weights, strict=False):
            self.do_limit(user, Limits(weight=weight))
            self.submit([replace(plain, user_id=user)] * 4)
        for _ in range(n):
            self.claim_anything()

    @precondition(lambda self: self.model.tasks)
    @rule(pick=pick, is_stranger=rarely)
    def cancel(self, pick: int, is_stranger: bool) -> None:  # noqa: FBT001 -- drawn by name
        parents = [rec for rec in self.model.all() if rec.state == "waiting"]
        recs = (pick % 2 and parents) or self.model.all()
        rec = recs[pick // 2 % len(recs)]
        user = next(user for user in USERS if (user == rec.user) != is_stranger)
        expected = self.model.cancel(rec.new.id, user)
        told = self.subject.run(self.subject.tasks.cancel(rec.new.id, user_id=user))
        assert (told is not None) == expected, f"cancel of {rec.new.id} by {user}"
        assert told is None or told.state.value == rec.state, f"cancel gave {told}"

    @precondition(lambda self: self.model.documents)
    @rule(pick=pick)
    def remove_document(self, pick: int) -> None:
        user, document_id = list(self.model.documents)[pick % len(self.model.documents)]
        expected = self.model.remove(user, document_id)
        assert self.subject.run(self.subject.documents.remove(user, document_id)) == expected

    @precondition(lambda self: self.model.tasks)
    @rule(pick=pick)
    def hasten(self, pick: int) -> None:
        later = [rec for rec in self.model.all() if rec.state == "pending" and not rec.is_ready] or self.model.all()
        task_id = later[pick % len(later)].new.id
        expected = self.model.hasten(task_id)
        assert self.subject.run(self.subject.tasks.hasten(task_id)) == expected, f"hasten of {task_id}"

    # workers

    @rule(worker=pick, lanes=drawing.lanes, n=st.integers(1, 3), offers=drawing.offers)
    def claim(self, worker: int, lanes: Sequence[str], n: int, offers: Offers) -> None:
        self.claims += 1
        self.do_claim(Ask(lanes, self.workers[worker % len(self.workers)], f"claim-{self.claims}", n, LEASE_S, offers))

    @precondition(lambda self: self.asks)
    @rule(which=st.integers(0, 5), worker=st.none() | st.integers(0, 4))
    def claim_again(self, which: int, worker: int | None) -> None:
        """With a claim id that was used, by the same worker or (which must not matter) another one."""
        old = self.asks[-1 - which % len(self.asks)]
        asking = old.worker if worker is None else self.workers[worker]
        self.do_claim(Ask(old.lanes, asking, old.claim_id, old.n, LEASE_S, old.offers))

    @rule()
    def claim_anything(self) -> None:
        self.claims += 1
        offers = Offers(namespace=drawing.NAMESPACES[0])
        self.do_claim(Ask(drawing.LANES, self.workers[self.claims % 5], f"claim-{self.claims}", 2, LEASE_S, offers))

    @precondition(lambda self: self.grips)
    @rule(picks=st.lists(st.tuples(pick, rarely, drawing.progresses), min_size=1, max_size=3))
    def extend(self, picks: list[tuple[int, bool, Progress | None]]) -> None:
        grips = [(*self.grip(pick, is_stale=is_stale), progress) for pick, is_stale, progress in picks]
        self.do_extend([Extension(task_id=task, fence=fence, progress=told) for task, fence, told in grips])

    @precondition(lambda self: self.grips)
    @rule(pick=pick, is_stale=rarely, steps=st.sets(st.sampled_from(drawing.STEPS), max_size=3), form=drawing.forms)
    def park(self, pick: int, is_stale: bool, steps: set[str], form: drawing.Form) -> None:  # noqa: FBT001 -- drawn by name
        self.do_tell(*self.grip(pick, is_stale=is_stale), drawing.parked(sorted(steps), form, self.ids))

    @precondition(lambda self: self.grips)
    @rule(pick=pick, is_stale=rarely, outcome=drawing.outcomes)
    def settle(self, pick: int, is_stale: bool, outcome: Outcome) -> None:  # noqa: FBT001 -- drawn by name
        self.do_tell(*self.grip(pick, is_stale=is_stale), outcome)

    @precondition(lambda self: self.in_use())
    @rule(
        pick=pick,
        told=st.one_of(drawing.outcomes, drawing.forms, st.none(), drawing.progresses),
        is_granted=st.sampled_from([True, True, True, False]),
    )
    def come_back(self, pick: int, told: Outcome | drawing.Form | Progress | None, is_granted: bool) -> None:  # noqa: FBT001 -- drawn by name
        """A holder is late, others are granted its tasks, then it acts as if nothing had happened."""
        task_id, fence = self.grip(pick, is_stale=False)
        self.do_sweep(LEASE_S)
        if is_granted:
            self.claim_all()
        if isinstance(told, drawing.Form):
            self.do_tell(task_id, fence, drawing.parked(drawing.STEPS[:1], told, self.ids))
        elif told is None:
            self.do_release(task_id, fence)
        elif isinstance(told, Progress):
            self.do_extend([Extension(task_id=task_id, fence=fence, progress=told)])
        else:
            self.do_tell(task_id, fence, told)

    @precondition(lambda self: self.publishing())
    @rule(pick=pick, title=st.sampled_from(["One", "Two"]))
    def publish_what_was_reserved(self, pick: int, title: str) -> None:
        grips = self.publishing()
        task_id, fence, document_id = grips[pick % len(grips)]
        self.do_tell(task_id, fence, Completed(result=1, publication=drawing.publication(document_id, title)))

    @precondition(lambda self: self.grips)
    @rule(pick=pick, steps=st.sets(st.sampled_from(drawing.STEPS), min_size=2), form=drawing.forms, n=st.integers(0, 3))
    def have_a_family(self, pick: int, steps: set[str], form: drawing.Form, n: int) -> None:
        """A task parks, and some of its children run."""
        self.do_tell(*self.grip(pick, is_stale=False), drawing.parked(sorted(steps), form, self.ids))
        for _ in range(n):
            self.claim_anything()

    @rule(form=drawing.forms, title=st.sampled_from(["One", "Two"]), is_reversed=st.booleans())
    def race_for_a_document(self, form: drawing.Form, title: str, is_reversed: bool) -> None:  # noqa: FBT001 -- drawn by name
        """Some who replace the same document are granted at once, and publish in either order."""
        taken = Reservation(document_id=drawing.DOCUMENTS[0], replace_existing=True)
        self.submit([replace(form, key=None, reservation=taken, delay_s=0.0)] * 2)
        self.claim_anything()
        for task_id, fence, document_id in sorted(self.publishing(), reverse=is_reversed)[:2]:
            publication = drawing.publication(document_id, title)
            self.do_tell(task_id, fence, Completed(result=1, publication=publication))

    @precondition(lambda self: self.told)
    @rule(pick=pick)
    def tell_again(self, pick: int) -> None:
        self.do_tell(*self.told[-1 - pick % min(4, len(self.told))])

    @precondition(lambda self: self.grips)
    @rule(pick=pick, is_stale=rarely)
    def release(self, pick: int, is_stale: bool) -> None:  # noqa: FBT001 -- drawn by name
        self.do_release(*self.grip(pick, is_stale=is_stale))

    # time, death and the supervisor

    @rule(
        seconds=st.sampled_from([1.0, 10.0, LEASE_S, 60.0]), jump=st.sampled_from([0, 0, -90_000, -60, 3_600, 90_000])
    )
    def wait(self, seconds: float, jump: float) -> None:
        self.machine.clock.pass_(seconds)
        self.machine.clock.wall += jump

    @rule(seconds=st.sampled_from([0.0, LEASE_S]))
    def sweep(self, seconds: float) -> None:
        self.do_sweep(seconds)

    @precondition(lambda self: self.subject.can_restart)
    @rule(
        seconds=st.sampled_from([LEASE_S, 60.0]),
        meanwhile=st.sampled_from(["extend", "claim", "restart", "jump", ""]),
        form=drawing.forms,
    )
    def sweep_late(self, seconds: float, meanwhile: str, form: drawing.Form) -> None:
        """Another process looks, the world goes on, the other process repairs what it saw."""
        if meanwhile == "claim":
            self.submit([replace(form, key=None, reservation=None, budget=Budget(waiting_s=60.0))])
        self.machine.clock.pass_(seconds)
        seen = self.model.look()
        self.subject.look()
        if meanwhile == "extend":
            self.do_extend([Extension(task_id=task_id, fence=fence) for task_id, fence in self.in_use()])
        elif meanwhile == "claim":
            self.claim_all()
        elif meanwhile == "restart":
            self.reclaim(0, is_new_run=True)
        elif meanwhile == "jump":
            self.machine.clock.wall += 90_000
        self.swept(self.subject.repair(), self.model.repair(seen))

    @rule(n=st.integers(0, LOCAL - 1))
    def crash(self, n: int) -> None:
        self.machine.dead.add(self.workers[n].pid or 0)
        self.workers[n] = self.worker(n)

    @rule(n=st.integers(0, LOCAL - 1), is_new_run=st.booleans())
    def reclaim(self, n: int, is_new_run: bool) -> None:  # noqa: FBT001 -- drawn by name
        if is_new_run:
            old, self.pids = self.workers[n], self.pids + 1
            self.workers[n] = Worker(id=f"server-{self.pids}", boot_id=old.boot_id, pid=old.pid, pid_started_at=1.0)
        expected = self.model.reclaim(self.workers[n])
        told = self.subject.run(self.subject.tasks.reclaim(keep=self.workers[n]))
        assert told == expected, f"reclaim freed {told}, not {expected}"

    @precondition(lambda self: self.subject.can_restart)
    @rule(is_boot=st.booleans(), off_s=st.sampled_from([10.0, 3_600.0, -90_000.0]))
    def restart(self, is_boot: bool, off_s: float) -> None:  # noqa: FBT001 -- drawn by name
        """Of the process or of the whole machine, whose wall clock may be wrong when it is back."""
        if is_boot:
            self.machine.boot_id = self.model.boot_id = f"boot-{self.pids}"
            self.machine.clock.wall += off_s
            if not self.model.is_shared:
                self.machine.clock.ticks = 5.0
                self.model.boot()
        else:
            self.machine.dead.update(worker.pid for worker in self.workers if worker.pid)
        self.workers[:LOCAL] = [self.worker(n) for n in range(LOCAL)]
        self.subject.restart()

    @precondition(lambda self: self.model.tasks)
    @rule(pick=pick, retire_after_s=st.sampled_from([None, None, None, 3_600.0, 0.0]))
    def keep_house(self, pick: int, retire_after_s: float | None) -> None:
        queries(self.subject, self.model, self.model.all()[pick % len(self.model.tasks)].new.id)
        if retire_after_s is not None:
            expected = self.model.retire(retire_after_s)
            told = self.subject.run(self.subject.tasks.retire(older_than_s=retire_after_s))
            assert told == expected, f"retire deleted {told}, not {expected}"

    # what holds

    @invariant()
    def nothing_is_wrong(self) -> None:
        self.look_at_all()

    def teardown(self) -> None:
        """Whatever happened, all that is open can be brought to an end."""
        try:
            if self.is_sound:
                self.drain()
        finally:
            self.subject.close()


def of(open_subject: Open) -> type[StoreMachine]:
    """The machine for a store."""
    return type("Machine", (StoreMachine,), {"open_subject": staticmethod(open_subject), "counted": Counted()})
