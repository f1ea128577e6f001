"""How the measurements time and tell: percentiles in milliseconds, memory in MiB, tables."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import psutil

MIB = 1024**2


def percentiles(act: Callable[[], object], *, times: int = 200) -> tuple[float, float]:
    """p50 and p99 of `act` in milliseconds, after one call that is not counted."""
    act()
    took: list[float] = []
    for _ in range(times):
        start = perf_counter()
        act()
        took.append((perf_counter() - start) * 1e3)
    took.sort()
    return took[times // 2], took[min(times * 99 // 100, times - 1)]


def seconds(act: Callable[[], object]) -> float:
    """How long `act` took."""
    start = perf_counter()
    act()
    return perf_counter() - start


def rss_mib() -> float:
    """Resident memory of this process."""
    return psutil.Process().memory_info().rss / MIB


def disk_mib(folder: Path) -> float:
    """What the files in a folder take on the disk, sparse parts not counted."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / MIB


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for row in (heads, ["---"] * len(heads), *rows):
        print("| " + " | ".join(row) + " |")
    sys.stdout.flush()
