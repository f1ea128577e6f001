"""First half of failover, pure: what went wrong, as one of seven kinds."""

import errno
import traceback

from morag.domain.errors import (
    ConversionError,
    FetchError,
    FetchFailed,
    InvalidRequest,
    NotFound,
    StorageFull,
    TooLarge,
    Unavailable,
)
from morag.domain.failure import AttemptFailed, Failure, FailureType

_AT_FAULT = (ConversionError, FetchError, TooLarge, InvalidRequest, NotFound)
"""Errors that say the input or the request is at fault."""


def classify(error: Exception) -> Failure:
    """The failure behind an exception that ended an attempt."""
    if isinstance(error, AttemptFailed):
        return error.failure
    if isinstance(error, _AT_FAULT):
        is_temporary = isinstance(error, FetchFailed) and error.is_temporary
        return Failure(
            type=FailureType.NETWORK_FAILURE if is_temporary else FailureType.PROCESSING_ERROR,
            code=error.code,
            message=error.message,
            hint=error.hint,
            is_final=not is_temporary,
        )
    if isinstance(error, Unavailable):
        return Failure(type=FailureType.WORKER_OVERLOADED, code=error.code, message=error.message, hint=error.hint)
    if isinstance(error, StorageFull):
        return Failure(type=FailureType.RESOURCE_EXHAUSTION, code=error.code, message=error.message, hint=error.hint)
    kind, code, message = _server_side(error)
    return Failure(type=kind, code=code, message=message, signature=_signature(error))


def _server_side(error: Exception) -> tuple[FailureType, str, str]:
    match error:
        case TimeoutError():
            return FailureType.TASK_TIMEOUT, "task_timeout", "It took longer than it may."
        case MemoryError():
            return FailureType.RESOURCE_EXHAUSTION, "out_of_memory", "The memory did not suffice."
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return FailureType.RESOURCE_EXHAUSTION, "disk_full", "The server's disk is full."
        case _:
            message = f"An unexpected {type(error).__name__} in the server ended the attempt."
            return FailureType.PROCESSING_ERROR, "internal_error", message


def _signature(error: Exception) -> str:
    """Kind of error and the innermost place it came from; equal for equal errors."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].name}" if frames else "?"
    return f"{type(error).__name__}@{place}"
