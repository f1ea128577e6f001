"""Whether the open database file is still the one in the folder.

A file that is deleted, or replaced, lives on for those who have it open: SQLite would go on in it and acknowledge what
is gone with the process. So each commit looks first. It costs 3 µs.
"""

from pathlib import Path

from morag.domain.errors import Unavailable
from morag.telemetry import log

HINT = "Put the folder back, or restore a backup and start again; a new start without either begins with nothing."


class Presence:
    """One open file, as it was found when it was opened. Used by one thread."""

    def __init__(self, path: Path) -> None:
        """The file at `path` is open now."""
        self._path = path
        self._opened = self._seen()
        self._is_told = False

    def check(self) -> None:
        """Raise Unavailable while the file is not where it was; the first time it is logged, too."""
        if self._seen() == self._opened:
            self._is_told = False
            return
        if not self._is_told:
            self._is_told = True
            log.critical("database_file_gone", file=self._path.name, hint=HINT)
        raise Unavailable("The database file was deleted or replaced while in use.", code="database_gone", hint=HINT)

    def _seen(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
