"""A backup's folder and the files in it; the database copies itself (`sql/backup.py`), the index is built anew."""

import shutil
from pathlib import Path

from morag.domain.errors import InvalidRequest

_HINT = "Name a new folder."
_UNFINISHED = shutil.ignore_patterns("tmp", "moving")
"""What is on its way in, and the lock; nothing refers to either."""


def make_room(source: Path, destination: Path) -> None:
    """Make an empty folder for a backup of the data folder `source`. Raises InvalidRequest if that cannot be."""
    if destination.resolve().is_relative_to(source.resolve()):
        raise _refused(destination, "is in the data folder itself")
    try:
        destination.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_empty = not any(destination.iterdir())
    except OSError as error:
        raise _refused(destination, f"cannot be written: {error.strerror}") from None
    if not is_empty:
        raise _refused(destination, "is not empty")


def copy_blobs(source: Path, destination: Path) -> None:
    """Copy the files of a blob store that may be in use. Those that a sweep removes meanwhile are in no document."""

    def copy(path: str, target: str) -> None:
        try:
            shutil.copy2(path, target)
        except FileNotFoundError:
            if Path(path).exists():
                raise

    shutil.copytree(source, destination, ignore=_UNFINISHED, copy_function=copy)


def _refused(destination: Path, why: str) -> InvalidRequest:
    return InvalidRequest(f"{destination} {why}.", hint=_HINT, field="destination")
