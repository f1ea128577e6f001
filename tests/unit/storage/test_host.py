"""The machine as it tells about itself."""

import os
import subprocess
import sys

from morag.storage.host import SystemClock, boot_id, is_alive, this_worker


def test_boot_is_the_same_in_another_process() -> None:
    program = "from morag.storage.host import boot_id; print(boot_id())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert told.stdout.strip() == boot_id()


def test_monotonic_clock_is_the_same_in_another_process() -> None:
    clock = SystemClock()
    program = "from morag.storage.host import SystemClock; print(SystemClock().monotonic())"
    before = clock.monotonic()
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert before <= float(told.stdout) <= clock.monotonic()


def test_each_run_is_a_worker_of_its_own_in_this_process() -> None:
    first, second = this_worker("server"), this_worker("server")
    assert first.id != second.id
    assert first.id.startswith("server-")
    assert (first.pid, first.boot_id) == (os.getpid(), boot_id())
    assert first.pid_started_at == second.pid_started_at


def test_this_process_is_alive() -> None:
    worker = this_worker("server")
    assert worker.pid is not None
    assert is_alive(worker.pid, worker.pid_started_at)
    assert is_alive(worker.pid, None)


def test_another_process_under_the_same_number_is_not_it() -> None:
    worker = this_worker("server")
    assert worker.pid is not None
    assert worker.pid_started_at is not None
    assert not is_alive(worker.pid, worker.pid_started_at - 10.0)


def test_process_that_ended_is_not_alive_though_nobody_asked_for_its_status() -> None:
    child = subprocess.Popen([sys.executable, "-c", "print('here', flush=True); input()"], stdin=-1, stdout=-1)
    assert child.stdout is not None
    child.stdout.readline()
    assert is_alive(child.pid, None)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid, None)
    child.communicate()
    assert not is_alive(child.pid, None)
