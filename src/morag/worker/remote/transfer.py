"""Sources in, large results out: in a stream, going on where the line was cut, checked on arrival."""

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from morag.domain.failure import AttemptFailed, Failure, FailureType
from morag.protocol import LeaseMessage, SourceMessage
from morag.worker.remote.answers import Away, Refused
from morag.worker.remote.client import Client
from morag.worker.remote.patience import Patience

PIECE_BYTES = 512 * 1024
"""Of an upload. A cut costs one piece at most: half a second of a line of 1 MiB/s."""
LEAST_PIECE_BYTES = 32 * 1024
"""On a line that is cut before a larger one is through."""
NOT_FOUND = 404
PARTIAL = 206
TRIES_OF_DAMAGED = 3

Report = Callable[[str], None]
"""Called with words for people on how far a transfer is."""


class Download:
    """One source on its way to a file."""

    def __init__(self, client: Client, lease: LeaseMessage, source: SourceMessage, path: Path) -> None:
        self._client, self._lease, self._source, self._path = client, lease, source, path
        self._digest = hashlib.sha256()
        self._size_bytes = 0

    async def run(self, patience: Patience, report: Report) -> None:
        """Fetch all of it, checked. Raises Refused, Away, OSError; AttemptFailed if it stays damaged."""
        self._check_room()
        for _ in range(TRIES_OF_DAMAGED):
            while self._size_bytes < self._source.size or not self._path.exists():
                await patience.call(lambda: self._go_on(report))
            if self._digest.hexdigest() == self._source.sha256:
                return
            self._begin()
        raise AttemptFailed(_damaged())

    async def _go_on(self, report: Report) -> None:
        """Fetch what comes until the line is cut; returns early after any progress, so that patience starts anew."""
        before = self._size_bytes
        try:
            await self._stream(report)
        except Away:
            if self._size_bytes == before:
                raise

    async def _stream(self, report: Report) -> None:
        async with self._client.source(self._lease.attempt_id, self._source.sha256, self._size_bytes) as response:
            if response.status_code != PARTIAL:
                self._begin()
            with await asyncio.to_thread(self._path.open, "ab") as file:
                async for chunk in response.aiter_bytes():
                    if self._size_bytes + len(chunk) > self._source.size:
                        raise AttemptFailed(_damaged())
                    await asyncio.to_thread(file.write, chunk)
                    self._digest.update(chunk)
                    self._size_bytes += len(chunk)
                    report(f"fetching, {told_size(self._size_bytes)} of {told_size(self._source.size)}")
        if self._size_bytes < self._source.size:
            raise Away("The server sent less than it announced.", code="cut_short")

    def _begin(self) -> None:
        self._path.unlink(missing_ok=True)
        self._digest, self._size_bytes = hashlib.sha256(), 0

    def _check_room(self) -> None:
        if shutil.disk_usage(self._path.parent).free < self._source.size:
            raise AttemptFailed(disk_full())


class Upload:
    """One file on its way to the server, as an upload that was begun."""

    def __init__(self, client: Client, attempt_id: str, upload_id: str, path: Path) -> None:
        self._client, self._attempt_id, self._upload_id, self._path = client, attempt_id, upload_id, path
        self._offset: int | None = None
        """Where the server is; None while only it knows."""
        self._piece_bytes = PIECE_BYTES
        """Halved by each cut and doubled by each piece that is through."""

    async def run(self, patience: Patience, report: Report) -> None:
        """Bring it to its end, from where the server is. Raises Refused, Away, OSError."""
        size = self._path.stat().st_size
        while self._offset != size:
            await patience.call(self._go_on)
            report(f"delivering, {told_size(self._offset or 0)} of {told_size(size)}")

    async def _go_on(self) -> None:
        """Send one piece, and ask first where to if the last answer never came."""
        if self._offset is None:
            self._offset = await self._client.upload_offset(self._attempt_id, self._upload_id)
        offset, self._offset = self._offset, None
        piece = await asyncio.to_thread(_read, self._path, offset, self._piece_bytes)
        if piece:
            self._offset = await self._send(offset, piece)
        else:
            self._offset = offset

    async def _send(self, offset: int, piece: bytes) -> int:
        try:
            end = await self._client.upload_piece(self._attempt_id, self._upload_id, offset, piece)
        except Away:
            self._piece_bytes = max(LEAST_PIECE_BYTES, self._piece_bytes // 2)
            raise
        self._piece_bytes = min(PIECE_BYTES, self._piece_bytes * 2)
        return end


async def begin(client: Client, attempt_id: str, size_bytes: int, upload_id: str | None) -> str:
    """The upload begun before, if the server still has it, else a new one. Raises Refused, Away."""
    if upload_id:
        try:
            await client.upload_offset(attempt_id, upload_id)
        except Refused as error:
            if error.status != NOT_FOUND:
                raise
        else:
            return upload_id
    return await client.begin_upload(attempt_id, size_bytes)


def told_size(size_bytes: int) -> str:
    """For people; small sizes in kB."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"


def disk_full() -> Failure:
    """The disk of this machine does not hold what the job needs."""
    return Failure(
        type=FailureType.RESOURCE_EXHAUSTION,
        code="worker_disk_full",
        message="The disk of the machine that was to convert it is full.",
        hint="Free some space there, or give the worker another --data-dir.",
        signature="disk full",
    )


def _damaged() -> Failure:
    return Failure(
        type=FailureType.NETWORK_FAILURE,
        code="source_damaged",
        message="The file did not reach the machine that was to convert it as it was sent.",
        hint="If it happens again, something between server and worker changes what passes.",
        signature="source damaged",
    )


def _read(path: Path, offset: int, size_bytes: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size_bytes)
