"""A program whose main part runs wherever its file is loaded: in its child, too."""

import asyncio
import sys

from morag import TaskManager

tasks = TaskManager("unguarded", drain_s=0)


@tasks.task(heavy=True)
def double(n: int) -> int:
    return 2 * n


async def main() -> None:
    async with tasks:
        result = await tasks.wait(await tasks.submit(double, 2), 30)
        assert result.error
        sys.stdout.write(f"{result.error.code}\n{result.error.message}\n{result.error.hint}\n")


asyncio.run(main())
