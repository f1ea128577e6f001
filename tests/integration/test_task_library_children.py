"""Tasks of the library that ask for children, on a real file, with one slot of each kind."""

import asyncio
import importlib
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from morag import TaskResult
from morag.domain.json import Json

APPS = Path(__file__).parent / "apps"
NATURES = ["on_loop", "in_thread", "in_child"]


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The application, freshly loaded, its tasks served."""
    monkeypatch.setenv("MORAG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WITNESS", str(tmp_path / "witness"))
    monkeypatch.setattr(sys, "path", [str(APPS), *sys.path])
    sys.modules.pop("families", None)
    module = importlib.import_module("families")
    async with module.tasks:
        yield module
    del sys.modules["families"]


async def until(condition: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    """What the condition gives as soon as it is true."""
    async with asyncio.timeout(timeout_s):
        while True:
            if found := condition():
                return found
            await asyncio.sleep(0.01)


async def done(app: Any, *call: Any, **more: Any) -> TaskResult:
    return await app.tasks.wait(await app.tasks.submit(*call, **more), 30)


async def children_of(app: Any, task_id: str) -> list[Json]:
    """Ids of the children that the task waits for, as soon as it does."""
    async for event in app.tasks.events(task_id):
        if event.data.get("state") == "waiting":
            return event.data["children"]
    raise AssertionError("it has ended without waiting")


@pytest.mark.parametrize("nature", NATURES)
async def test_all_children_run_while_the_only_slot_of_their_parents_kind_is_free(app: Any, nature: str) -> None:
    calls = [["add", 1, 2], ["add_in_thread", 3, 4], ["add_in_child", 5, 6], ["add", 7, 8]]
    result = await done(app, f"ask_{nature}", calls)
    assert result.status == "success", result.error
    assert result.result == [
        ["add", "success", 3, None, 1],
        ["add_in_thread", "success", 7, None, 1],
        ["add_in_child", "success", 11, None, 1],
        ["add", "success", 15, None, 1],
    ]
    assert result.attempts == 1
    assert Counter(app.told()) == {"asked-4-1": 2, "add-1-2": 1, "add-7-8": 1}


@pytest.mark.parametrize("nature", NATURES)
async def test_a_childs_failure_reaches_the_parent_as_a_value(app: Any, nature: str) -> None:
    result = await done(app, f"ask_{nature}", [["break_down"], ["leave"], ["add", 1, 2]])
    assert result.result == [
        ["break_down", "failure", None, "task_raised", 2],
        ["leave", "failure", None, "child_died", 1],
        ["add", "success", 3, None, 1],
    ]


@pytest.mark.parametrize("nature", NATURES)
async def test_a_second_round_waits_again(app: Any, nature: str) -> None:
    result = await done(app, f"rounds_{nature}", 3)
    assert (result.status, result.result, result.attempts) == ("success", 3, 1)
    assert Counter(app.told()) == {"add-0-0": 2, "add-0-1": 2, "add-1-2": 1, "add-0-2": 1}


@pytest.mark.parametrize("nature", NATURES)
async def test_children_may_ask_for_children(app: Any, nature: str) -> None:
    inner = [f"ask_{nature}", [["add", 1, 2], ["break_down"]]]
    result = await done(app, f"ask_{nature}", [[f"ask_{nature}", [inner]]])
    leaf = [["add", "success", 3, None, 1], ["break_down", "failure", None, "task_raised", 2]]
    name = f"ask_{nature}"
    assert result.result == [[name, "success", [[name, "success", leaf, None, 1]], None, 1]]


@pytest.mark.parametrize("nature", NATURES)
async def test_what_cannot_be_asked_is_an_error_that_the_parent_can_catch(app: Any, nature: str) -> None:
    result = await done(app, f"refusals_{nature}")
    assert result.result == [
        *("unknown_task", "unknown_task", "bad_arguments", "not_json"),
        *("bad_step", "bad_step", "bad_child_call", "too_many_children"),
        "success",
    ]


async def test_what_cannot_be_asked_and_is_not_caught_fails_the_task(app: Any) -> None:
    result = await done(app, "ask_in_child", [["nobody"]])
    assert (result.status, str(result.error)) == ("failure", "InvalidRequest: There is no task 'nobody'.")


@pytest.mark.parametrize("nature", NATURES)
@pytest.mark.parametrize("how", ["return", "raise"])
async def test_a_task_that_goes_on_instead_of_waiting_fails_with_the_reason(app: Any, nature: str, how: str) -> None:
    result = await done(app, f"swallow_{nature}", how)
    assert result.error
    assert (result.status, result.error.code, result.attempts) == ("failure", "wait_for_caught", 1)
    assert "BaseException" in str(result.error.hint)
    assert (await done(app, "add", 1, 2)).status == "success"
    assert app.told() == ["add-1-2"]


async def test_asking_in_a_thread_that_nobody_listens_to_fails_with_the_reason(app: Any) -> None:
    result = await done(app, "ask_elsewhere")
    assert result.error
    assert result.error.code == "wait_for_caught"


async def test_a_task_group_passes_the_waiting_on(app: Any) -> None:
    assert (await done(app, "ask_in_group")).result == [2, 4]


@pytest.mark.parametrize("nature", ["on_loop", "in_child"])
async def test_large_arguments_and_a_result_of_50_mb_pass_between_parent_and_children(app: Any, nature: str) -> None:
    result = await done(app, f"measure_{nature}", 50_000_000)
    assert result.result == [50_000_000, 1_000_000], result.error


async def test_a_retried_parent_finds_its_children_and_none_runs_again(app: Any) -> None:
    result = await done(app, "fail_afterwards")
    assert (result.status, result.result, result.attempts) == ("success", 3, 3)
    assert Counter(app.told()) == {"add-1-2": 1, "broke": 2}


async def test_more_children_than_in_the_run_before_are_waited_for_too(app: Any) -> None:
    assert (await done(app, "ask_for_more_each_time", 3)).result == 3
    assert Counter(app.told()) == {"asks": 4, "add-0-0": 1, "add-1-0": 1, "add-2-0": 1}


async def test_another_task_in_the_place_of_a_child_is_told(app: Any) -> None:
    result = await done(app, "change_its_mind")
    assert result.status == "failure"
    assert "Child 1.0 is length now, and was add" in str(result.error)


async def test_waiting_is_shown_as_running_and_is_one_attempt(app: Any) -> None:
    task_id = await app.tasks.submit("ask_on_loop", [["sleep_in_child", 60.0]])
    await children_of(app, task_id)
    waiting = await app.tasks.get_result(task_id)
    assert (waiting.status, waiting.attempts, waiting.is_done) == ("running", 1, False)
    assert await app.tasks.cancel(task_id)
    states = [event.data["state"] async for event in app.tasks.events(task_id) if event.kind == "state"]
    assert states == ["pending", "running", "waiting", "cancelled"]


@pytest.mark.parametrize("nature", ["on_loop", "in_child"])
async def test_cancel_of_the_parent_kills_a_running_child_and_drops_a_queued_one(app: Any, nature: str) -> None:
    calls = [["sleep_in_child", 60.0], ["sleep_in_child", 60.0], ["ask_on_loop", [["sleep_in_child", 60.0]]]]
    task_id = await app.tasks.submit(f"ask_{nature}", calls)
    children = await children_of(app, task_id)
    (line,) = await until(lambda: [each for each in app.told() if each.startswith("pid-")])
    began = time.monotonic()
    assert await app.tasks.cancel(task_id)
    await until(lambda: not psutil.pid_exists(int(line.removeprefix("pid-"))))
    assert time.monotonic() - began < 2
    assert {(await app.tasks.wait(each, 5)).status for each in [task_id, *children]} == {"cancelled"}
    assert (await done(app, "add_in_child", 1, 2)).status == "success"
    assert "slept-in-child" not in app.told()


async def test_a_child_that_somebody_cancels_is_a_value(app: Any) -> None:
    task_id = await app.tasks.submit("ask_in_thread", [["sleep", 60.0], ["add_in_child", 1, 2]])
    sleeping, _ = await children_of(app, task_id)
    assert await app.tasks.cancel(sleeping)
    (cancelled, added) = (await app.tasks.wait(task_id, 20)).result
    assert cancelled[:3] == ["sleep", "cancelled", None]
    assert added[:3] == ["add_in_child", "success", 3]


async def test_the_deadline_of_a_parent_is_that_of_its_children(app: Any) -> None:
    task_id = await app.tasks.submit("ask_on_loop", [["sleep_in_child", 60.0]], deadline=1.0)
    (child,) = await children_of(app, task_id)
    ended = await app.tasks.wait(task_id, 10)
    assert ended.error
    assert (ended.status, ended.error.code) == ("failure", "timeout")
    assert (await app.tasks.wait(child, 5)).status == "cancelled"


async def test_the_time_limit_of_a_parent_is_that_of_each_run(app: Any) -> None:
    assert (await done(app, "ask_briefly")).result == "success"


async def test_no_process_is_left_behind_by_parents_in_child_processes(app: Any) -> None:
    await done(app, "rounds_in_child", 3)
    children = psutil.Process(os.getpid()).children()
    # the one that ran them all, and the spare
    assert len([each for each in children if "morag.worker.functions.call" in each.cmdline()]) <= 2
