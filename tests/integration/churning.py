"""Starts and ends the processes of `store_churn.py`, and hears what they tell."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

PROGRAM = Path(__file__).with_name("store_churn.py")
ENDLESS = 1_000_000


async def start(target: str, name: str, n: int) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, str(PROGRAM), target, name, str(n), stdout=PIPE)


async def lines(process: Process, n: int, word: str) -> list[list[str]]:
    """What the process tells until it told `word` so often."""
    assert process.stdout is not None
    told: list[list[str]] = []
    while n:
        line = (await process.stdout.readline()).decode().split()
        assert line, "it ended early"
        told.append(line)
        n -= line[0] == word
    return told


async def kill(process: Process) -> list[list[str]]:
    """Kill it in the middle; what it told last. A line cut short was not told."""
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    rest = (await process.stdout.read()).decode()
    await process.wait()
    return [line.split() for line in rest.splitlines(keepends=True) if line.endswith("\n")]
