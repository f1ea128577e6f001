"""What must hold after every step: the store holds what the model holds, and never takes back what it said."""

from typing import Any

from tests.contract.machine.model import Model
from tests.contract.machine.record import Rec
from tests.contract.machine.subjects import USERS, Machine, Subject, Whole

from morag.control.ports import LaneLoad
from morag.domain.content import StoredDocument
from morag.domain.task import Task

NOTHING = Whole(tasks={}, events={}, attempts={}, documents={})


class Check:
    """Looks at one store after each step; remembers what it saw before."""

    def __init__(self, subject: Subject, model: Model, machine: Machine) -> None:
        self._subject = subject
        self._model = model
        self._machine = machine
        self._before = NOTHING
        self._was_ready: set[str] = set()

    def step(self) -> bool:
        """Raise AssertionError if anything is wrong; whether the step changed anything that is seen."""
        now = self._subject.whole()
        has_changed = now != self._before
        self._history(now)
        self._records(now)
        self._documents(now)
        self._lanes()
        self._bells()
        self._before = now
        return has_changed

    def _history(self, now: Whole) -> None:
        """What needs no model: ends absorb, fences rise, logs only grow."""
        for task_id, old in self._before.tasks.items():
            task = now.tasks.get(task_id)
            if task is None:
                continue  # retired, or `_records` will miss it
            assert not old.state.is_terminal or task == old, f"{task_id} changed after its end"
            assert (task.fence, task.attempt) >= (old.fence, old.attempt), f"the fence of {task_id} fell"
            log, older = now.events[task_id], self._before.events[task_id]
            assert log[: len(older)] == older, f"the log of {task_id} was rewritten"

    def _records(self, now: Whole) -> None:
        tasks, model = now.tasks, self._model.tasks
        assert tasks.keys() == model.keys(), f"lost {model.keys() - tasks.keys()}, new {tasks.keys() - model.keys()}"
        for task_id, rec in model.items():
            task, log = tasks[task_id], now.events[task_id]
            told, expected = _told(task), self._expected(rec)
            assert told == expected, _difference(task_id, told, expected)
            assert [event.seq for event in log] == list(range(1, len(log) + 1)), f"the log of {task_id} has gaps"
            states = [event.data["state"] for event in log if event.kind == "state"]
            assert states == rec.states, f"the log of {task_id} says {states}, not {rec.states}"
            assert states[-1] == task.state.value, f"the log of {task_id} ends with {states[-1]}, not {task.state}"
            runs = [[run.fence, run.worker_id, run.outcome] for run in now.attempts.get(task_id, [])]
            assert runs == rec.attempts, f"the attempts of {task_id} are {runs}, not {rec.attempts}"
            assert [run.n for run in now.attempts.get(task_id, [])] == list(range(1, task.attempt + 1))
            _has_a_place(task, now)

    def _expected(self, rec: Rec) -> dict[str, Any]:
        return {
            "user_id": rec.user,
            "parent_id": rec.parent,
            "state": rec.state,
            "lane": rec.new.routing.lane,
            "created_at": rec.created,
            "ready_at": rec.ready_at,
            "started_at": rec.started,
            "finished_at": rec.finished,
            "fence": rec.fence,
            "attempt": len(rec.attempts),
            "open_children": self._model.open_children(rec.new.id),
            "processing_failures": rec.failures,
            "infrastructure_losses": rec.losses,
            "worker_id": rec.worker_id,
            "progress": rec.progress,
            "result": rec.result,
            "failure": rec.failure_code,
            "needs_attention": rec.needs_attention,
        }

    def _documents(self, now: Whole) -> None:
        told = {key: _shown(found) for key, found in now.documents.items()}
        expected = {
            key: (shown.publication, shown.task_id, shown.fence, shown.created, shown.updated)
            for key, shown in self._model.documents.items()
        }
        assert told == expected, _difference("documents", told, expected)

    def _lanes(self) -> None:
        loads = self._subject.run(self._subject.tasks.lanes())
        expected = lanes(self._model)
        assert dict(loads) == expected, _difference("lanes", dict(loads), expected)

    def _bells(self) -> None:
        ready = {task_id for task_id, rec in self._model.tasks.items() if rec.is_ready and self._model.may_run(rec)}
        for task_id in ready - self._was_ready:
            lane = self._model.tasks[task_id].new.routing.lane
            assert lane in self._machine.bells.lanes, f"nobody was told that {task_id} can be claimed"
        self._was_ready = ready
        self._machine.bells.lanes.clear()
        self._machine.bells.tasks.clear()


def lanes(model: Model, user_id: str | None = None) -> dict[str, LaneLoad]:
    """What `TaskStore.lanes` should answer."""
    standing = [rec for rec in model.all() if rec.state in {"pending", "running"} and user_id in {None, rec.user}]
    return {lane: _load(model, [rec for rec in standing if rec.new.routing.lane == lane]) for lane in _lanes(standing)}


