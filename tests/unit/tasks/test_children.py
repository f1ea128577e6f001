import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from morag import ChildCall, TaskContext, TaskError, TaskResult
from morag.control.tasks.children import MOST, Parking, is_parking
from morag.control.tasks.definitions import Registry, Terms, define
from morag.control.tasks.results import attempts_of, shown, status_of
from morag.domain.errors import InvalidRequest
from morag.domain.task import NewTask, Task, TaskState
from morag.domain.transitions import opened
from morag.worker.functions import asking
from morag.worker.functions.family import Family

NEW = opened(
    NewTask(id="t", namespace="n", name="parent", user_id="u"), user_id="u", parent_id=None, now=0.0, steady=0.0
)


def unheard(fraction: float, stage: str, message: str) -> None:
    raise AssertionError(f"no progress is told here: {fraction} {stage} {message}")


def add(x: int, y: int) -> int:
    return x + y


def negate(x: int) -> int:
    return -x


def registry() -> Registry:
    known = Registry()
    known.add(define(add, Terms(retries=2)))
    known.add(define(negate, Terms()))
    return known


def ended(name: str, step: str, result: Any) -> TaskResult:
    task = replace(NEW, id=step, name=name, state=TaskState.COMPLETED, attempt=1, finished_at=1.0)
    return shown(task, result)


class Asked:
    """An `Ask` that keeps the steps it was asked for, and refuses the calls of `nobody`."""

    def __init__(self) -> None:
        self.steps: list[list[str | None]] = []
        self.context = TaskContext(task_id="t", attempt=1, report=unheard, ask=self)

    def __call__(self, calls: Sequence[ChildCall]) -> list[TaskResult]:
        if any(each.task == "nobody" for each in calls):
            raise InvalidRequest("There is no task 'nobody'.")
        self.steps.append([each.step for each in calls])
        return [ended("add", str(each.step), 1) for each in calls]


def test_children_are_named_by_round_and_place_unless_told_otherwise() -> None:
    asked = Asked()
    ctx = asked.context
    ctx.wait_for(ctx.call(add, 1, 2), ctx.call(add, 3, 4, step="mine"), ctx.call(add, 5, 6))
    ctx.wait_for()
    ctx.wait_for(ctx.call(add, 1, 2))
    assert asked.steps == [["1.0", "mine", "1.2"], [], ["3.0"]]


def test_a_step_is_used_once_in_a_run_and_is_free_again_if_the_call_was_refused() -> None:
    ctx = Asked().context
    with pytest.raises(InvalidRequest, match="no task"):
        ctx.wait_for(ctx.call("nobody", step="a"))
    ctx.wait_for(ctx.call(add, 1, 2, step="a"))
    with pytest.raises(InvalidRequest, match="Two children of this task have the step 'a'"):
        ctx.wait_for(ctx.call(add, 1, 2, step="a"))


@pytest.mark.parametrize("step", ["", "1.0", "ä", "a b", "x" * 129, 3])
def test_a_step_of_ones_own_cannot_be_mistaken_for_a_place(step: Any) -> None:
    ctx = Asked().context
    with pytest.raises(InvalidRequest, match="cannot be a step") as refused:
        ctx.wait_for(ctx.call(add, 1, 2, step=step))
    assert "by position" in str(refused.value.hint)


def test_what_is_no_call_and_what_is_too_much_is_refused() -> None:
    ctx = Asked().context
    with pytest.raises(InvalidRequest, match="cannot wait for"):
        ctx.wait_for("add")  # pyright: ignore[reportArgumentType] - what is refused
    with pytest.raises(InvalidRequest, match="more than 1000"):
        ctx.wait_for(*[ctx.call(add, 1, 2)] * (MOST + 1))


def test_children_that_ended_are_given_in_the_order_asked() -> None:
    family = Family(registry(), NEW)
    family.meet({"1.0": ended("add", "1.0", 3), "1.1": ended("negate", "1.1", -1)})
    asked = [ChildCall(task=negate, args=(1,), step="1.1"), ChildCall(task="add", args=(1, 2), step="1.0")]
    assert [each.result for each in family.ask(asked)] == [-1, 3]
    assert not family.is_parking


