"""An application whose tasks ask for children. It has one slot of each kind: a parent that held its own would hang."""

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from morag import ChildCall, TaskContext, TaskManager
from morag.domain.errors import InvalidRequest

tasks = TaskManager(namespace="families", loop_slots=1, thread_slots=1, child_slots=1, drain_s=1)


def witness(line: str) -> None:
    """Leave a trace outside the store: one whole line, whoever writes."""
    with Path(os.environ["WITNESS"]).open("a") as file:
        file.write(line + "\n")


def told() -> list[str]:
    path = Path(os.environ["WITNESS"])
    return path.read_text().split() if path.exists() else []


def ask(ctx: TaskContext, calls: list[Any]) -> list[Any]:
    """Wait for all of the calls, `[name, argument, ...]` each; how each ended."""
    witness(f"asked-{len(calls)}-{ctx.attempt}")
    results = ctx.wait_for(*(ctx.call(name, *args) for name, *args in calls))
    return [[each.name, each.status, each.result, each.error and each.error.code, each.attempts] for each in results]


def rounds(ctx: TaskContext, n: int) -> Any:
    """Add up in n rounds, each from what the one before gave."""
    total: Any = 0
    for i in range(n):
        total, _ = (each.result for each in ctx.wait_for(ctx.call(add, total, i), ctx.call("add", 0, i)))
    return total


def refusals(ctx: TaskContext) -> list[str]:
    """The codes of bad calls, each caught; then a good one."""
    wrong: list[list[Any]] = [
        [ctx.call("nobody")],
        [ctx.call(os.getpid)],
        [ctx.call("add", 1)],
        [ctx.call("add", b"1", 2)],
        [ctx.call("add", 1, 2, step="2nd")],
        [ctx.call("add", 1, 2, step="same"), ctx.call("add", 1, 2, step="same")],
        ["add"],
        [ctx.call("add", 1, 2)] * 1001,
    ]
    codes: list[str] = []
    for calls in wrong:
        try:
            ctx.wait_for(*calls)
        except InvalidRequest as error:
            codes.append(error.code if error.hint else "no hint")
    (good,) = ctx.wait_for(ctx.call("add", 1, 2, step="same"))
    return [*codes, good.status, *[each.status for each in ctx.wait_for()]]


def swallow(ctx: TaskContext, how: str) -> str:
    """Go on where the run was to end."""
    try:
        ctx.wait_for(ctx.call("add", 1, 2))
    except BaseException as error:
        if how == "raise":
            raise ValueError("something else") from error
    return "went on"


def measure(ctx: TaskContext, size_bytes: int) -> list[Any]:
    """The sizes of a large result and of a large argument."""
    made, length = ctx.wait_for(ctx.call("make", size_bytes), ctx.call("length", "x" * 1_000_000))
    return [len(str(made.result)), length.result]


@tasks.task()
async def ask_on_loop(ctx: TaskContext, calls: list[Any]) -> list[Any]:
    return ask(ctx, calls)


@tasks.task()
def ask_in_thread(ctx: TaskContext, calls: list[Any]) -> list[Any]:
    return ask(ctx, calls)


@tasks.task(heavy=True)
def ask_in_child(ctx: TaskContext, calls: list[Any]) -> list[Any]:
    return ask(ctx, calls)


@tasks.task()
async def rounds_on_loop(ctx: TaskContext, n: int) -> Any:
    return rounds(ctx, n)


@tasks.task()
def rounds_in_thread(ctx: TaskContext, n: int) -> Any:
    return rounds(ctx, n)


@tasks.task(heavy=True)
def rounds_in_child(ctx: TaskContext, n: int) -> Any:
    return rounds(ctx, n)


@tasks.task()
async def refusals_on_loop(ctx: TaskContext) -> list[str]:
    return refusals(ctx)


@tasks.task()
def refusals_in_thread(ctx: TaskContext) -> list[str]:
    return refusals(ctx)


@tasks.task(heavy=True)
async def refusals_in_child(ctx: TaskContext) -> list[str]:
    return refusals(ctx)


@tasks.task(retries=2)
async def swallow_on_loop(ctx: TaskContext, how: str) -> str:
    return swallow(ctx, how)


