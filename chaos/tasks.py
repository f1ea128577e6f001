"""Kill, stop and starve the processes of an application at random moments of its work; then count (R1, one machine).

    .venv/bin/python chaos/tasks.py [--tasks 10000] [--rate 100] [--pause 60] [--seed 1]

Three processes share one file; one of them submits. Killed with SIGKILL: processes, their children, whole process
groups. Stopped beyond their leases, and let go on. Writing fails for a while as on a full disk. Each execution leaves a
line outside the store. Exits 1 if an acknowledged task did not end, was committed twice, ran without a grant, or has
another result than the execution that was committed; and if a process is left over.
"""

import argparse
import contextlib
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from parts.account import SHOWN, account

APP = Path(__file__).parent / "parts" / "app.py"
WORKERS = 2
LEASE_S = 2.0
STOP_S = (1.2 * LEASE_S, 2.0 * LEASE_S)
FULL_S = (0.5, 2.0)
TICK_S = 0.02
END_S = 120.0
FULL_BYTES = 512 * 1024
"""No file may grow beyond it while the disk is full; what is witnessed is smaller, the database is not."""
OPEN = "SELECT count(*) FROM tasks WHERE finished_at IS NULL"
HELD = "SELECT count(*) FROM tasks WHERE state = 'running' AND worker_pid = ?"


class Storm:
    """The processes, and what is done to them."""

    def __init__(self, folder: Path, wanted: int, rate: float, chance: random.Random) -> None:
        """Have `wanted` tasks submitted, `rate` a second."""
        self._folder, self._wanted, self._rate, self._chance = folder, wanted, rate, chance
        self._path = folder / "data" / "morag.db"
        self._workers = [self._start("serve") for _ in range(WORKERS)]
        self._submitter = self._submit()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._killed: list[tuple[int, float]] = []
        self.counted: Counter[str] = Counter()
        self.recoveries_s: list[float] = []

    def rage(self, pause: int) -> None:
        """One act for each `pause` tasks or so that are acknowledged, until all are. Raises RuntimeError."""
        acts = (self.kill_worker, self.kill_child, self.kill_submitter, self.kill_group, self.stop, self.fill_disk)
        acts = [self.kill_worker, self.kill_child, self.kill_submitter, self.kill_group, self.stop, self.fill_disk]
        bag, awaited = list[Callable[[], None]](), self._chance.randint(pause // 3, 2 * pause - pause // 3)
        while self._submitter.poll() != 0:
            if self._submitter.poll() is not None:
                raise RuntimeError("the submitting process ended by itself")
            if self._acknowledged() >= awaited:
                awaited = self._acknowledged() + self._chance.randint(pause // 3, 2 * pause - pause // 3)
                bag = bag or self._chance.sample(acts, len(acts))
                bag.pop()()
            self._pass(TICK_S)

    def calm(self) -> None:
        """Wait until every task has ended, and end the processes. Raises TimeoutError and RuntimeError."""
        until = time.monotonic() + END_S
        while self._later or self._killed or self._ask(OPEN):
            self._pass(TICK_S)
            if time.monotonic() > until:
                raise TimeoutError(f"{self._ask(OPEN)} tasks have not ended after {END_S:.0f} s")
        for process in self._workers:
            process.terminate()
        if any([process.wait(30) for process in self._workers]):  # noqa: C419 - all are waited for
            raise RuntimeError("a process that was told to end did so badly")

    def end(self) -> None:
        """Leave nothing behind, however it went."""
        for process in self._all():
            process.kill()
            process.wait(30)

    def kill_worker(self) -> None:
        place = self._chance.randrange(WORKERS)
        self._kill(self._workers[place])
        self._workers[place] = self._start("serve")

    def kill_submitter(self) -> None:
        self._kill(self._submitter)
        self._submitter = self._submit()

    def kill_group(self) -> None:
        """A process and all its children at once."""
        place = self._chance.randrange(WORKERS)
        for child in _below(self._workers[place].pid):
            _end(child, signal.SIGKILL)
        self._kill(self._workers[place])
        self._workers[place] = self._start("serve")

    def kill_child(self) -> None:
        if children := [child for process in self._all() for child in _below(process.pid)]:
            self.counted["children killed"] += 1
            _end(self._chance.choice(children), signal.SIGKILL)

    def stop(self) -> None:
        """Let its leases run out, then let it go on as if nothing had been."""
        process = self._chance.choice(self._all())
        self.counted["processes stopped"] += 1
        process.send_signal(signal.SIGSTOP)
        self._after(self._chance.uniform(*STOP_S), lambda: process.send_signal(signal.SIGCONT))

    def fill_disk(self) -> None:
        self.counted["disk full"] += 1
        full = [each for process in self._all() for each in (process.pid, *_below(process.pid))]
        _limit(full, FULL_BYTES)
        self._after(self._chance.uniform(*FULL_S), lambda: self._free_disk(full))

    def _free_disk(self, full: Sequence[int]) -> None:
        """Also for what was started meanwhile by what was limited."""
        _limit([*full, *(each for process in self._all() for each in _below(process.pid))], resource.RLIM_INFINITY)

    def _kill(self, process: "subprocess.Popen[bytes]") -> None:
        self.counted["processes killed"] += 1
        process.kill()
        process.wait(30)
        self._killed.append((process.pid, time.monotonic()))

    def _pass(self, seconds: float) -> None:
        """Let time go by: do what is due, and see what has recovered."""
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            due = [act for at, act in self._later if at <= now]
            self._later = [(at, act) for at, act in self._later if at > now]
            for act in due:
                act()
            for killed in list(self._killed):
                if not self._ask(HELD, killed[0]):
                    self._killed.remove(killed)
                    self.recoveries_s.append(time.monotonic() - killed[1])
            if now >= until:
                return
            time.sleep(TICK_S)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, act))

    def _all(self) -> list["subprocess.Popen[bytes]"]:
        return [*self._workers, self._submitter]

    def _ask(self, statement: str, *values: int) -> int:
        address = f"file:{self._path}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(address, uri=True, timeout=30)) as connection:
                return connection.execute(statement, values).fetchone()[0]
        except sqlite3.OperationalError:
            return 1  # it is being made, or held by one that was stopped: asked again

    def _acknowledged(self) -> int:
        path = self._folder / "acknowledged"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def _submit(self) -> "subprocess.Popen[bytes]":
        return self._start("submit", str(self._wanted), str(self._rate))

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        told = {"CHAOS_FOLDER": str(self._folder), "CHAOS_LEASE_S": str(LEASE_S), "MORAG_LOG_LEVEL": "ERROR"}
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen([sys.executable, str(APP), *arguments], env={**os.environ, **told}, stderr=log)


