"""An application whose heavy tasks Celery workers run, if there is a broker; as its author would write it."""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from morag import TaskContext, TaskManager

tasks = TaskManager(namespace="spread", drain_s=1)
celery = tasks.celery_app()


def witness(line: str) -> None:
    """Leave a trace outside the store: one whole line, whoever writes."""
    with Path(os.environ["WITNESS"]).open("a") as file:
        file.write(line + "\n")


@tasks.task("light")
async def light() -> int:
    await asyncio.sleep(0)
    return os.getpid()


@tasks.task("named")
async def named() -> int:
    """Heavy by HEAVY_TASKS alone."""
    await asyncio.sleep(0)
    return os.getpid()


@tasks.task("heavy", heavy=True)
def heavy(answer: Any = None) -> list[Any]:
    return [os.getppid(), answer, "celery" in sys.modules]


@tasks.task("slow", heavy=True, retries=2, backoff_s=0.05)
def slow(name: str, seconds: float) -> str:
    witness(f"began-{name}-{os.getpid()}")
    time.sleep(seconds)
    witness(f"ended-{name}")
    return name


@tasks.task("flaky", heavy=True, retries=2, backoff_s=0.05)
def flaky(ctx: TaskContext) -> int:
    ctx.progress(0.5, "trying")
    if ctx.attempt < 3:
        raise ValueError("not yet")
    return ctx.attempt


@tasks.task("add", heavy=True)
def add(a: int, b: int) -> int:
    return a + b


def asked(ctx: TaskContext) -> list[list[Any]]:
    """What the children of a task gave, and who they were."""
    parts = ctx.wait_for(*(ctx.call("add", n, n) for n in range(3)), ctx.call("light"))
    return [[part.status, part.result, part.task_id] for part in parts]


@tasks.task("ask")
async def ask(ctx: TaskContext) -> list[list[Any]]:
    return asked(ctx)


@tasks.task("ask_heavily", heavy=True)
def ask_heavily(ctx: TaskContext) -> list[list[Any]]:
    return asked(ctx)
