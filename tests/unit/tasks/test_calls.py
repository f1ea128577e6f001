import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

import pytest

from morag.control.tasks.calls import Call, encode_result, is_large
from morag.control.tasks.children import ChildCall
from morag.control.tasks.context import TaskContext
from morag.control.tasks.invoking import invoke
from morag.control.tasks.results import TaskResult
from morag.domain.errors import InvalidRequest
from morag.domain.failure import AttemptFailed

ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)

FAULTS: list[tuple[Any, str]] = [
    (b"x", r"args\[0\] is of type bytes"),
    ({"a": [1, {2}]}, r"args\[0\]\.a\[1\] is of type set"),
    ({"when": dt.date(2026, 1, 1)}, r"args\[0\]\.when is of type date"),
    ({1: 2}, "has the key 1"),
    ([float("nan")], r"args\[0\]\[0\] is nan"),
    (float("inf"), "is inf"),
    (ENDLESS, "nested too deep"),
    (object(), "is of type object"),
]


@pytest.mark.parametrize(("value", "why"), FAULTS)
def test_what_is_not_json_is_refused_with_its_place(value: Any, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as refused:
        Call(args=[value], kwargs={}).encode()
    assert refused.value.hint


def test_keyword_arguments_are_named_in_a_refusal() -> None:
    with pytest.raises(InvalidRequest, match=r"kwargs\.at is of type bytes"):
        Call(args=[], kwargs={"at": b""}).encode()


def test_a_call_survives_the_way_there() -> None:
    call = Call(args=[1, "ü", None, [True, {"a": 1.5}], (1, 2)], kwargs={"x": "\ud800"})
    again = Call.decode(call.encode())
    assert again == Call(args=[1, "ü", None, [True, {"a": 1.5}], [1, 2]], kwargs={"x": "\ud800"})


def test_a_result_that_is_not_json_is_final() -> None:
    with pytest.raises(AttemptFailed) as failed:
        encode_result({"a": object()})
    assert failed.value.failure.is_final
    assert "result.a" in failed.value.failure.message


def test_a_result_is_encoded_as_it_is() -> None:
    assert json.loads(encode_result({"a": [1, "ü"]})) == {"a": [1, "ü"]}


@pytest.mark.parametrize(
    ("value", "large"), [(1, False), ("x" * 20_000, True), ([0] * 5, False), ({"a": [0] * 20_000}, True)]
)
def test_what_takes_long_to_encode_is_guessed(value: Any, large: bool) -> None:  # noqa: FBT001 - a parameter of the table
    assert is_large(value) is large


def unheard(fraction: float, stage: str, message: str) -> None:
    raise AssertionError(f"no progress is told here: {fraction} {stage} {message}")


def childless(calls: Sequence[ChildCall]) -> list[TaskResult]:
    raise AssertionError(f"no children are asked for here: {calls}")


def first(ctx: TaskContext, a: int, *rest: int, b: int = 0) -> list[Any]:
    return [ctx.task_id, a, rest, b]


def last(a: int, b: int = 5, *, ctx: TaskContext) -> list[Any]:
    return [ctx.task_id, a, b]


def middle(a: int, ctx: TaskContext, b: int = 5) -> list[Any]:
    return [ctx.task_id, a, b]


@pytest.mark.parametrize(
    ("function", "call", "told"),
    [
        (first, Call(args=[1, 2, 3], kwargs={"b": 4}), ["t", 1, (2, 3), 4]),
        (last, Call(args=[1], kwargs={}), ["t", 1, 5]),
        (last, Call(args=[], kwargs={"b": 2, "a": 1}), ["t", 1, 2]),
        (middle, Call(args=[1, 2], kwargs={}), ["t", 1, 2]),
        (middle, Call(args=[1], kwargs={}), ["t", 1, 5]),
    ],
)
def test_the_context_is_put_where_it_is_asked_for(function: Any, call: Call, told: list[Any]) -> None:
    context = TaskContext(task_id="t", attempt=1, report=unheard, ask=childless)
    assert invoke(function, call, "ctx", context) == told


@pytest.mark.parametrize(("told", "kept"), [(-1, 0.0), (0.4, 0.4), (7, 1.0)])
def test_progress_stays_between_its_ends(told: float, kept: float) -> None:
    seen: list[tuple[float, str, str]] = []

    def report(fraction: float, stage: str, message: str) -> None:
        seen.append((fraction, stage, message))

    TaskContext(task_id="t", attempt=1, report=report, ask=childless).progress(told, "stage")
    assert seen == [(kept, "stage", "")]
