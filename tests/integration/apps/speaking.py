"""An application as its author would write it; run by the tests of the task library, and loaded by its children."""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from morag import TaskContext, TaskManager

tasks = TaskManager(namespace="speaking", child_memory_bytes=400 * 1024**2, drain_s=5)


def witness(line: str) -> None:
    """Leave a trace outside the store: one whole line, whoever writes."""
    with Path(os.environ["WITNESS"]).open("a") as file:
        file.write(line + "\n")


def told() -> list[str]:
    path = Path(os.environ["WITNESS"])
    return path.read_text().split() if path.exists() else []


@tasks.task("calculate_rating", retries=3, timeout_s=30)
async def calculate_rating(resource_id: str) -> dict[str, str]:
    await asyncio.sleep(0)
    return {"resource": resource_id}


@tasks.task("process_speak_audio", heavy=True)
def process_speak_audio(resource_id: str, audio_chunks: list[str], user_name: str = "Student") -> dict[str, Any]:
    return {"resource": resource_id, "chunks": len(audio_chunks), "user": user_name, "pid": os.getpid()}


@tasks.task("count")
def count(first: int, ctx: TaskContext, *, step: int = 1) -> list[Any]:
    ctx.progress(0.5, "counting", "half of it")
    time.sleep(0.6)
    return [first, step, ctx.task_id, ctx.attempt]


@tasks.task("count_apart", heavy=True)
def count_apart(ctx: TaskContext, first: int) -> list[Any]:
    ctx.progress(0.25, "apart")
    time.sleep(0.6)
    return [first, ctx.task_id, ctx.attempt]


@tasks.task("flaky", retries=2, backoff_s=0.05)
async def flaky(name: str, works_at: int) -> int:
    witness(name)
    tries = told().count(name)
    if tries < works_at:
        raise ValueError(f"try {tries}")
    return tries


@tasks.task("flaky_apart", heavy=True, retries=2, backoff_s=0.05)
def flaky_apart(name: str, works_at: int) -> int:
    return asyncio.run(flaky(name, works_at))


@tasks.task("sleep")
async def sleep(seconds: float, name: str = "") -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        witness(f"cancelled-{name}")
        raise
    witness(f"slept-{name}")
    return name


@tasks.task("sleep_briefly", timeout_s=0.2)
async def sleep_briefly() -> None:
    await asyncio.sleep(60)


@tasks.task("hang", timeout_s=0.5)
def hang() -> None:
    witness(str(os.getpid()))
    while True:
        time.sleep(60)


@tasks.task("sleep_in_thread")
def sleep_in_thread(ctx: TaskContext) -> None:
    witness("began")
    while not ctx.is_cancelled:
        time.sleep(0.01)
    witness("noticed")


@tasks.task("sleep_in_child", heavy=True)
def sleep_in_child() -> None:
    witness(str(os.getpid()))
    time.sleep(60)


@tasks.task("exit", heavy=True)
def leave() -> None:
    os._exit(3)


@tasks.task("eat", heavy=True, retries=5)
def eat() -> int:
    hoard = [bytearray(os.urandom(1024) * 1024 * 10) for _ in range(200) if not time.sleep(0.01)]
    return len(hoard)


@tasks.task("fork", heavy=True)
def fork() -> str:
    child = os.fork()
    if child == 0:
        return "from the fork"
    witness(str(child))
    return "from the task"


@tasks.task("leave_a_process", heavy=True)
def leave_a_process() -> None:
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    witness(str(child))


@tasks.task("sys_exit")
async def sys_exit() -> None:
    sys.exit(4)


@tasks.task("cancel_itself")
async def cancel_itself() -> None:
    raise asyncio.CancelledError


@tasks.task("make", heavy=True)
def make(size_bytes: int) -> str:
    return "x" * size_bytes


@tasks.task("make_here")
async def make_here(size_bytes: int) -> str:
    return "x" * size_bytes


@tasks.task("not_json", retries=3)
async def not_json() -> dict[str, Any]:
    return {"when": [object()]}


@tasks.task("echo")
async def echo(value: Any) -> Any:
    return value


@tasks.task("length_apart", heavy=True)
def length_apart(text: str) -> int:
    return len(text)


@tasks.task("length")
async def length(text: str) -> int:
    return len(text)


@tasks.task("sync_impressions_from_redis", trigger="impressions/sync")
async def sync_impressions_from_redis() -> str:
    return "synced"


async def main(command: str) -> None:
    if command == "serve-tick":
        tasks.task("tick", every=0.5)(tick)
    async with tasks:
        if command == "submit":
            for n in range(20):
                await tasks.submit("sleep", float(sys.argv[2]), str(n))
        if command in {"once", "heavy"}:
            call = (calculate_rating, "r1") if command == "once" else (length_apart, "ab")
            result = await tasks.wait(await tasks.submit(*call), 20)
            sys.stdout.write(f"{result.status} {result.result}")
            return
        if command == "submit-heavy":
            await tasks.submit(sleep_in_child)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def tick() -> None:
    witness(f"tick-{int(time.time() / 0.5)}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
