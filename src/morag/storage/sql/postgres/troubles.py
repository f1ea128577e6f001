"""What the server's errors mean for an act: to be run again, or an error that a caller knows."""

from morag.domain.errors import MoragError, StartupError, StorageFull, Unavailable

_TAKEN = "23505"
"""unique_violation: another transaction was quicker; run again, the act sees what that made."""
_OVERTAKEN = {"40001", "40P01", _TAKEN}
"""serialization_failure, deadlock_detected."""
_BUSY = {"55P03", "57014", "53000", "53200", "53400"}
_FULL = {"53100"}
_GONE = {"57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "53300"}
_STARTUP = {
    "28000": ("The database server does not let us in.", "database_refused"),
    "28P01": ("The database server does not accept the password.", "database_refused"),
    "3D000": ("There is no database of that name on the server.", "database_missing"),
    "42501": ("The database user may not create the schema.", "database_refused"),
}


def is_overtaken(error: Exception) -> bool:
    """Whether another transaction got in the way: run the act again from its beginning."""
    return _state(error) in _OVERTAKEN


def is_lost(error: Exception) -> bool:
    """Whether the connection is no longer of use, or there is none."""
    state = _state(error)
    if state is not None:
        return state in _GONE or state.startswith("08")
    # what the driver itself says is that the connection is closed or out of step; a wrong value is a ValueError
    is_drivers_own = type(error).__module__.partition(".")[0] == "asyncpg"
    return isinstance(error, OSError) or (is_drivers_own and not isinstance(error, ValueError))


def told(error: Exception) -> Exception:
    """The error as a caller of the store knows it."""
    state = _state(error)
    if state in _FULL:
        return StorageFull("The disk of the database is full.", hint="Free some space; the request can be repeated.")
    if state in _BUSY or (is_overtaken(error) and state != _TAKEN):
        return Unavailable("The database is busy.", hint="Try again in a moment.")
    if is_lost(error):
        return Unavailable("The database cannot be reached.", hint="Try again in a moment.")
    return error


def told_at_start(error: Exception) -> Exception:
    """The error as one of the start, with what to change."""
    if isinstance(error, MoragError):
        return error
    known = _STARTUP.get(_state(error) or "")
    if known:
        return StartupError(known[0], code=known[1], hint="Check DATABASE_URL and the rights of its user.")
    if is_lost(error):
        hint = "Check DATABASE_URL, and that the server runs and takes connections from here."
        return StartupError("The database server cannot be reached.", code="database_unreachable", hint=hint)
    return error


def _state(error: Exception) -> str | None:
    found = getattr(error, "sqlstate", None)
    return found if isinstance(found, str) else None
