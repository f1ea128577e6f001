"""How tasks of an application fail, and what is made of it: in its own words, or lost with a process."""

import asyncio
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from morag import TaskResult

APPS = Path(__file__).parent / "apps"
NATURES = ["fail_on_loop", "fail_in_thread", "fail_in_child"]


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The application, freshly loaded, its tasks served."""
    monkeypatch.setenv("MORAG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WITNESS", str(tmp_path / "witness"))
    monkeypatch.setattr(sys, "path", [str(APPS), *sys.path])
    sys.modules.pop("failing", None)
    module = importlib.import_module("failing")
    async with module.tasks:
        yield module
    del sys.modules["failing"]


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def done(app: Any, *call: Any, **more: Any) -> TaskResult:
    return await app.tasks.wait(await app.tasks.submit(*call, **more), 30)


def error(result: TaskResult) -> tuple[str, str, str | None]:
    assert result.error
    return result.error.code, result.error.message, result.error.hint


def processes() -> list[psutil.Process]:
    """The children that run functions."""
    return [each for each in psutil.Process().children() if "morag.worker.functions.call" in each.cmdline()]


async def test_a_killed_child_is_no_failure_of_its_function_and_runs_again_at_once(app: Any) -> None:
    assert not processes()
    task_id = await app.tasks.submit("nap_in_child", 60.0)
    await until(lambda: len(app.told()) == 1)
    await until(lambda: len(processes()) == 2)
    os.kill(int(app.told()[0]), signal.SIGKILL)
    killed = time.monotonic()
    result = await app.tasks.wait(task_id, 20)
    assert (result.status, result.result, result.attempts) == ("success", "rested", 2)
    assert time.monotonic() - killed < 3
    reasons = [event.data["reason"] async for event in app.tasks.events(task_id) if event.kind == "decision"]
    assert reasons == ["Lost with its process, 1 of 5 times."]
    assert len(processes()) <= 2


async def test_what_is_killed_each_time_ends_as_lost_with_its_workers(app: Any) -> None:
    result = await done(app, "die_of", int(signal.SIGKILL))
    assert (result.status, error(result)[0], result.attempts) == ("failure", "workers_lost", 6)
    assert app.told() == ["hit"] * 6


async def test_a_crash_is_a_failure_of_the_function(app: Any) -> None:
    task_id = await app.tasks.submit("die_of", int(signal.SIGSEGV))
    decisions = [event async for event in app.tasks.events(task_id) if event.kind == "decision"]
    assert [event.data["strategy"] for event in decisions] == ["retry_same_worker"] * 3 + ["manual_intervention"]
    assert error(await app.tasks.wait(task_id, 5))[0] == "child_died"


@pytest.mark.parametrize("name", NATURES)
async def test_a_task_fails_in_its_own_words(app: Any, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        result = await done(app, name, is_final=True)
    assert (result.status, result.attempts) == ("failure", 1)
    assert error(result) == ("no_voice", app.SAID, app.TODO)
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("name", NATURES)
async def test_words_that_are_not_final_are_tried_again(app: Any, name: str) -> None:
    result = await done(app, name, is_final=False)
    assert (result.status, result.attempts) == ("failure", 2)
    assert error(result) == ("no_voice", app.SAID, app.TODO)


@pytest.mark.parametrize("name", NATURES)
async def test_words_are_the_same_in_tests_of_the_application(app: Any, name: str) -> None:
    with app.tasks.inline():
        result = await app.tasks.get_result(await app.tasks.submit(name, is_final=True))
    assert (result.status, error(result)) == ("failure", ("no_voice", app.SAID, app.TODO))


async def test_a_message_is_enough(app: Any) -> None:
    assert error(await done(app, "fail_shortly")) == ("task_failed", app.SAID, None)


def test_a_program_that_does_not_guard_its_main_part_is_told_so_and_its_child_opens_nothing(tmp_path: Path) -> None:
    told = {**os.environ, "MORAG_DATA_DIR": str(tmp_path)}
    program = subprocess.run(
        [sys.executable, str(APPS / "unguarded.py")], env=told, capture_output=True, text=True, timeout=60, check=True
    )
    code, message, hint = program.stdout.splitlines()
    assert code == "task_not_found"
    assert "unguarded.py opens its tasks while a child process loads it" in message
    assert 'if __name__ == "__main__":' in hint


async def test_what_is_through_does_not_tell_what_it_did_last(app: Any) -> None:
    result = await done(app, "report")
    assert (result.progress, result.stage, result.message) == (1.0, "completed", "")
