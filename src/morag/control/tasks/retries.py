"""What becomes of an application's task after a failed attempt. Pure.

Unlike conversions, whose failures say what to do (`control.failover`), these follow the number their author gave.
"""

from morag.control.tasks.definitions import Definition
from morag.domain.failure import Alternative, Decision, Failure, FailureType, Strategy
from morag.domain.task import Failed, Retried, Task, TimedOut

MAX_DELAY_S = 300.0


def decide(failure: Failure, task: Task, definition: Definition, *, jitter: float) -> Failed | TimedOut | Retried:
    """Try again with twice the delay, or end it. `jitter`, 0 to 1: half the delay is fixed, half is drawn."""
    tries = task.processing_failures + 1
    if failure.is_final:
        return Failed(failure=failure, decision=_give_up("Trying again cannot help."))
    if tries <= definition.retries:
        delay_s = min(definition.backoff_s * 2 ** (tries - 1), MAX_DELAY_S) * (0.5 + 0.5 * jitter)
        return Retried(
            failure=failure,
            decision=Decision(
                strategy=Strategy.RETRY_SAME_WORKER,
                reason=f"Retry {tries} of {definition.retries}.",
                delay_s=round(delay_s, 3),
                alternatives=(Alternative(strategy=Strategy.MANUAL_INTERVENTION, why_not="There are retries left."),),
            ),
        )
    decision = _give_up(f"It failed {tries} times, and has {definition.retries} retries.")
    outcome = TimedOut if failure.type is FailureType.TASK_TIMEOUT else Failed
    return outcome(failure=failure, decision=decision, needs_attention=definition.retries > 0)


def _give_up(reason: str) -> Decision:
    return Decision(strategy=Strategy.MANUAL_INTERVENTION, reason=reason)
