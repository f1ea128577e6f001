"""What the rules are made of: one act on the store and on the model, and whether they answer the same."""

from dataclasses import replace
from typing import ClassVar

from hypothesis.stateful import RuleBasedStateMachine
from tests.contract.conftest import LEASE_S
from tests.contract.machine import drawing
from tests.contract.machine.checking import Check
from tests.contract.machine.judging import Ask, Judge
from tests.contract.machine.model import Model
from tests.contract.machine.subjects import Machine, Open, Subject

from morag.control.ports import SweepReport
from morag.domain.limits import Limits
from morag.domain.task import Answer, Completed, Extension, Offers, Outcome, Parked, Worker

LONGEST_DELAY_S = 20.0
"""Of those drawn."""
LOCAL = 3
"""Workers in processes of this machine; two more are elsewhere."""


class Counted:
    """What all machines of one class did, for those who run them."""

    def __init__(self) -> None:
        self.steps = 0
        self.effective = 0
        self.examples = 0


class Acting(RuleBasedStateMachine):
    """A store and the model side by side, with workers and what they were granted."""

    open_subject: ClassVar[Open]
    counted: ClassVar[Counted]

    def __init__(self) -> None:
        super().__init__()
        self.counted.examples += 1
        self.machine = Machine()
        self.subject: Subject = type(self).open_subject(self.machine)
        self.model = Model(
            self.machine.clock, self.machine.boot_id, self.machine.dead, is_shared=self.subject.is_shared
        )
        self.judge = Judge(self.model)
        self.check = Check(self.subject, self.model, self.machine)
        self.ids = drawing.Ids()
        self.claims = 0
        self.pids = 100
        self.workers = [self.worker(n) for n in range(LOCAL)]
        self.workers += [Worker(id=f"remote-{n}", boot_id="elsewhere") for n in range(2)]
        self.asks: list[Ask] = []
        self.grips: list[tuple[str, int]] = []
        """(task, fence) of every grant."""
        self.told: list[tuple[str, int, Outcome | Parked]] = []
        self.renewed = 0
        self.is_sound = False

    def drain(self) -> None:
        # a delay is over when its time passed, however the wall clock was set
        self.machine.clock.pass_(LONGEST_DELAY_S)
        if self.model.is_shared:  # but on a server all go by its clock
            timers = [rec.ready_at for rec in self.model.all() if rec.is_open]
            self.machine.clock.wall = max([self.machine.clock.wall, *timers])
        for user, limits in list(self.model.terms.items()):
            self.do_limit(user, replace(limits, running=max(1, limits.running or 9)))
        for _ in range(500):
            if not any(rec.is_open for rec in self.model.all()):
                return
            self.do_sweep(LEASE_S)
            self.claim_all()
            for task_id, fence in self.in_use():
                self.do_tell(task_id, fence, Completed(result="drained"))
            self.look_at_all()
        raise AssertionError("open tasks never came to an end")

    def do_limit(self, user: str | None, limits: Limits | None) -> None:
        self.model.set_limits(user, limits)
        self.judge.weighed()
        self.subject.run(self.subject.tasks.set_limits(user, limits))

    def do_sweep(self, seconds: float) -> None:
        self.machine.clock.pass_(seconds)
        expected = self.model.repair(self.model.look())
        self.swept(self.subject.run(self.subject.tasks.sweep()), expected)

    def look_at_all(self) -> None:
        self.is_sound = False
        has_changed = self.check.step()
        self.is_sound = True
        self.counted.steps += 1
        self.counted.effective += has_changed or self.renewed > 0
        self.renewed = 0

    def swept(self, report: SweepReport, expected: tuple[int, int]) -> None:
        told = (report.expired, report.timed_out, report.unparked)
        assert told == (*expected, 0), f"sweep repaired {report}, not {expected}"

    def worker(self, n: int) -> Worker:
        self.pids += 1
        return Worker(id=f"server-{n}-{self.pids}", boot_id=self.machine.boot_id, pid=self.pids, pid_started_at=1.0)

    def do_claim(self, ask: Ask) -> None:
        leases = self.subject.run(
            self.subject.tasks.claim(
                lanes=ask.lanes,
                worker=ask.worker,
                claim_id=ask.claim_id,
                n=ask.n,
                lease_s=ask.lease_s,
                offers=ask.offers,
            )
        )
        self.judge.claimed(ask, leases)
        self.asks.append(ask)
        self.grips += [
            (lease.task.id, lease.fence) for lease in leases if (lease.task.id, lease.fence) not in self.grips
        ]

    def do_release(self, task_id: str, fence: int) -> None:
        expected = self.model.release(task_id, fence)
        told = self.subject.run(self.subject.tasks.release(task_id, fence, reason="shutdown"))
        assert told == expected, f"release gave {told}, not {expected}"

    def claim_all(self) -> None:
        for namespace in drawing.NAMESPACES:
            self.claims += 1
            offers = Offers(namespace=namespace)
            self.do_claim(Ask(drawing.LANES, self.workers[0], f"claim-{self.claims}", 9, LEASE_S, offers))

    def do_extend(self, extensions: list[Extension]) -> None:
        expected = [self.model.extend(extension, LEASE_S) for extension in extensions]
        told = self.subject.run(self.subject.tasks.extend(extensions, lease_s=LEASE_S))
        assert told == expected, f"extend gave {told}, not {expected}"
        self.renewed += expected.count(Answer.OK)

    def do_tell(self, task_id: str, fence: int, told: Outcome | Parked) -> None:
        tasks = self.subject.tasks
        if isinstance(told, Parked):
            expected = self.model.park(task_id, fence, told)
            answer = self.subject.run(tasks.park(task_id, fence, told))
        else:
            expected = self.model.settle(task_id, fence, told)
            answer = self.subject.run(tasks.settle(task_id, fence, told))
        assert answer == expected, f"{type(told).__name__} of {task_id} gave {answer}, not {expected}"
        self.told.append((task_id, fence, told))

    def grip(self, pick: int, *, is_stale: bool) -> tuple[str, int]:
        """A grant that counts, or one that does not: of a task somebody else has now, if there is one."""
        if not is_stale:
            grips = self.in_use() or self.grips
            return grips[pick % len(grips)]
        running = {task_id for task_id, rec in self.model.tasks.items() if rec.state == "running"}
        old = set(self.grips) - set(self.in_use())
        grips = sorted(grip for grip in old if grip[0] in running) or self.grips
        return grips[pick % len(grips)]

    def in_use(self) -> list[tuple[str, int]]:
        tasks = self.model.tasks
        return [(task, fence) for task, fence in self.grips if task in tasks and tasks[task].is_held(fence)]

    def publishing(self) -> list[tuple[str, int, str]]:
        wanted = {task_id: rec.new.reservation for task_id, rec in self.model.tasks.items()}
        return [(task, fence, taken.document_id) for task, fence in self.in_use() if (taken := wanted[task])]
