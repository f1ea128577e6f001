"""What SQLite's errors mean for who asked: an error a caller knows, or a bug of ours, which stays what it is."""

import apsw

from morag.domain.errors import StorageFull, Unavailable

_DISK = (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, apsw.ProtocolError)
_DAMAGED = (apsw.CorruptError, apsw.NotADBError)
_BUSY = (apsw.BusyError, apsw.LockedError)


def told(error: Exception) -> Exception:
    """The error as a caller of the store knows it."""
    if isinstance(error, apsw.FullError):
        return StorageFull("The disk is full.", hint="Free some space; the request can then be repeated.")
    if isinstance(error, _BUSY):
        return Unavailable("The database is busy.", hint="Try again in a moment.")
    if isinstance(error, _DISK):
        hint = "Check the disk that holds the data folder, and who may write there."
        return Unavailable("The database file cannot be read or written.", hint=hint)
    if isinstance(error, _DAMAGED):
        hint = "Stop the server and restore a backup; until then nothing is stored."
        return Unavailable("The database file is damaged.", hint=hint)
    if isinstance(error, apsw.NoMemError | MemoryError):
        return Unavailable("There is not enough memory.", hint="Try again when other work has ended.")
    return error
