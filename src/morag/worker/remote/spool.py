"""Results on disk until the server has them: what was converted once is not lost to a cut line or a restart.

folder/{name}.json       what is to be delivered, written last: without it the document counts as never made
folder/{name}.document   the document as JSON, for a conversion that succeeded
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from morag.protocol import FailAttempt


class Parcel(BaseModel):
    """The outcome of one attempt: a document in the spool, or a failure."""

    attempt_id: str
    fence: int
    name: str
    """For people: the file's name."""
    processing_s: float = 0.0
    upload_id: str | None = None
    """Of an upload that was begun, so that it goes on where it was."""
    failure: FailAttempt | None = None


class Spool:
    """The parcels of one machine. Blocking: call it in a thread."""

    def __init__(self, folder: Path) -> None:
        """Keep them in `folder`, which is made if need be."""
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, parcel: Parcel, document: bytes | None = None) -> None:
        """Store, durable when it returns; again to note an upload. Raises OSError."""
        if document is not None:
            write_durably(self.document(parcel.attempt_id), document)
        write_durably(self._path(parcel.attempt_id, ".json"), parcel.model_dump_json().encode())

    def document(self, attempt_id: str) -> Path:
        """The file of an attempt's document."""
        return self._path(attempt_id, ".document")

    def drop(self, attempt_id: str) -> None:
        """Forget an attempt's parcel, if there is one."""
        self._path(attempt_id, ".json").unlink(missing_ok=True)
        self.document(attempt_id).unlink(missing_ok=True)

    def parcels(self) -> list[Parcel]:
        """What is to be delivered, oldest first; what was only half written is cleared away."""
        found: list[Parcel] = []
        for path in sorted(self._folder.glob("*.json"), key=lambda each: each.stat().st_mtime):
            with suppress(ValidationError):
                found.append(Parcel.model_validate_json(path.read_bytes()))
        whole = {self._path(parcel.attempt_id, suffix) for parcel in found for suffix in (".json", ".document")}
        for path in set(self._folder.iterdir()) - whole:
            path.unlink()
        return found

    def _path(self, attempt_id: str, suffix: str) -> Path:
        return self._folder / (file_name(attempt_id) + suffix)


def file_name(attempt_id: str) -> str:
    """A name for files of an attempt: what the server calls it is none."""
    return hashlib.sha256(attempt_id.encode()).hexdigest()[:32]


def write_durably(path: Path, content: bytes) -> None:
    """The whole content or nothing, on the disk when it returns. Raises OSError, and leaves nothing half done."""
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
