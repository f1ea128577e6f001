"""How much memory a process and all it started hold, read often and so cheaply; for the watch over children."""

from pathlib import Path

import psutil

KERNEL_COUNTERS = Path("/proc/vmstat")


def tree(pid: int) -> list[int]:
    """A process and its descendants, as far as they are known now."""
    found = [pid]
    for each in found:
        found.extend(_children(each))
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; pages they share are counted for each."""
    return sum(_resident(each) for each in tree(pid))


def kernel_kills() -> int:
    """How often this kernel has killed a process because memory ran out; 0 where it does not say."""
    try:
        counters = KERNEL_COUNTERS.read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in counters.splitlines() if line.startswith("oom_kill ")), 0)


def _resident(pid: int) -> int:
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def _children(pid: int) -> list[int]:
    """From the kernel's own lists where it keeps them: looking through all processes takes milliseconds."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text("ascii").split()]
    except OSError:
        return _children_of_any_system(pid)


def _children_of_any_system(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []
