"""Blobs in a folder: bytes under their SHA-256, written once, never changed.

    root/ab/cdef…   a blob, read-only; its modification time is when the content was last handed in
    root/tmp/…      what is being written; renamed when complete, so a blob is whole or not there
    root/moving     locked while a blob appears (shared) or is removed (alone)

Uploads, fetched bodies and large results land here before the record refers to them; the sweep removes what nobody has
referred to for a day.
"""

import asyncio
import errno
import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO

from morag.domain.errors import InvalidRequest, NotFound, StorageFull
from morag.storage.incoming import Incoming, sync_folder
from morag.storage.sizes import too_large

BLOCK_BYTES = 1024**2
"""Written and hashed at once, in a thread."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FOLDERS = tuple(f"{first:02x}" for first in range(256))


class FolderBlobStore:
    """Blobs of one data folder. Uploads stop at `min_free_bytes` of free disk; results of running work do not."""

    def __init__(self, root: Path, *, min_free_bytes: int, measure_free: Callable[[Path], int] | None = None) -> None:
        """Make the folder and the 256 in it, where they are missing. `measure_free`: free bytes of a folder's disk."""
        self._root = root
        self._tmp = root / "tmp"
        self._min_free_bytes = min_free_bytes
        self._measure_free = measure_free or _free
        self._tmp.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _FOLDERS:
            (root / name).mkdir(mode=0o700, exist_ok=True)
        sync_folder(root)

    def free_bytes(self) -> int:
        """Free space of the disk for this process."""
        return self._measure_free(self._root)

    def check_room(self) -> None:
        """Raise StorageFull while uploads are refused."""
        self._check_space(0)

    async def receive(self, chunks: AsyncIterator[bytes], *, max_bytes: int) -> tuple[str, int]:
        """Store what comes, durable when it returns: digest and size. On any failure nothing is left behind.

        Raises TooLarge, StorageFull, and InvalidRequest with code `empty_file`.
        """
        self._check_space(0)
        incoming = Incoming(self._tmp)
        try:
            async with aclosing(_blocks(chunks)) as blocks:
                async for block in blocks:
                    if incoming.size_bytes + len(block) > max_bytes:
                        raise too_large(max_bytes)
                    await asyncio.to_thread(self._append, incoming, block)
            if incoming.size_bytes == 0:
                raise InvalidRequest("The file is empty.", code="empty_file", hint="Send a file that has content.")
            return await asyncio.to_thread(self._adopt, incoming), incoming.size_bytes
        finally:
            await asyncio.to_thread(incoming.discard)

    async def put(self, content: bytes) -> str:
        """Store, durable when it returns; the digest. Raises StorageFull only when the disk is full to the last."""
        return await asyncio.to_thread(self._put, content)

    async def put_file(self, path: Path) -> tuple[str, int]:
        """Store a copy of a regular file (symbolic links are refused with OSError): digest and size."""
        return await asyncio.to_thread(self._put_file, path)

    async def get(self, sha256: str) -> bytes:
        """All bytes of a blob. Raises NotFound."""
        try:
            return await asyncio.to_thread(self._place(sha256).read_bytes)
        except FileNotFoundError:
            raise NotFound("There is no such content.") from None

    def path(self, sha256: str) -> Path:
        """The blob's own file, read-only. Raises NotFound."""
        place = self._place(sha256)
        if not place.is_file():
            raise NotFound("There is no such content.")
        return place

    async def sweep(
        self, is_referenced: Callable[[Sequence[str]], Awaitable[set[str]]], *, older_than_s: float = 86_400
    ) -> int:
        """Remove blobs handed in longer ago than that and referred to by nobody, and temporary files as old.

        Returns how many blobs went.
        """
        before = time.time() - older_than_s
        await asyncio.to_thread(self._sweep_temporary, before)
        removed = 0
        for name in _FOLDERS:
            old = await asyncio.to_thread(_old_blobs, self._root / name, before)
            if old:
                referenced = await is_referenced(old)
                unwanted = [sha256 for sha256 in old if sha256 not in referenced]
                removed += await asyncio.to_thread(self._remove, unwanted, before)
        return removed

    def _place(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise NotFound("There is no such content.")
        return self._root / sha256[:2] / sha256[2:]

    def _append(self, incoming: Incoming, block: bytearray) -> None:
        self._check_space(len(block))
        incoming.write(block)

    def _check_space(self, more_bytes: int) -> None:
        if self.free_bytes() - more_bytes < self._min_free_bytes:
            raise StorageFull(
                "The disk of the server is too low for new files.",
                hint="The operator frees space, or lowers MORAG_MIN_FREE_BYTES; then send the file again.",
            )

    def _put(self, content: bytes) -> str:
        incoming = Incoming(self._tmp)
        try:
            incoming.write(content)
            return self._adopt(incoming)
        finally:
            incoming.discard()

    def _put_file(self, path: Path) -> tuple[str, int]:
        incoming = Incoming(self._tmp)
        try:
            with _open_regular(path) as source:
                while block := source.read(BLOCK_BYTES):
                    incoming.write(block)
            return self._adopt(incoming), incoming.size_bytes
        finally:
            incoming.discard()

    def _adopt(self, incoming: Incoming) -> str:
        """Make what came a blob; known content only becomes younger."""
        sha256 = incoming.sha256
        place = self._place(sha256)
        with self._moving(fcntl.LOCK_SH):
            if not _touch(place):
                incoming.move_to(place)
        return sha256

    def _remove(self, unwanted: Sequence[str], before: float) -> int:
        """Unlink those that nobody handed in again since they were listed; how many went."""
        with self._moving(fcntl.LOCK_EX):
            return sum(_unlink_older(self._place(sha256), before) for sha256 in unwanted)

    def _sweep_temporary(self, before: float) -> None:
        for path in self._tmp.iterdir():
            _unlink_older(path, before)

    @contextmanager
    def _moving(self, how: int) -> Generator[None]:
        """Hold the lock that keeps a sweep from removing what another thread or process just handed in again."""
        with (self._root / "moving").open("ab") as lock:
            fcntl.flock(lock, how)
            yield


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytearray]:
    """The same bytes in blocks of at least BLOCK_BYTES but the last: one trip to a thread for many small chunks."""
    block = bytearray()
    async for chunk in chunks:
        block += chunk
        if len(block) >= BLOCK_BYTES:
            yield block
            block = bytearray()
    if block:
        yield block


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _open_regular(path: Path) -> BinaryIO:
    """Open a file that a less trusted process wrote: no link followed, no pipe waited for. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb")


def _touch(place: Path) -> bool:
    """Make a blob young and its name durable; whether there is one."""
    try:
        os.utime(place)
    except FileNotFoundError:
        return False
    sync_folder(place.parent)
    return True


def _old_blobs(folder: Path, before: float) -> list[str]:
    with os.scandir(folder) as entries:
        named = [(folder.name + entry.name, entry.stat().st_mtime) for entry in entries]
    return [sha256 for sha256, changed_at in named if changed_at < before and _SHA256.fullmatch(sha256)]


def _unlink_older(path: Path, before: float) -> bool:
    try:
        is_older = path.stat().st_mtime < before
    except FileNotFoundError:
        return False
    if is_older:
        path.unlink(missing_ok=True)
    return is_older
