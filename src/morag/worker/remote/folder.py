"""The folder of one worker: who it is, what it could not deliver yet, and room to work in; one process at a time."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from morag.domain.errors import StartupError
from morag.worker.remote.spool import write_durably


class WorkerFolder:
    """Where a worker keeps things."""

    def __init__(self, path: Path) -> None:
        """Use `path`, which is made if need be. Raises StartupError."""
        self._path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error) from None
        self.spool = path / "spool"
        self.incoming = path / "incoming"
        self.work = path / "work"

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep other workers out. Raises StartupError if one is in."""
        try:
            lock = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unusable(self._path, error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise StartupError(
                f"Another worker runs with the folder {self._path}.",
                code="folder_in_use",
                hint="Give each worker a folder of its own with --data-dir.",
            ) from None
        try:
            yield
        finally:
            os.close(lock)

    def instance_id(self) -> str:
        """The same at each start, so that the server knows the machine again. Raises StartupError."""
        path = self._path / "instance_id"
        try:
            if path.exists() and (known := path.read_text(encoding="ascii", errors="replace").strip()).isalnum():
                return known[:128]
            fresh = uuid4().hex
            write_durably(path, fresh.encode())
        except OSError as error:
            raise _unusable(self._path, error) from None
        return fresh


def _unusable(path: Path, error: OSError) -> StartupError:
    return StartupError(
        f"The folder {path} cannot be used: {(error.strerror or 'unknown reason').lower()}.",
        code="bad_folder",
        hint="Name a folder that you own, or may make, with --data-dir.",
    )
