"""How a function's attempt failed, in the vocabulary of failures."""

import signal
from typing import Any

from morag.control.failover.classify import classify
from morag.domain.errors import StorageFull, Unavailable
from morag.domain.failure import AttemptFailed, Failure, FailureType


def failure_of(error: Exception) -> Failure:
    """What a failed attempt is told as: errors of the function in its own words."""
    if isinstance(error, AttemptFailed | MemoryError | StorageFull | Unavailable):
        return classify(error)
    return raised(type(error).__name__, str(error), signature=classify(error).signature)


def raised(kind: str, message: str, *, signature: str | None) -> Failure:
    """The function raised."""
    return Failure(
        type=FailureType.PROCESSING_ERROR,
        code="task_raised",
        message=f"{kind}: {message}"[:2000] if message else kind,
        signature=signature,
    )


def ended(error: BaseException) -> Failure:
    """The function tried to end the process, or its own task."""
    return Failure(
        type=FailureType.PROCESSING_ERROR,
        code="task_ended",
        message=f"The task ended with {error!r}.",
        hint="Return from the task, or raise an Exception.",
    )


def did_not_park(what: str) -> Failure:
    """The function went on after it was told that its children have not ended."""
    return Failure(
        type=FailureType.PROCESSING_ERROR,
        code="wait_for_caught",
        message=f"ctx.wait_for was to end this run, so that the children can run, but the task {what}"[:2000],
        hint="Do not catch BaseException around ctx.wait_for, and call it in the task's own thread.",
        is_final=True,
    )


def too_slow(timeout_s: float) -> Failure:
    """The running time is over."""
    return Failure(
        type=FailureType.TASK_TIMEOUT,
        code="timeout",
        message=f"The task was stopped after {timeout_s:g} s, the longest it may run.",
        hint="Give it a longer timeout_s, or less to do.",
    )


def slow_start(limit_s: float) -> Failure:
    """Its module does too much when imported."""
    return Failure(
        type=FailureType.TASK_TIMEOUT,
        code="slow_start",
        message=f"The module of the task was not loaded within {limit_s:g} s.",
        hint="Let the module do its work in functions, not when it is imported.",
    )


def told(answer: dict[str, Any]) -> Failure:
    """What a child said."""
    kind = FailureType.RESOURCE_EXHAUSTION if answer["code"] == "out_of_memory" else FailureType.PROCESSING_ERROR
    return Failure(type=kind, **answer)


def died(returncode: int, *, by_kernel: bool) -> Failure:
    """The child is gone; `by_kernel` when the machine ran out of memory meanwhile.

    A SIGKILL that neither the kernel sent nor we says nothing of the function: somebody took its process away.
    """
    from morag.worker.sandbox.verdict import in_words  # noqa: PLC0415 - loads pydantic, for the rare case

    if returncode == -signal.SIGKILL and by_kernel:
        return out_of_memory("killed by the kernel")
    how = in_words(returncode)
    if returncode == -signal.SIGKILL:
        return Failure(
            type=FailureType.WORKER_OFFLINE,
            code="child_killed",
            message=f"The task was lost with its process: {how}.",
            hint="It runs again by itself, whatever its retries.",
            signature=how,
        )
    return Failure(
        type=FailureType.PROCESSING_ERROR,
        code="child_died",
        message=f"The task did not return: {how}.",
        hint="Look for os._exit, or a crash in a library written in C.",
        signature=how,
    )


def out_of_memory(signature: str) -> Failure:
    """More memory than it may have, or than there is."""
    return Failure(
        type=FailureType.RESOURCE_EXHAUSTION,
        code="out_of_memory",
        message="The task needed more memory than it may use.",
        hint="Let it hold less at once, or raise MORAG_CHILD_MEMORY_BYTES.",
        is_final=True,
        signature=signature,
    )


def not_started(error: OSError) -> Failure:
    """The system refused a process."""
    return Failure(
        type=FailureType.RESOURCE_EXHAUSTION,
        code="child_not_started",
        message=f"The child process could not be started: {(error.strerror or 'unknown reason').lower()}.",
        hint="Look at the memory and the number of processes of the machine.",
    )
