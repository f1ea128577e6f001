"""What the machine itself tells: its clocks, its boot, its processes.

Leases, delays, deadlines and deaths on one machine are judged by these alone, never by the wall clock.
"""

import functools
import hashlib
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil

from morag.domain.task import Worker

_PROC = Path("/proc")
_UPTIME: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""On Linux the other clock stands still while the machine sleeps; on macOS this one is the one that goes on."""
_SAME_START_S = 0.05
"""Starts this close are one: the system counts them in ticks of 10 ms."""


class SystemClock:
    """The machine's own clocks (`control.ports.SteadyClock`)."""

    def now(self) -> float:
        """Seconds since the epoch, UTC; may jump."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since the boot of the machine or some other start that all its processes share."""
        return time.monotonic()

    def uptime(self) -> float:
        """Seconds since the boot, those the machine slept included where the system counts them."""
        return time.clock_gettime(_UPTIME) if _UPTIME is not None else time.monotonic()


@functools.cache
def boot_id() -> str:
    """Name of this run of the operating system: the same in all its processes, another after a reboot."""
    known = Path("/proc/sys/kernel/random/boot_id")
    if known.exists():
        return known.read_text().strip()
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, check=True, timeout=5
        )
        return hashlib.sha256(asked.stdout).hexdigest()[:32]
    return f"boot-{psutil.boot_time():.0f}"


def this_worker(kind: str) -> Worker:
    """This process as a claimer; each call is a run of its own, its id begins with `kind`."""
    pid = os.getpid()
    return Worker(
        id=f"{kind}-{uuid.uuid4().hex[:12]}",
        boot_id=boot_id(),
        pid=pid,
        pid_started_at=_started_at(psutil.Process(pid)),
    )


def is_alive(pid: int, started_at: float | None) -> bool:
    """Whether that very process still runs: a zombie does not, nor does another that was given the same number."""
    try:
        process = psutil.Process(pid)
        is_same = started_at is None or abs(_started_at(process) - started_at) < _SAME_START_S
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _started_at(process: psutil.Process) -> float:
    """When a process started, on a clock that no correction of the wall clock shifts: on Linux seconds since boot."""
    if not sys.platform.startswith("linux"):
        return process.create_time()
    try:
        stat = (_PROC / str(process.pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(process.pid) from error
    # the name in parentheses may hold spaces; field 22 is the start in clock ticks since boot
    return float(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
