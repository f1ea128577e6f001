"""The ledger of queues.py: what task bodies wrote to a file while they ran, read as it grows."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Line:
    """One task body at work."""

    kind: str
    i: int
    at: float
    """Seconds of the clock that all processes of a machine share (`time.monotonic`)."""
    pid: int


class Ledger:
    """The lines of the file so far."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open()
        self._rest = ""
        self._lines: list[Line] = []

    def of(self, kind: str, ids: range) -> list[Line]:
        """What was written of a kind for these ids."""
        self._read()
        return [line for line in self._lines if line.kind == kind and line.i in ids]

    async def until(self, kind: str, ids: range, *, lines: int, timeout_s: float) -> list[Line]:
        """The lines, once there are so many. Raises TimeoutError."""
        found = self.of(kind, ids)
        end = time.monotonic() + timeout_s
        while len(found) < lines:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(found)} of {lines} tasks ran within {timeout_s:g} s.")
            await asyncio.sleep(POLL_S)
            found += [line for line in self._read() if line.kind == kind and line.i in ids]
        return found

    async def every(self, ids: range, *, timeout_s: float) -> float:
        """When the last of these no-ops ran, once all have. Raises TimeoutError."""
        found = await self.until("noop", ids, lines=len(ids), timeout_s=timeout_s)
        if missing := set(ids) - {line.i for line in found}:
            raise TimeoutError(f"{len(missing)} tasks did not run, and others twice.")
        return max(line.at for line in found)

    def _read(self) -> list[Line]:
        """What is new."""
        *whole, self._rest = (self._rest + self._file.read()).split("\n")
        new: list[Line] = []
        for text in whole:
            kind, i, at, pid = text.split()
            new.append(Line(kind, int(i), float(at), int(pid)))
        self._lines += new
        return new
