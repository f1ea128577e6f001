"""The program heavy functions run in: `python -m morag.worker.functions.call`, started and killed by `child`.

It imports the application's module, calls the function, answers, and waits for the next call. It ends with all it
started when its standard input does: then its parent is gone.
"""

import asyncio
import importlib
import importlib.util
import inspect
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import reduce
from io import FileIO
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from morag.control.tasks.calls import Call, encode_result
from morag.control.tasks.children import ChildCall, is_parking
from morag.control.tasks.context import TaskContext
from morag.control.tasks.invoking import invoke
from morag.control.tasks.results import TaskResult
from morag.domain.errors import InvalidRequest, MoragError
from morag.domain.failure import AttemptFailed
from morag.worker.functions import asking
from morag.worker.functions.asking import MAIN
from morag.worker.functions.frames import ASK, FAILED, PARKED, PROGRESS, RESULT, STARTED, frame, read
from morag.worker.functions.loading import loading

REPORT_EVERY_S = 0.05


class Answers:
    """The way back to the parent. Usable from any thread."""

    def __init__(self, pipe: FileIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._quiet_until = 0.0
        self._stage: str = ""

    def send(self, kind: bytes, body: bytes) -> None:
        """Write a message; a fork that the function made, and that came back here, ends instead."""
        if os.getpid() != self._pid:
            os._exit(0)
        rest = memoryview(frame(kind, body))
        with self._lock:
            while rest:
                rest = rest[self._pipe.write(rest) :]

    def progress(self, fraction: float, stage: str, message: str) -> None:
        """Pass on progress: another stage at once, more of the same at most twenty times a second."""
        now = time.monotonic()
        if now >= self._quiet_until or stage != self._stage:
            self._quiet_until, self._stage = now + REPORT_EVERY_S, stage
            self.send(PROGRESS, json.dumps([fraction, stage, message]).encode())


class Questions:
    """What one call asks of the parent while it runs. Usable from any thread, until the call has ended."""

    def __init__(self, answers: Answers, arrived: "queue.SimpleQueue[bytes]") -> None:
        self._answers = answers
        self._arrived = arrived
        self._lock = threading.Lock()
        self._is_over = False

    def ask(self, calls: Sequence[ChildCall]) -> list[TaskResult]:
        """How the children ended (`control.tasks.children.Ask`)."""
        question = asking.ask(calls)
        with self._lock:
            if self._is_over:
                raise InvalidRequest("The task that asks has ended.", hint="Call ctx.wait_for before it returns.")
            self._answers.send(ASK, question)
            told = self._arrived.get()
        return asking.hear(told)

    def end(self) -> None:
        """The call has ended: what comes next is another."""
        with self._lock:
            self._is_over = True


def main() -> None:
    """Answer calls until standard input ends."""
    jobs, answers = _streams()
    arrived = _listen(jobs)
    ahead = sys.argv[1:]
    del sys.argv[1:]  # no business of the application's
    for module in ahead:
        importlib.import_module(module)
    while True:
        job = json.loads(arrived.get())
        questions = Questions(answers, arrived)
        kind, body = _perform(job, answers, questions)
        questions.end()
        answers.send(kind, body)


def _streams() -> tuple[BinaryIO, Answers]:
    """Where jobs come from and answers go; what the function reads and prints is neither."""
    jobs = os.fdopen(os.dup(0), "rb")
    answers = Answers(FileIO(os.dup(1), "wb"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return jobs, answers


def _listen(stream: BinaryIO) -> "queue.SimpleQueue[bytes]":
    """Jobs, and answers to questions, as they come.

    Read in a thread, so that a parent gone is noticed while a function runs.
    """
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        while message := read(stream):
            arrived.put(message[1])
        try:
            os.killpg(0, signal.SIGKILL)
        finally:
            os._exit(0)

    threading.Thread(target=listen, name="jobs", daemon=True).start()
    return arrived


def _perform(job: dict[str, Any], answers: Answers, questions: Questions) -> tuple[bytes, bytes]:
    try:
        with loading(Path(job["main"]).name if job["main"] else job["module"]):
            function = _find(job)
    except MoragError as error:
        return FAILED, _told("task_not_found", f"{_name(job)} cannot be loaded: {error.message}", hint=error.hint)
    except BaseException as error:  # noqa: BLE001 - a module may raise anything, SystemExit too
        traceback.print_exc()
        return FAILED, _told("task_not_found", f"{_name(job)} cannot be loaded: {error!r}")
    answers.send(STARTED, b"")
    context = TaskContext(task_id=job["task_id"], attempt=job["attempt"], report=answers.progress, ask=questions.ask)
    try:
        return RESULT, encode_result(_call(function, job, context))
    except BaseException as error:  # noqa: BLE001 - a task may raise anything; here it becomes an answer
        return (PARKED, b"") if is_parking(error) else (FAILED, _failure(error))


def _name(job: dict[str, Any]) -> str:
    return f"{job['module']}.{job['qualname']}"


def _failure(error: BaseException) -> bytes:
    """What is told of an error that the function raised."""
    match error:
        case AttemptFailed(failure=failure):
            return _told(failure.code, failure.message, hint=failure.hint, is_final=failure.is_final)
        case MemoryError():
            return _told("out_of_memory", "The task ran out of memory.", is_final=True)
        case Exception():
            traceback.print_exception(error)
            message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return _told("task_raised", message, signature=_signature(error))
        case _:
            return _told("task_ended", f"The task ended with {error!r}.", hint="Return, or raise an Exception.")


def _call(function: Callable[..., Any], job: dict[str, Any], context: TaskContext) -> Any:
    value = invoke(function, Call(args=job["args"], kwargs=job["kwargs"]), job["context"], context)
    return asyncio.run(value) if inspect.iscoroutine(value) else value


def _find(job: dict[str, Any]) -> Callable[..., Any]:
    sys.path[:] = job["path"]
    module = _main_of(job["main"]) if job["main"] else importlib.import_module(job["module"])
    return reduce(getattr, job["qualname"].split("."), module)  # pyright: ignore[reportReturnType] - the parent's find


def _main_of(path: str) -> ModuleType:
    """The parent's main file, loaded as a module."""
    if MAIN not in sys.modules:
        spec = importlib.util.spec_from_file_location(MAIN, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        module = sys.modules[MAIN] = sys.modules["__main__"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[MAIN]


def _signature(error: Exception) -> str:
    """Equal for equal errors."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}@{frames[-1].name if frames else '?'}"


def _told(code: str, message: str, **more: Any) -> bytes:
    return json.dumps({"code": code, "message": message[:2000], **more}).encode()


if __name__ == "__main__":
    main()
