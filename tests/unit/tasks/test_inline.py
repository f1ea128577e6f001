from typing import Any

import pytest

from morag import TaskContext, TaskManager, get_task_manager
from morag.domain.errors import InvalidRequest
from morag.domain.json import Json

tasks = TaskManager("inline-tests", data_dir="/nowhere/at/all")
seen: list[Any] = []


@tasks.task("add", timeout_s=5)
def add(x: int, y: int) -> int:
    return x + y


@tasks.task("outer")
async def outer(x: int) -> int:
    inner = await tasks.wait(await tasks.submit(add, x, 1))
    assert isinstance(inner.result, int)
    return inner.result * 10


@tasks.task("family")
async def family(ctx: TaskContext, x: int) -> list[Any]:
    """Children, then grandchildren and one that fails, from what they gave."""
    one, two = (each.result for each in ctx.wait_for(ctx.call(add, x, 0), ctx.call("add", x, y=1)))
    both, broken = ctx.wait_for(ctx.call(add_apart, one, two), ctx.call("add", 1, "2"))
    return [one, two, both.result, broken.status]


@tasks.task("add_apart", heavy=True)
def add_apart(ctx: TaskContext, x: int, y: int) -> Json:
    (added,) = ctx.wait_for(ctx.call(add, x, y, step="sum"))
    return added.result


@tasks.task("flaky", retries=2, backoff_s=60.0)
async def flaky(ctx: TaskContext) -> int:
    ctx.progress(0.5, "trying")
    if ctx.attempt < 3:
        raise ValueError("not yet")
    return ctx.attempt


async def test_what_is_submitted_has_run_when_submit_returns() -> None:
    with tasks.inline():
        result = await tasks.get_result(await tasks.submit("add", 1, 2, delay=3600))
    assert result
    assert (result.status, result.result, result.attempts) == ("success", 3, 1)


async def test_a_task_may_submit_another() -> None:
    with tasks.inline():
        assert (await tasks.wait(await tasks.submit(outer, 4))).result == 50


async def test_retries_happen_at_once() -> None:
    with tasks.inline():
        result = await tasks.wait(await tasks.submit(flaky), 5)
        stages = [event.data.get("stage") async for event in tasks.events(result.task_id)]
    assert (result.result, result.attempts, stages.count("trying")) == (3, 3, 3)


async def test_a_failure_is_a_result() -> None:
    with tasks.inline():
        result = await tasks.wait(await tasks.submit("add", 1, "2"))
    assert result.status == "failure"
    assert "TypeError" in str(result.error)


async def test_large_arguments_and_results_fit() -> None:
    with tasks.inline():
        result = await tasks.wait(await tasks.submit("add", "x" * 400_000, "y"))
    assert result.result == "x" * 400_000 + "y"


async def test_children_have_run_too_and_their_failure_is_a_value() -> None:
    with tasks.inline():
        result = await tasks.get_result(await tasks.submit(family, 3))
    assert result
    assert (result.status, result.attempts, result.result) == ("success", 1, [3, 4, 7, "failure"])


async def test_each_harness_begins_empty_and_bad_calls_are_refused() -> None:
    with tasks.inline():
        task_id = await tasks.submit("add", 1, 2)
        assert not await tasks.cancel(task_id)
    with tasks.inline():
        assert await tasks.get_result(task_id) is None
        with pytest.raises(InvalidRequest):
            await tasks.submit("add", 1)
        with pytest.raises(InvalidRequest, match="priority"):
            await tasks.submit("add", 1, 2, priority="soon")  # pyright: ignore[reportArgumentType] - what is refused
        with pytest.raises(InvalidRequest, match="user_id"):
            await tasks.submit("add", 1, 2, user_id="a b")
        with pytest.raises(InvalidRequest, match="delay"):
            await tasks.submit("add", 1, 2, delay=-1)


def test_the_manager_of_a_namespace_is_found_again() -> None:
    assert get_task_manager("inline-tests") is tasks
    assert isinstance(get_task_manager(), TaskManager)