@tasks.task(retries=2)
def swallow_in_thread(ctx: TaskContext, how: str) -> str:
    return swallow(ctx, how)


@tasks.task(heavy=True, retries=2)
def swallow_in_child(ctx: TaskContext, how: str) -> str:
    return swallow(ctx, how)


@tasks.task()
async def measure_on_loop(ctx: TaskContext, size_bytes: int) -> list[Any]:
    return measure(ctx, size_bytes)


@tasks.task(heavy=True)
def measure_in_child(ctx: TaskContext, size_bytes: int) -> list[Any]:
    return measure(ctx, size_bytes)


@tasks.task(heavy=True)
def ask_elsewhere(ctx: TaskContext) -> str:
    """Ask in a thread of its own making, whose end nobody hears of."""
    asking = threading.Thread(target=lambda: ctx.wait_for(ctx.call("add", 1, 2)))
    asking.start()
    asking.join()
    return "went on"


@tasks.task()
async def ask_in_group(ctx: TaskContext) -> list[Any]:
    async def one(x: int) -> Any:
        return ctx.wait_for(ctx.call("add", x, x, step=f"of-{x}"))[0].result

    async with asyncio.TaskGroup() as group:
        parts = [group.create_task(one(x)) for x in (1, 2)]
    return [each.result() for each in parts]


@tasks.task(retries=2, backoff_s=0.01)
async def fail_afterwards(ctx: TaskContext) -> int:
    """Needs three attempts after its children ended, which ran once."""
    ctx.wait_for(ctx.call("add", 1, 2), ctx.call("break_down"))
    if ctx.attempt < 3:
        raise ValueError("not yet")
    return ctx.attempt


@tasks.task()
async def ask_for_more_each_time(ctx: TaskContext, most: int) -> int:
    witness("asks")
    n = min(told().count("asks"), most)
    return len(ctx.wait_for(*(ctx.call("add", i, 0) for i in range(n))))


@tasks.task()
async def change_its_mind(ctx: TaskContext) -> None:
    witness("asks")
    ctx.wait_for(ctx.call("add" if told().count("asks") == 1 else "length", "a", "b"))


@tasks.task(timeout_s=0.5)
async def ask_briefly(ctx: TaskContext) -> Any:
    return ctx.wait_for(ctx.call("sleep", 0.8))[0].status


@tasks.task()
async def add(x: int, y: int) -> int:
    witness(f"add-{x}-{y}")
    return x + y


@tasks.task(heavy=True)
def add_in_child(x: int, y: int) -> int:
    return x + y


@tasks.task()
def add_in_thread(x: int, y: int) -> int:
    return x + y


@tasks.task(retries=1, backoff_s=0.01)
async def break_down() -> None:
    witness("broke")
    raise ValueError("broken")


@tasks.task(heavy=True)
def leave() -> None:
    os._exit(3)


@tasks.task()
async def sleep(seconds: float) -> str:
    await asyncio.sleep(seconds)
    witness(f"slept-{seconds}")
    return "slept"


@tasks.task(heavy=True)
def sleep_in_child(seconds: float) -> int:
    witness(f"pid-{os.getpid()}")
    time.sleep(seconds)
    witness("slept-in-child")
    return os.getpid()


@tasks.task(heavy=True)
def make(size_bytes: int) -> str:
    return "x" * size_bytes


@tasks.task()
async def length(text: str) -> int:
    return len(text)


async def main(command: str) -> None:
    async with tasks:
        if command == "submit":
            calls = [["add", 1, 1], ["add", 2, 2], ["sleep_in_child", 1.0]]
            await tasks.submit("ask_in_child", calls)
        if command == "main":
            result = await tasks.wait(await tasks.submit(ask_of_main), 20)
            sys.stdout.write(f"{result.status} {result.result}")
            return
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@tasks.task(heavy=True)
def ask_of_main(ctx: TaskContext) -> Any:
    calls: list[ChildCall] = [ctx.call(add_in_child, 1, 2), ctx.call(add, 3, y=4)]
    return [each.result for each in ctx.wait_for(*calls)]


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
