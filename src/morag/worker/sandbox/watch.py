"""The watch over one running conversion: memory, running time, progress; each breach is a classified failure."""

import asyncio
from dataclasses import dataclass

from morag.domain.failure import AttemptFailed
from morag.pipeline.ports import ReportProgress
from morag.protocol import ChildFailed, ChildProgress
from morag.worker.sandbox import memory, verdict
from morag.worker.sandbox.process import Answer, ChildProcess
from morag.worker.sandbox.verdict import Ended

TICK_S = 0.1
TICKS_TO_DISK = 10
"""Disk fills slower than memory, and looking costs more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one conversion may use."""

    memory_bytes: int
    """Resident memory of the child and all it started."""
    disk_bytes: int
    """What lies in its work folder."""
    timeout_s: float
    stall_s: float
    """Longest time without any new progress."""


class Watch:
    """Waits for a child's answer, looking at it ten times a second."""

    def __init__(self, child: ChildProcess, limits: Limits, report: ReportProgress) -> None:
        self._clock = asyncio.get_running_loop().time
        self._child = child
        self._limits = limits
        self._report = report
        self._progress: ChildProgress | None = None
        self._started_at = self._heard_at = self._clock()
        self._ticks = 0
        self._kernel_kills = memory.kernel_kills()

    async def done(self) -> None:
        """Return when the child says it is done. Raises AttemptFailed for every other end."""
        answer: Answer | None = None
        while answer is None:
            answer = await self._child.answer(TICK_S)
            self._pass_on_progress()
            if answer is None:
                await self._check()
        if isinstance(answer, ChildFailed):
            raise AttemptFailed(verdict.raised(answer))
        if isinstance(answer, Ended):
            raise AttemptFailed(verdict.ended(answer, kernel_killed=memory.kernel_kills() > self._kernel_kills))

    def _pass_on_progress(self) -> None:
        progress = self._child.progress
        if progress is not None and progress != self._progress:
            self._progress, self._heard_at = progress, self._clock()
            self._report(progress.fraction, progress.stage, progress.message)

    async def _check(self) -> None:
        now = self._clock()
        self._ticks += 1
        if memory.resident_bytes(self._child.pid) > self._limits.memory_bytes:
            raise AttemptFailed(verdict.out_of_memory("over its limit"))
        if now - self._started_at > self._limits.timeout_s:
            raise AttemptFailed(verdict.too_slow(self._limits.timeout_s))
        if now - self._heard_at > self._limits.stall_s:
            stage = self._progress.stage if self._progress else None
            raise AttemptFailed(verdict.silent(self._limits.stall_s, stage))
        if self._ticks % TICKS_TO_DISK == 0 and await self._is_over_its_disk():
            raise AttemptFailed(verdict.out_of_disk())

    async def _is_over_its_disk(self) -> bool:
        return await asyncio.to_thread(self._child.folder.uses_more_than, self._limits.disk_bytes)