def _below(pid: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def _end(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _limit(pids: Sequence[int], size_bytes: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def _left_over(folder: Path) -> list[str]:
    """Processes that were told of the folder, after a moment to end."""
    until = time.monotonic() + 10.0
    while True:
        found: list[str] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("CHAOS_FOLDER") == str(folder):
                    found.append(f"process {process.pid} is left over: {' '.join(process.cmdline())}")
        if not found or time.monotonic() > until:
            return found
        time.sleep(TICK_S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0, help="tasks submitted in a second")
    parser.add_argument("--pause", type=int, default=60, help="tasks between one blow and the next")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "witness").mkdir()
        return tell(folder, given)


def tell(folder: Path, given: argparse.Namespace) -> int:
    began, violations, wanted = time.monotonic(), list[str](), given.tasks
    storm = Storm(folder, wanted, given.rate, random.Random(given.seed))  # noqa: S311 - picks moments, no secret
    try:
        storm.rage(given.pause)
        storm.calm()
    except TimeoutError as error:
        violations.append(str(error))
    except RuntimeError as error:
        print(f"{error}\n{(folder / 'log').read_text()[-4000:]}")
        return 1
    finally:
        storm.end()
    took_s, recoveries = time.monotonic() - began, sorted(storm.recoveries_s) or [0.0]
    found = account(folder, wanted)
    violations += [*found.violations, *_left_over(folder)]
    figures = {
        **found.figures,
        **{what: str(n) for what, n in sorted(storm.counted.items())},
        "recovery": f"median {recoveries[len(recoveries) // 2]:.2f} s, longest {recoveries[-1]:.2f} s",
        "time": f"{took_s:.0f} s, {wanted / took_s:.0f} tasks a second; load {os.getloadavg()[0]:.1f}",
        "violations": str(len(violations)),
    }
    print(f"seed {given.seed}")
    print("\n".join(f"{what:<18}{figure}" for what, figure in figures.items()), flush=True)
    for violation in violations[:SHOWN]:
        print(f"  {violation}")
    if violations:
        print((folder / "log").read_text()[-4000:])
    return int(bool(violations))


if __name__ == "__main__":
    sys.exit(main())
