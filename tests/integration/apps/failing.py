"""An application whose tasks end in all ways; loaded by children of the tests."""

import os
import signal
import time
from pathlib import Path

from morag import TaskContext, TaskFailed, TaskManager

tasks = TaskManager("failing", child_slots=1, drain_s=1)

SAID = "No voice can be heard."
TODO = "Speak closer to the microphone."


def witness(line: str) -> None:
    """Leave a trace outside the store: one whole line, whoever writes."""
    with Path(os.environ["WITNESS"]).open("a") as file:
        file.write(line + "\n")


def told() -> list[str]:
    path = Path(os.environ["WITNESS"])
    return path.read_text().split() if path.exists() else []


@tasks.task(heavy=True)
def nap_in_child(nap_s: float) -> str:
    """Be there to be hit; the second run ends at once."""
    witness(f"{os.getpid()}")
    if len(told()) == 1:
        time.sleep(nap_s)
    return "rested"


@tasks.task(heavy=True, retries=3, backoff_s=0.0)
def die_of(number: int) -> None:
    """Be hit, whenever it runs."""
    witness("hit")
    os.kill(os.getpid(), number)
    signal.pause()


@tasks.task(retries=1, backoff_s=0.0)
async def fail_on_loop(*, is_final: bool) -> None:
    raise TaskFailed(SAID, hint=TODO, code="no_voice", is_final=is_final)


@tasks.task(retries=1, backoff_s=0.0)
def fail_in_thread(*, is_final: bool) -> None:
    raise TaskFailed(SAID, hint=TODO, code="no_voice", is_final=is_final)


@tasks.task(heavy=True, retries=1, backoff_s=0.0)
def fail_in_child(*, is_final: bool) -> None:
    raise TaskFailed(SAID, hint=TODO, code="no_voice", is_final=is_final)


@tasks.task()
async def fail_shortly() -> None:
    raise TaskFailed(SAID)


@tasks.task()
async def report(ctx: TaskContext) -> None:
    ctx.progress(0.5, "listening", "Listening…")
