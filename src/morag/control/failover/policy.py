"""Second half of failover, pure: from a failure and what was tried before, to what is done now.

Conversions on the server's own lane have one place to run, so of the strategies only trying again and giving up apply.
"""

from morag.domain.failure import Alternative, Decision, Failure, FailureType, Strategy
from morag.domain.task import Failed, Retried, Task, TimedOut

SAME_ERROR_TRIES = 2
"""A converter that raises twice on the same input is taken to be right: the document is at fault."""

BASE_DELAY_S = 2.0
MAX_DELAY_S = 300.0

_DISK = frozenset({"disk_full", "disk_low", "worker_disk_full", "result_lost"})
"""Codes of what passes once there is room, or on another machine."""


def decide(failure: Failure, task: Task, *, jitter: float) -> Failed | TimedOut | Retried:
    """What becomes of the task. `jitter`, 0 to 1, spreads retries: half the delay is fixed, half is drawn."""
    if failure.is_final:
        return Failed(
            failure=failure, decision=_give_up("The input or the request is at fault; trying again cannot help.")
        )
    tries = task.processing_failures + 1
    match failure.type:
        case FailureType.TASK_TIMEOUT:
            decision = _give_up("It used all the running time it may.", no_retry="It would take as long again.")
            return TimedOut(failure=failure, decision=decision, needs_attention=True)
        case FailureType.RESOURCE_EXHAUSTION if failure.code not in _DISK:
            decision = _give_up(
                "It needs more memory than one conversion may use.", no_retry="It would need as much again."
            )
            return Failed(failure=failure, decision=decision, needs_attention=True)
        case FailureType.PROCESSING_ERROR:
            limit = min(SAME_ERROR_TRIES, task.budget.processing)
        case _:
            limit = task.budget.processing
    if tries >= limit:
        decision = _give_up(f"It failed {tries} times.", no_retry="The tries for this kind of failure are used up.")
        return Failed(failure=failure, decision=decision, needs_attention=True)
    return Retried(failure=failure, decision=_again(failure, tries, limit, jitter))


def _again(failure: Failure, tries: int, limit: int, jitter: float) -> Decision:
    delay_s = min(BASE_DELAY_S * 2 ** (tries - 1), MAX_DELAY_S)
    return Decision(
        strategy=Strategy.RETRY_SAME_WORKER,
        reason=f"{failure.type} may pass; try {tries + 1} of {limit}.",
        delay_s=round(delay_s * (0.5 + 0.5 * jitter), 3),
        alternatives=(Alternative(strategy=Strategy.MANUAL_INTERVENTION, why_not="There are tries left."),),
    )


def _give_up(reason: str, *, no_retry: str | None = None) -> Decision:
    why_not = no_retry or "It would fail again."
    return Decision(
        strategy=Strategy.MANUAL_INTERVENTION,
        reason=reason,
        alternatives=(Alternative(strategy=Strategy.RETRY_SAME_WORKER, why_not=why_not),),
    )
