"""The task library over several processes: killed, restarted, sharing one file."""

import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

PROGRAM = Path(__file__).parent / "apps" / "speaking.py"
FAMILIES = PROGRAM.with_name("families.py")
ENDED = "SELECT count(*) FROM tasks WHERE name = ? AND state = 'completed'"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the application as a program of its own; it ends when its standard input does."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, program: Path = PROGRAM) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, str(program), *arguments],
            env={**os.environ, "MORAG_DATA_DIR": str(tmp_path), "WITNESS": str(tmp_path / "witness")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.stdin:
            process.stdin.close()
        process.wait(30)
        if process.stdout:
            process.stdout.close()


def ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout
    assert process.stdout.readline() == "ready\n"


def told(folder: Path) -> list[str]:
    path = folder / "witness"
    return path.read_text().split() if path.exists() else []


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> float:
    """Wait; how long it took, seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s
        time.sleep(0.01)
    return time.monotonic() - began


def counted(folder: Path, statement: str, *values: str) -> int:
    connection = sqlite3.connect(folder / "morag.db")
    try:
        return connection.execute(statement, values).fetchone()[0]
    finally:
        connection.close()


def test_a_plain_script_submits_and_waits(start: Start) -> None:
    out, _ = start("once").communicate(timeout=30)
    assert out == "success {'resource': 'r1'}"


def test_running_tasks_of_a_killed_process_all_complete_once_after_the_restart(start: Start, tmp_path: Path) -> None:
    first = start("submit", "3")
    ready(first)
    until(lambda: counted(tmp_path, "SELECT count(*) FROM tasks WHERE state = 'running'") == 20)
    first.kill()
    first.wait(10)
    assert told(tmp_path) == []
    ready(start("serve"))
    until(lambda: counted(tmp_path, "SELECT count(*) FROM tasks WHERE state = 'running'") == 20, timeout_s=2)
    until(lambda: counted(tmp_path, ENDED, "sleep") == 20)
    assert Counter(told(tmp_path)) == Counter(f"slept-{n}" for n in range(20))


def test_a_living_sibling_takes_over_what_a_killed_process_ran(start: Start, tmp_path: Path) -> None:
    doomed = start("submit", "6")
    ready(doomed)
    until(lambda: counted(tmp_path, "SELECT count(*) FROM tasks WHERE state = 'running'") == 20)
    sibling = start("serve")
    ready(sibling)
    doomed.kill()
    doomed.wait(10)
    query = "SELECT count(*) FROM tasks WHERE state = 'running' AND worker_pid = ?"
    assert until(lambda: counted(tmp_path, query, str(sibling.pid)) == 20) < 3
    until(lambda: counted(tmp_path, ENDED, "sleep") == 20)
    assert Counter(told(tmp_path)) == Counter(f"slept-{n}" for n in range(20))


def test_a_child_ends_with_its_process(start: Start, tmp_path: Path) -> None:
    process = start("submit-heavy")
    ready(process)
    until(lambda: len(told(tmp_path)) == 1)
    child = int(told(tmp_path)[0])
    process.kill()
    process.wait(10)
    assert until(lambda: not psutil.pid_exists(child)) < 2


def test_two_processes_share_the_work_of_one_file(start: Start, tmp_path: Path) -> None:
    for process in [start("serve"), start("submit", "0.5")]:
        ready(process)
    until(lambda: counted(tmp_path, ENDED, "sleep") == 20)
    assert Counter(told(tmp_path)) == Counter(f"slept-{n}" for n in range(20))
    assert counted(tmp_path, "SELECT count(*) FROM attempts") == 20


def test_a_schedule_runs_once_a_tick_however_many_processes_there_are(start: Start, tmp_path: Path) -> None:
    for process in [start("serve-tick"), start("serve-tick")]:
        ready(process)
    until(lambda: len(told(tmp_path)) >= 6)
    keys = counted(tmp_path, "SELECT count(DISTINCT idempotency_key) FROM tasks WHERE name = 'tick'")
    assert counted(tmp_path, "SELECT count(*) FROM tasks WHERE name = 'tick'") == keys
    assert max(Counter(told(tmp_path)).values()) == 1


def test_a_heavy_function_of_a_programs_main_file_is_found(start: Start) -> None:
    out, _ = start("heavy").communicate(timeout=30)
    assert out == "success 2"


def test_a_parent_finds_its_children_after_its_process_was_killed(start: Start, tmp_path: Path) -> None:
    first = start("submit", program=FAMILIES)
    until(
        lambda: {"add-1-1", "add-2-2"} < set(told(tmp_path)) and any(line.startswith("pid-") for line in told(tmp_path))
    )
    until(lambda: counted(tmp_path, ENDED, "add") == 2)
    first.kill()
    first.wait(10)
    assert "slept-in-child" not in told(tmp_path)
    ready(start("serve", program=FAMILIES))
    until(lambda: counted(tmp_path, ENDED, "ask_in_child") == 1)
    lines = Counter(line for line in told(tmp_path) if not line.startswith("pid-"))
    assert lines == {"asked-3-1": 2, "add-1-1": 1, "add-2-2": 1, "slept-in-child": 1}
    assert counted(tmp_path, "SELECT count(*) FROM tasks") == 4


def test_children_of_a_programs_main_file_are_found_by_their_functions(start: Start) -> None:
    out, _ = start("main", program=FAMILIES).communicate(timeout=30)
    assert out == "success [3, 7]"
