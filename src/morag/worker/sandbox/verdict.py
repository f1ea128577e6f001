"""How a conversion ended, in the vocabulary of failures: pure; decided from what the sandbox saw."""

import signal
from dataclasses import dataclass

from morag.domain.failure import Failure, FailureType
from morag.protocol import ChildFailed

OUT_OF_MEMORY = "child_out_of_memory"
SMALLER = "Try a smaller file, or give conversions more memory (MORAG_CHILD_MEMORY_BYTES)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A child is gone: its exit code, or the negative number of the signal that ended it."""

    returncode: int


def raised(answer: ChildFailed) -> Failure:
    """The converter raised, and the child said so."""
    if answer.code == OUT_OF_MEMORY:
        return out_of_memory(answer.signature)
    return Failure(
        type=FailureType.PROCESSING_ERROR,
        code=answer.code,
        message=answer.message,
        hint=answer.hint,
        is_final=answer.is_final,
        signature=answer.signature,
    )


def ended(end: Ended, *, kernel_killed: bool) -> Failure:
    """The child died; `kernel_killed` when the machine ran out of memory meanwhile."""
    if end.returncode == -signal.SIGKILL and kernel_killed:
        return out_of_memory("killed by the kernel")
    how = in_words(end.returncode)
    return Failure(
        type=FailureType.PROCESSING_ERROR,
        code="child_crashed",
        message=f"The conversion crashed: {how}.",
        hint="If it crashes again with this file, the file is likely what breaks the converter.",
        signature=how,
    )


def in_words(returncode: int) -> str:
    """An exit code or signal, for people."""
    if returncode >= 0:
        return f"its process ended by itself with exit code {returncode}"
    try:
        known = signal.Signals(-returncode)
    except ValueError:
        return f"its process was ended by signal {-returncode}"
    return f"its process was ended by {known.name} ({(signal.strsignal(known) or 'unknown').lower()})"


def out_of_memory(signature: str) -> Failure:
    """More memory than a conversion may have, or than there is."""
    return Failure(
        type=FailureType.RESOURCE_EXHAUSTION,
        code=OUT_OF_MEMORY,
        message="The conversion needed more memory than it may use.",
        hint=SMALLER,
        signature=signature,
    )


def out_of_disk() -> Failure:
    """More temporary files than a conversion may write."""
    return Failure(
        type=FailureType.RESOURCE_EXHAUSTION,
        code="child_out_of_disk",
        message="The conversion wrote more temporary files than it may.",
        hint="Try a smaller file.",
        signature="over its limit",
    )


def not_started(error: OSError) -> Failure:
    """The system refused a process, a folder or a copy of the input."""
    return Failure(
        type=FailureType.RESOURCE_EXHAUSTION,
        code="child_not_started",
        message=f"The conversion could not be started: {(error.strerror or 'unknown reason').lower()}.",
        hint="Look at free disk space and the number of processes on the machine.",
        signature=f"errno {error.errno}",
    )


def too_slow(timeout_s: float) -> Failure:
    """The running time is over."""
    return Failure(
        type=FailureType.TASK_TIMEOUT,
        code="task_timeout",
        message=f"The conversion was stopped after {timeout_s:g} seconds, the longest it may run.",
        hint="Try a smaller file, or allow more time.",
    )


def silent(stall_s: float, stage: str | None) -> Failure:
    """It runs and gets nowhere."""
    return Failure(
        type=FailureType.TASK_TIMEOUT,
        code="no_progress",
        message=f"The conversion was stopped because it made no progress for {stall_s:g} seconds.",
        hint="If it stops again at the same place, the file is likely what holds the converter up.",
        stage=stage,
    )


def bad_result(message: str) -> Failure:
    """What the child delivered is not a document."""
    return Failure(
        type=FailureType.PROCESSING_ERROR,
        code="bad_result",
        message=message,
        hint="Try again; if it happens again, report the kind of file.",
        signature="bad_result",
    )
