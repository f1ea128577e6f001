"""Two hundred running tasks of a process that is killed: all running again after the start, each settled once."""

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MANY = 200
PROGRAM = """
import asyncio, os, pathlib, sys
from morag import TaskContext, TaskManager

folder = pathlib.Path(sys.argv[1])
tasks = TaskManager("many", data_dir=folder, loop_slots=200)

@tasks.task("wait")
async def wait(ctx: TaskContext) -> int:
    with (folder / "witness").open("a") as file:
        file.write(f"{ctx.task_id} {os.getpid()}\\n")
    while not (folder / "go").exists():
        await asyncio.sleep(0.1)
    return os.getpid()

async def main() -> None:
    async with tasks:
        await asyncio.gather(*(tasks.submit("wait") for _ in range(int(sys.argv[3]))))
        print("ready", flush=True)
        await asyncio.Event().wait()

if sys.argv[2] == "run":
    tasks.run()
else:
    asyncio.run(main())
"""
RUNNING = "SELECT count(*) FROM tasks WHERE state = 'running' AND worker_pid = ?"
TWICE = "SELECT task_id, count(*) FROM attempts WHERE outcome = 'completed' GROUP BY task_id"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


def asked(folder: Path, statement: str, *values: int) -> list[tuple[str | int, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "morag.db", timeout=10)) as connection:
        return connection.execute(statement, values).fetchall()


def until(condition: Callable[[], bool], figures: Callable[[], object], timeout_s: float = 30.0) -> float:
    """Wait; how long it took, seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, f"after {timeout_s} s: {figures()}"
        time.sleep(0.02)
    return time.monotonic() - began


def states(folder: Path) -> object:
    return asked(folder, "SELECT state, worker_pid, count(*) FROM tasks GROUP BY 1, 2")


def witnessed(folder: Path) -> list[str]:
    """The process of each execution."""
    path = folder / "witness"
    return [line.split()[1] for line in path.read_text().splitlines()] if path.exists() else []


def all_run_in(folder: Path, process: "subprocess.Popen[str]") -> bool:
    return asked(folder, RUNNING, process.pid) == [(MANY,)]


def has_opened(folder: Path, process: "subprocess.Popen[str]") -> bool:
    """Whether the process serves: it leads, for nobody else is alive."""
    return asked(folder, "SELECT worker_pid FROM lead") == [(process.pid,)]


@pytest.mark.parametrize("kind", ["application", "program of its own"])
def test_all_tasks_of_a_killed_process_run_again_soon_after_the_start_and_end_once(
    start: Start, tmp_path: Path, kind: str
) -> None:
    first = start("submit", str(MANY))
    assert first.stdout
    assert first.stdout.readline() == "ready\n"
    until(lambda: len(witnessed(tmp_path)) == MANY, lambda: states(tmp_path))
    first.kill()
    first.wait(10)
    second = start("run") if kind == "program of its own" else start("submit", "0")
    start_s = until(lambda: has_opened(tmp_path, second), lambda: states(tmp_path))
    again_s = until(lambda: all_run_in(tmp_path, second), lambda: states(tmp_path))
    assert again_s < 2, f"opened after {start_s:.2f} s, all running {again_s:.2f} s later"
    (tmp_path / "go").touch()
    completed = "SELECT count(*) FROM tasks WHERE state = 'completed'"
    until(lambda: asked(tmp_path, completed) == [(MANY,)], lambda: states(tmp_path))
    assert {n for _, n in asked(tmp_path, TWICE)} == {1}
    assert asked(tmp_path, "SELECT count(*), min(attempt), max(attempt) FROM tasks") == [(MANY, 2, 2)]
    assert Counter(witnessed(tmp_path)) == {str(first.pid): MANY, str(second.pid): MANY}
