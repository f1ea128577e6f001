"""One child process as its parent sees it: told a call, listened to, watched, killed."""

import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from morag.control.tasks.calls import Call
from morag.control.tasks.children import Parking
from morag.control.tasks.context import Report, TaskContext
from morag.control.tasks.definitions import Definition
from morag.domain.failure import AttemptFailed
from morag.worker.functions import failures, frames
from morag.worker.functions.asking import place
from morag.worker.functions.loading import PROGRAM
from morag.worker.sandbox import memory

START_S = 60.0
"""How long a child may take to load the application's module."""
TICK_S = 0.1
"""How often memory and time are looked at."""
LAST_WORDS_S = 0.5
PIPE_BYTES = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One call, as a child is told it."""

    message: bytes
    answer: Callable[[bytes], bytes]
    """What is told when it asks for children."""

    @classmethod
    def of(cls, definition: Definition, call: Call, context: TaskContext, answer: Callable[[bytes], bytes]) -> "Job":
        """The call of a registered function."""
        module, main = place(definition.function.__module__)
        told = {
            "module": module,
            "main": main,
            "path": [str(Path(each).absolute()) for each in sys.path],
            "qualname": definition.function.__qualname__,
            "context": definition.context,
            "task_id": context.task_id,
            "attempt": context.attempt,
            "args": call.args,
            "kwargs": call.kwargs,
        }
        return cls(message=frames.frame(frames.JOB, json.dumps(told).encode()), answer=answer)


class Child:
    """One child process; serves one call at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("a child is started with both pipes")
        self._process = process
        self._jobs, self._answers = process.stdin, process.stdout
        self._expiry: asyncio.TimerHandle | None = None
        self.pid = process.pid
        self.has_answered = False
        """Whether the latest call was answered, well or badly: then it can take another."""

    @classmethod
    async def start(cls, ahead: Sequence[str] = ()) -> "Child":
        """Start one in a session of its own, so that it can be ended with all it started.

        It loads the modules `ahead` of its first call. Raises OSError.
        """
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, *PROGRAM, *ahead),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=PIPE_BYTES,
                start_new_session=True,
            )
        )

    @property
    def is_alive(self) -> bool:
        """Whether it can be given a call."""
        return self._process.returncode is None and not self._answers.at_eof()

    def expire_after(self, seconds: float, act: Callable[["Child"], None]) -> None:
        """Call `act` unless it is wanted before."""
        self._expiry = asyncio.get_running_loop().call_later(seconds, act, self)

    def is_wanted(self) -> None:
        """Stop the expiry."""
        if self._expiry:
            self._expiry.cancel()

    def kill(self) -> None:
        """End it and all it started, now."""
        self.is_wanted()
        for pid in memory.tree(self.pid) if self._process.returncode is None else ():
            _kill(os.kill, pid)
        _kill(os.killpg, self.pid)

    async def gone(self) -> None:
        """Return when it has ended and its pipes are closed."""
        await self._process.wait()
        self._jobs.close()
        with suppress(ConnectionError):
            await self._jobs.wait_closed()

    async def perform(self, job: Job, report: Report, limits: "Limits") -> bytes:
        """The result of one call. Raises AttemptFailed, and Parking."""
        self.has_answered = False
        kills = memory.kernel_kills()
        answering = asyncio.create_task(self._answer(job, report, limits))
        ending = asyncio.create_task(self._process.wait())
        try:
            text = await self._watch(answering, ending, limits)
            if text is None:
                raise AttemptFailed(failures.died(ending.result(), by_kernel=memory.kernel_kills() > kills))
            return text
        finally:
            answering.cancel()
            ending.cancel()

    async def _watch(
        self, answering: "asyncio.Task[bytes | None]", ending: "asyncio.Task[int]", limits: "Limits"
    ) -> bytes | None:
        """The answer, None if it ended without one. Raises AttemptFailed if it does what it may not."""
        awaited: set[asyncio.Task[bytes | None] | asyncio.Task[int]] = {answering, ending}
        while not ending.done():
            await asyncio.wait(awaited, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                if (text := answering.result()) is not None:
                    return text
                awaited = {ending}
            limits.check(self.pid)
        await asyncio.wait({answering}, timeout=LAST_WORDS_S)  # its last words may still be in the pipe
        return answering.result() if answering.done() else None

    async def _answer(self, job: Job, report: Report, limits: "Limits") -> bytes | None:
        """The result; None if the child ends before. Raises AttemptFailed with what it says went wrong, and Parking."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._tell(job.message)
            while True:
                kind, size = frames.HEADER.unpack(await self._answers.readexactly(frames.HEADER.size))
                body = await self._answers.readexactly(size)
                match kind:
                    case frames.STARTED:
                        limits.start()
                    case frames.PROGRESS:
                        report(*json.loads(body))
                    case frames.ASK:
                        await self._tell(frames.frame(frames.TOLD, await asyncio.to_thread(job.answer, body)))
                    case frames.PARKED:
                        self.has_answered = True
                        raise Parking
                    case frames.FAILED:
                        self.has_answered = True
                        raise AttemptFailed(failures.told(json.loads(body)))
                    case _:
                        self.has_answered = True
                        return body
        return None

    async def _tell(self, message: bytes) -> None:
        self._jobs.write(message)
        await self._jobs.drain()


class Limits:
    """What one call may use. Its time runs from when the function is found, for loading a module may take long."""

    def __init__(self, *, timeout_s: float | None, memory_bytes: int, on_start: Callable[[], None]) -> None:
        """`on_start` is called when the time begins."""
        self._on_start = on_start
        self._clock = asyncio.get_running_loop().time
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._until = self._clock() + START_S
        self._has_started = False

    def start(self) -> None:
        """The function is called now."""
        self._has_started = True
        self._on_start()
        self._until = math.inf if self._timeout_s is None else self._clock() + self._timeout_s

    def check(self, pid: int) -> None:
        """Raise AttemptFailed if its time is up or it holds too much."""
        if self._clock() > self._until:
            raise AttemptFailed(
                failures.too_slow(self._timeout_s or 0.0) if self._has_started else failures.slow_start(START_S)
            )
        if memory.resident_bytes(pid) > self._memory_bytes:
            raise AttemptFailed(failures.out_of_memory(f"over {self._memory_bytes >> 20} MiB"))


def _kill(act: Callable[[int, int], None], pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        act(pid, signal.SIGKILL)
