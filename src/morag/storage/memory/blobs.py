"""Blobs in memory, gone with the process (`control.ports.BlobStore`)."""

import hashlib

from morag.domain.errors import NotFound


class MemoryBlobStore:
    """Bytes by their SHA-256."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    async def put(self, content: bytes) -> str:
        """Keep; the digest."""
        sha256 = hashlib.sha256(content).hexdigest()
        self._blobs[sha256] = content
        return sha256

    async def get(self, sha256: str) -> bytes:
        """All bytes of a blob. Raises NotFound."""
        try:
            return self._blobs[sha256]
        except KeyError:
            raise NotFound("There is no such content.") from None
