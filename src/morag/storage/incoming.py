"""A blob on its way in: a temporary file, hashed as it is written, that becomes a blob by one rename or vanishes."""

import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from morag.domain.errors import StorageFull


class Incoming:
    """One file being written. Blocking; a discard from another thread waits for the act under way and ends the rest.

    So a request that is cancelled in the middle of a write leaves nothing behind, and never closes a descriptor another
    thread still writes to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._is_over = False
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """The digest of what was written so far, hexadecimal."""
        return self._hash.hexdigest()

    def write(self, block: bytes | bytearray) -> None:
        """Append. Raises StorageFull when the disk is full to the last."""
        with self._lock, disk_full_told():
            self._opened().write(block)
            self._hash.update(block)
            self.size_bytes += len(block)

    def move_to(self, place: Path) -> None:
        """Make the file durable and read-only under its own name; one that stands there is replaced by its equal."""
        with self._lock, disk_full_told():
            file = self._opened()
            file.flush()
            os.fchmod(file.fileno(), 0o444)
            os.fsync(file.fileno())
            if self._path is not None:
                self._path.rename(place)
            self._path = None
            sync_folder(place.parent)

    def discard(self) -> None:
        """Close, and remove what was not moved; may be called at any time, more than once."""
        with self._lock:
            self._is_over = True
            if self._path is not None:
                self._path.unlink(missing_ok=True)
            if self._file is not None:
                self._file.close()

    def _opened(self) -> BinaryIO:
        if self._is_over:
            raise ValueError("the upload was given up")
        if self._file is None:
            descriptor, name = tempfile.mkstemp(dir=self._folder)
            self._path = Path(name)
            self._file = os.fdopen(descriptor, "wb")
        return self._file


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_full_told() -> Generator[None]:
    """Tell a full disk or an exhausted quota as StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StorageFull("The disk of the server is full.", hint="The operator frees space; then try again.") from None
