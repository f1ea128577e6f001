"""Who leads among real processes on one file: followed when killed, when stopped, when it ends in order."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

LEADER = "SELECT worker_pid FROM lead"
PROGRAM = """
import sys
from morag import TaskManager
TaskManager("led", data_dir=sys.argv[1]).run()
"""

Start = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stderr=subprocess.DEVNULL)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait(10)


def leader(folder: Path) -> int | None:
    """The process that leads, None if there is none."""
    if not (folder / "morag.db").exists():
        return None
    connection = sqlite3.connect(folder / "morag.db", timeout=10)
    try:
        row = connection.execute(LEADER).fetchone()
    except sqlite3.OperationalError:
        return None  # the file is being made
    else:
        return row[0] if row else None
    finally:
        connection.close()


def until_leads(folder: Path, process: "subprocess.Popen[bytes]", timeout_s: float = 20.0) -> float:
    """Wait; how long it took, seconds."""
    began = time.monotonic()
    while leader(folder) != process.pid:
        assert process.poll() is None
        assert time.monotonic() - began < timeout_s, f"{leader(folder)} leads, not {process.pid}"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture
def two(start: Start, tmp_path: Path) -> tuple["subprocess.Popen[bytes]", "subprocess.Popen[bytes]"]:
    """The leader, and one that could be."""
    first = start()
    until_leads(tmp_path, first)
    second = start()
    until_serves(tmp_path, second)
    assert leader(tmp_path) == first.pid
    return first, second


def until_serves(folder: Path, process: "subprocess.Popen[bytes]", timeout_s: float = 20.0) -> None:
    """Wait until the process has the file open."""
    until = time.monotonic() + timeout_s
    path = str(folder / "morag.db")
    while path not in {file.path for file in psutil.Process(process.pid).open_files()}:
        assert time.monotonic() < until
        time.sleep(0.02)


Two = tuple["subprocess.Popen[bytes]", "subprocess.Popen[bytes]"]


def test_killed_leader_is_followed_within_two_seconds(two: Two, tmp_path: Path) -> None:
    first, second = two
    first.kill()
    first.wait(10)
    assert until_leads(tmp_path, second) < 2


def test_stopped_leader_is_followed_within_ten_seconds_and_leads_no_more_when_it_goes_on(
    two: Two, tmp_path: Path
) -> None:
    first, second = two
    first.send_signal(signal.SIGSTOP)
    took_s = until_leads(tmp_path, second)
    first.send_signal(signal.SIGCONT)
    assert took_s < 10
    first.terminate()
    assert first.wait(15) == 0
    assert leader(tmp_path) == second.pid


def test_leader_that_ends_in_order_is_followed_at_once(two: Two, tmp_path: Path) -> None:
    first, second = two
    first.terminate()
    assert until_leads(tmp_path, second) < 2
    assert first.wait(15) == 0
