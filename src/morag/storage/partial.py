"""Uploads in pieces: what came so far is a file that grows, so that a sender goes on where a connection was cut.

root/{owner}~{id}           the bytes so far; its length is the offset
root/{owner}~{id}.length    how long it is to be
"""

import asyncio
import contextlib
import hashlib
import os
import re
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from morag.control.ports import Piece
from morag.domain.errors import ChecksumDiffers, Conflict, NotFound, OffsetDiffers
from morag.storage.incoming import disk_full_told
from morag.storage.sizes import too_large

BLOCK_BYTES = 1024**2
AT_ONCE = 4
"""Unfinished uploads of one owner at most."""

_OWNER = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ID = re.compile(r"[0-9a-f]{32}")


class PartialUploads:
    """Uploads of owners, whose names are `[A-Za-z0-9._-]`. Every call names the owner and touches its uploads only."""

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        """Keep them in `root`, which is made if need be."""
        self._root = root
        self._max_bytes = max_bytes
        self._busy: set[str] = set()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def create(self, owner: str, length: int) -> str:
        """Begin one; its id. Raises TooLarge, Conflict for more than AT_ONCE, StorageFull."""
        if length > self._max_bytes:
            raise too_large(self._max_bytes)
        return await asyncio.to_thread(self._create, _checked(owner), length)

    async def progress(self, owner: str, upload_id: str) -> tuple[int, int]:
        """(bytes so far, bytes in all). Raises NotFound."""
        return await asyncio.to_thread(self._progress, owner, upload_id)

    async def append(self, owner: str, upload_id: str, piece: Piece, chunks: AsyncIterator[bytes]) -> int:
        """Add what comes, as far as it comes; the offset afterwards, durable.

        With a checksum the piece counts whole or not at all. Raises NotFound, OffsetDiffers, ChecksumDiffers, TooLarge
        for more than was announced, StorageFull, and Conflict while another request appends.
        """
        path = self._path(owner, upload_id)
        if path.name in self._busy:
            raise Conflict("Another request adds to this upload.", code="upload_busy", hint="Try again in a moment.")
        self._busy.add(path.name)
        try:
            return await self._append(owner, upload_id, piece, chunks)
        finally:
            self._busy.discard(path.name)

    async def finished(self, owner: str, upload_id: str) -> Path:
        """The file of an upload that is whole. Raises NotFound, Conflict."""
        offset, length = await self.progress(owner, upload_id)
        if offset < length:
            raise OffsetDiffers(offset)
        return self._path(owner, upload_id)

    async def drop(self, owner: str) -> None:
        """Delete all uploads of an owner."""
        await asyncio.to_thread(self._drop, _checked(owner))

    async def sweep(self, *, older_than_s: float = 86_400.0) -> int:
        """Delete uploads nothing was added to for so long; how many."""
        return await asyncio.to_thread(self._sweep, time.time() - older_than_s)

    async def _append(self, owner: str, upload_id: str, piece: Piece, chunks: AsyncIterator[bytes]) -> int:
        offset, length = await self.progress(owner, upload_id)
        if piece.offset != offset:
            raise OffsetDiffers(offset)
        path = self._path(owner, upload_id)
        digest = hashlib.new(piece.checksum[0], usedforsecurity=False) if piece.checksum else None
        end, is_right = offset, piece.checksum is None
        try:
            async for chunk in chunks:
                if end + len(chunk) > length:
                    raise too_large(length)
                await asyncio.to_thread(_write, path, end, chunk)
                end += len(chunk)
                if digest:
                    digest.update(chunk)
            is_right = digest is None or piece.checksum is None or digest.digest() == piece.checksum[1]
        finally:
            # what a cut connection brought without a checksum counts; a piece that is to be checked counts whole
            await asyncio.shield(asyncio.to_thread(_truncate, path, end if is_right else offset))
        if not is_right:
            raise ChecksumDiffers("The bytes that came are not those that were sent.", hint="Send the piece again.")
        return end

    def _create(self, owner: str, length: int) -> str:
        if len(list(self._root.glob(f"{owner}~*.length"))) >= AT_ONCE:
            raise Conflict("There are too many unfinished uploads.", code="too_many_uploads", hint="Finish one first.")
        upload_id = uuid.uuid4().hex
        path = self._path(owner, upload_id)
        with disk_full_told():
            path.touch(mode=0o600)
            _beside(path).write_text(str(length))
        return upload_id

    def _progress(self, owner: str, upload_id: str) -> tuple[int, int]:
        path = self._path(owner, upload_id)
        try:
            return path.stat().st_size, int(_beside(path).read_text())
        except (FileNotFoundError, ValueError):
            raise _no_such_upload() from None

    def _drop(self, owner: str) -> None:
        for path in self._root.glob(f"{owner}~*"):
            path.unlink(missing_ok=True)

    def _sweep(self, before: float) -> int:
        dropped = 0
        for told in self._root.glob("*.length"):
            path = told.with_name(told.name.removesuffix(".length"))
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime >= before or path.name in self._busy:
                    continue
            path.unlink(missing_ok=True)
            told.unlink(missing_ok=True)
            dropped += 1
        return dropped

    def _path(self, owner: str, upload_id: str) -> Path:
        if not _ID.fullmatch(upload_id) or not _OWNER.fullmatch(owner):
            raise _no_such_upload()
        return self._root / f"{owner}~{upload_id}"


def _write(path: Path, offset: int, block: bytes) -> None:
    with disk_full_told(), path.open("r+b") as file:
        file.seek(offset)
        file.write(block)


def _truncate(path: Path, size: int) -> None:
    """Cut to `size` and make it durable."""
    with contextlib.suppress(FileNotFoundError), disk_full_told(), path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def _checked(owner: str) -> str:
    if not _OWNER.fullmatch(owner):
        raise _no_such_upload()
    return owner


def _no_such_upload() -> NotFound:
    return NotFound("There is no such upload.", hint="Begin a new one.")


def _beside(path: Path) -> Path:
    """Where the length of an upload stands: names hold dots, so no suffix is replaced."""
    return path.with_name(f"{path.name}.length")