def queries(subject: Subject, model: Model, task_id: str) -> None:
    """Whether the ways to ask agree with the model on one task and its surroundings."""
    rec = model.tasks[task_id]
    user, tasks = rec.user, subject.tasks
    assert subject.run(tasks.get(task_id, user_id=user)) is not None
    others = [subject.run(tasks.get(task_id, user_id=other)) for other in USERS if other != user]
    assert others == [None] * len(others), f"{task_id} is shown to another user"
    found = [task.id for task in subject.run(tasks.find(user_id=user, limit=1_000))]
    roots = [other.new.id for other in model.all() if other.user == user and other.parent is None]
    assert found == sorted(roots, reverse=True), f"find gives {found}"
    children = [child.id for child in subject.run(tasks.children(task_id))]
    assert children == sorted(child.new.id for child in model.children(task_id)), f"children gives {children}"
    log = subject.run(tasks.events(task_id))
    assert subject.run(tasks.events(task_id, after=1, limit=2)) == log[1:3], "events reads on from elsewhere"
    assert subject.run(tasks.position(task_id)) == position(model, rec), f"position of {task_id}"
    lane, namespace = rec.new.routing.lane, rec.new.namespace
    here = [other.new for other in model.all() if other.is_ready and other.new.routing.lane == lane]
    names = {new.name for new in here if new.namespace == namespace}
    assert subject.run(tasks.ready_names(lane, namespace)) == names, f"ready_names of {lane}"
    assert dict(subject.run(tasks.lanes(user_id=user))) == lanes(model, user), f"lanes of {user}"
    assert subject.run(tasks.limits(user)) == model.limits(user), f"limits of {user}"
    assert subject.run(tasks.usage(user)) == model.usage(user), f"usage of {user}"


def position(model: Model, rec: Rec) -> int | None:
    """What `TaskStore.position` should answer."""
    if rec.state != "pending":
        return None
    place = _place(rec)
    others = [other for other in model.all() if other.is_ready and _queue(other) == _queue(rec)]
    return sum(_place(other) < place for other in others)


def _place(rec: Rec) -> tuple[int, int, str]:
    standing = 0 if rec.was_resumed else 2 if rec.parent is None else 1
    return standing, -int(rec.new.priority), rec.new.id


def _queue(rec: Rec) -> tuple[str, str, str]:
    return rec.new.routing.lane, rec.new.namespace, rec.user


def _lanes(standing: list[Rec]) -> set[str]:
    return {rec.new.routing.lane for rec in standing}


def _load(model: Model, here: list[Rec]) -> LaneLoad:
    ready = [rec.ready_at for rec in here if rec.is_ready]
    return LaneLoad(
        length=sum(rec.state == "pending" for rec in here),
        running=sum(rec.state == "running" or rec.lapsed for rec in here),
        oldest_wait_s=max(0.0, model.steady - min(ready)) if ready else None,
    )


def _has_a_place(task: Task, now: Whole) -> None:
    """A waiting task has an unfinished child, a running one a holder; a pending one is in its lane, as claims show."""
    if task.state == "waiting":
        children = [child for child in now.tasks.values() if child.parent_id == task.id]
        assert any(not child.state.is_terminal for child in children), f"{task.id} waits for nobody"
    if task.state == "running":
        assert task.worker_id, f"{task.id} runs nowhere"
        held = [run for run in now.attempts[task.id] if run.outcome is None]
        assert len(held) == 1, f"{task.id} has {len(held)} holders"


def _told(task: Task) -> dict[str, Any]:
    return {
        "user_id": task.user_id,
        "parent_id": task.parent_id,
        "state": task.state.value,
        "lane": task.lane,
        "created_at": task.created_at,
        "ready_at": task.ready_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "fence": task.fence,
        "attempt": task.attempt,
        "open_children": task.open_children,
        "processing_failures": task.processing_failures,
        "infrastructure_losses": task.infrastructure_losses,
        "worker_id": task.worker_id,
        "progress": task.progress,
        "result": task.result,
        "failure": task.failure.code if task.failure else None,
        "needs_attention": task.needs_attention,
    }


def _shown(found: StoredDocument) -> tuple[Any, ...]:
    made = found.generation
    return found.publication, made.task_id, made.fence, found.created_at, found.updated_at


def _difference(of: str, told: dict[Any, Any], expected: dict[Any, Any]) -> str:
    keys = [key for key in {**told, **expected} if told.get(key) != expected.get(key)]
    return f"{of}: " + "; ".join(f"{key} is {told.get(key)!r}, not {expected.get(key)!r}" for key in keys)
