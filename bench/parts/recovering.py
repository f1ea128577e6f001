"""The application that `bench/recover.py` hits: `recovering.py submit heavy|light`, `recovering.py serve`."""

import asyncio
import os
import sys
import time
from pathlib import Path

from morag import TaskManager

LONG_S = 3600.0

tasks = TaskManager("recovering", drain_s=0)


def witness() -> None:
    """Note who runs it, and when."""
    with Path(os.environ["WITNESS"]).open("a") as file:
        file.write(f"{os.getpid()} {time.monotonic()}\n")


@tasks.task("light")
async def light() -> None:
    """Run for long on the loop."""
    witness()
    await asyncio.sleep(LONG_S)


@tasks.task("heavy", heavy=True)
def heavy() -> None:
    """Run for long in a child."""
    witness()
    time.sleep(LONG_S)


async def main() -> None:
    """Submit what is asked, and serve until told to end."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(15, ended.set)
    async with tasks:
        if sys.argv[1] == "submit":
            await tasks.submit(sys.argv[2])
        (Path(os.environ["WITNESS"]).parent / f"open-{os.getpid()}").touch()
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