async def test_children_that_have_not_all_ended_end_the_run_and_become_tasks_of_their_own_terms() -> None:
    family = Family(registry(), NEW)
    family.meet({"1.0": ended("add", "1.0", 3)})
    with pytest.raises(Parking):
        family.ask([ChildCall(task=add, args=(1, 2), step="1.0"), ChildCall(task="negate", kwargs={"x": 1}, step="b")])
    first, second = (await family.parked(no_blobs)).children
    assert (first.name, first.step, first.args, first.budget.processing) == (
        *("add", "1.0"),
        *({"args": [1, 2], "kwargs": {}}, 3),
    )
    assert (second.name, second.step, second.args, second.user_id, second.namespace) == (
        *("negate", "b", {"args": [], "kwargs": {"x": 1}}),
        *("u", "n"),
    )


async def no_blobs() -> Any:
    raise AssertionError("nothing is large here")


def test_another_task_under_a_known_step_is_refused() -> None:
    family = Family(registry(), NEW)
    family.meet({"1.0": ended("add", "1.0", 3)})
    with pytest.raises(InvalidRequest, match=r"Child 1\.0 is negate now, and was add"):
        family.ask([ChildCall(task="negate", args=(1,), step="1.0")])


def test_a_question_passes_to_another_process_and_its_answer_back() -> None:
    failed = replace(ended("add", "1.0", None), status="failure", error=TaskError(code="c", message="m", hint=None))
    asked: list[ChildCall] = []

    def answer(calls: Sequence[ChildCall]) -> list[TaskResult]:
        asked.extend(calls)
        return [failed, ended("negate", "s", [1, {"a": "ü"}])]

    calls = [ChildCall(task=add, args=(1,), kwargs={"y": (2, 3)}, step="1.0"), ChildCall(task="negate", step="s")]
    told = asking.hear(asking.answer(asking.ask(calls), answer, registry()))
    assert told == [failed, ended("negate", "s", [1, {"a": "ü"}])]
    assert asked == [
        ChildCall(task=add, args=(1,), kwargs={"y": [2, 3]}, step="1.0"),
        ChildCall(task="negate", step="s"),
    ]


def test_that_the_children_run_or_cannot_is_told_to_the_other_process() -> None:
    family = Family(registry(), NEW)
    for task, error in (("negate", Parking), ("nobody", InvalidRequest), (json.dumps, InvalidRequest)):
        question = asking.ask([ChildCall(task=task, args=(1,), step="1.0")])
        with pytest.raises(error):
            asking.hear(asking.answer(question, family.ask, registry()))
    with pytest.raises(InvalidRequest, match=r"args\[0\] is of type bytes"):
        asking.ask([ChildCall(task="negate", args=(b"1",), step="1.0")])


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (Parking(), True),
        (BaseExceptionGroup("both", [Parking(), BaseExceptionGroup("inner", [Parking()])]), True),
        (BaseExceptionGroup("mixed", [Parking(), ValueError()]), False),
        (asyncio.CancelledError(), False),
    ],
)
def test_a_group_of_nothing_but_parking_is_parking(error: BaseException, is_one: bool) -> None:  # noqa: FBT001 - a parameter of the table
    assert is_parking(error) is is_one


RECORDS: list[tuple[dict[str, Any], str, int]] = [
    ({}, "pending", 0),
    ({"state": TaskState.RUNNING, "attempt": 1}, "running", 1),
    ({"state": TaskState.PENDING, "attempt": 1, "processing_failures": 1}, "retry", 1),
    ({"state": TaskState.RUNNING, "attempt": 2, "infrastructure_losses": 1}, "running", 2),
    ({"state": TaskState.WAITING, "attempt": 1}, "running", 1),
    ({"state": TaskState.PENDING, "attempt": 1}, "running", 1),
    ({"state": TaskState.COMPLETED, "attempt": 5, "processing_failures": 1}, "success", 2),
    ({"state": TaskState.CANCELLED, "attempt": 1, "processing_failures": 1}, "cancelled", 1),
    ({"state": TaskState.CANCELLED}, "cancelled", 0),
]


@pytest.mark.parametrize(("record", "status", "attempts"), RECORDS)
def test_runs_that_ended_to_wait_are_no_attempts(record: dict[str, Any], status: str, attempts: int) -> None:
    task: Task = replace(NEW, **record)
    assert (status_of(task), attempts_of(task)) == (status, attempts)
