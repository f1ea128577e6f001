"""One conversion child as its parent sees it: started, told a job, listened to, killed.

Nothing a child writes can hurt the parent: lines are short or dropped, floods are read slowly, and only the latest
progress is kept.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from pydantic import ValidationError

from morag.protocol import CHILD_MESSAGE, ChildDone, ChildFailed, ChildJob, ChildProgress
from morag.worker.sandbox.folders import ChildFolder
from morag.worker.sandbox.memory import tree
from morag.worker.sandbox.verdict import Ended

Answer = ChildDone | ChildFailed | Ended

MAX_LINE_BYTES = 64 * 1024
LINES_READ = 64
"""Of one burst, the last so many are looked at; a child of ours sends twenty a second."""
BURST_BYTES, WINDOW_S = 256 * 1024, 0.1
STDERR_KEPT_BYTES = 8192
LAST_WORDS_S = 0.5


class Lines:
    """Bytes to lines, those too long left out."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_skipping = False

    @property
    def held_bytes(self) -> int:
        """Length of the unfinished line."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """The lines these bytes complete."""
        *lines, rest = (self._rest + data).split(b"\n")
        if self._is_skipping and lines:
            del lines[0]
            self._is_skipping = False
        self._is_skipping = self._is_skipping or len(rest) > MAX_LINE_BYTES
        self._rest = b"" if self._is_skipping else rest
        return [line for line in lines if len(line) <= MAX_LINE_BYTES]


class ChildProcess(asyncio.SubprocessProtocol):
    """A child with its folder. Serves one job at a time."""

    def __init__(self, folder: ChildFolder) -> None:
        loop = asyncio.get_running_loop()
        self.folder = folder
        self.progress: ChildProgress | None = None
        self.stderr = b""
        self.is_spoiled = False
        """It spoke unasked, or cannot be trusted with another job for another reason."""
        self._loop = loop
        self._lines = Lines()
        self._transport: asyncio.SubprocessTransport
        self._answer: asyncio.Future[Answer] = loop.create_future()
        self._answer.set_result(Ended(returncode=0))  # no job: nothing is waited for
        self._gone: asyncio.Future[int] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._read_bytes = {1: 0, 2: 0}

    @classmethod
    async def start(cls, command: Sequence[str], environment: dict[str, str], folder: ChildFolder) -> "ChildProcess":
        """Start the program in a session of its own, in its work folder."""
        loop = asyncio.get_running_loop()
        _, child = await loop.subprocess_exec(
            lambda: cls(folder), *command, env=environment, cwd=folder.work, start_new_session=True
        )
        return child

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._transport.get_pid()

    @property
    def is_alive(self) -> bool:
        """Whether it can be given a job."""
        return not self._gone.done() and not self.is_spoiled and _exists(self.pid)

    def tell(self, job: ChildJob) -> None:
        """Give it a job."""
        self.progress = None
        self._answer = self._loop.create_future()
        if self._gone.done():
            self._answer.set_result(Ended(returncode=self._gone.result()))
        stdin = cast("asyncio.WriteTransport", self._pipe(0))
        stdin.write(job.model_dump_json().encode() + b"\n")

    async def answer(self, timeout_s: float) -> Answer | None:
        """Its answer to the job, None if there is none yet after the time-out."""
        await asyncio.wait({self._answer}, timeout=timeout_s)
        return self._answer.result() if self._answer.done() else None

    def kill(self) -> None:
        """End it and all it started, now."""
        if self._gone.done():
            return
        for pid in tree(self.pid):
            _kill(pid)
        self._kill_group()

    async def ended(self) -> None:
        """Return when it is gone and its pipes are closed."""
        await asyncio.wait({self._gone})
        await asyncio.wait({self._closed}, timeout=LAST_WORDS_S)
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Called by asyncio with what came out of it."""
        self._slow_down(fd, len(data))
        if fd == 2:
            self.stderr = (self.stderr + data)[-STDERR_KEPT_BYTES:]
            return
        for line in self._lines.feed(data)[-LINES_READ:]:
            self._hear(line)

    def process_exited(self) -> None:
        """Called by asyncio when it was waited for."""
        self._gone.set_result(self._transport.get_returncode() or 0)
        self._kill_group()
        # its last line may still be in the pipe
        self._loop.call_later(LAST_WORDS_S, self._settle_end)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio when it is gone and all pipes are read to the end."""
        del exc
        self._closed.set_result(None)
        self._settle_end()

    def _settle_end(self) -> None:
        if not self._answer.done():
            self._answer.set_result(Ended(returncode=self._gone.result()))

    def _hear(self, line: bytes) -> None:
        try:
            message = CHILD_MESSAGE.validate_json(line)
        except ValidationError:
            return  # something in the child wrote past its own redirection
        if self._answer.done():
            self.is_spoiled = True
        elif isinstance(message, ChildProgress):
            self.progress = message
        else:
            self._answer.set_result(message)

    def _slow_down(self, fd: int, size: int) -> None:
        if not self._read_bytes[fd]:
            self._loop.call_later(WINDOW_S, self._resume, fd)
        self._read_bytes[fd] += size
        if self._read_bytes[fd] > BURST_BYTES:
            self._pipe(fd).pause_reading()

    def _resume(self, fd: int) -> None:
        if self._read_bytes[fd] > BURST_BYTES and not self._closed.done():
            self._pipe(fd).resume_reading()
        self._read_bytes[fd] = 0

    def _pipe(self, fd: int) -> Any:
        return self._transport.get_pipe_transport(fd)

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def _exists(pid: int) -> bool:
    """Asked of the system: the event loop hears of a death a little later."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
