"""What becomes of an application's task after a failed attempt. Pure.

Unlike conversions, whose failures say what to do (`control.failover`), these follow the number their author gave.
"""

from dataclasses import replace

from morag.control.tasks.definitions import Definition
from morag.domain.failure import Alternative, Decision, Failure, FailureType, Strategy
from morag.domain.task import Failed, Retried, Task, TimedOut
from morag.domain.transitions import worn_out

MAX_DELAY_S = 300.0


def decide(failure: Failure, task: Task, definition: Definition, *, jitter: float) -> Failed | TimedOut | Retried:
    """Try again with twice the delay, or end it. `jitter`, 0 to 1: half the delay is fixed, half is drawn.

    What was lost with its process is no failure of the function: it runs again at once, as after the death of a server.
    """
    if failure.type is FailureType.WORKER_OFFLINE:
        return _lost(failure, task)
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


def _lost(failure: Failure, task: Task) -> Failed | Retried:
    losses, most = task.infrastructure_losses + 1, task.budget.infrastructure
    if losses > most:
        decision = _give_up(f"It was lost with its process {losses} times.")
        told = worn_out(replace(task, infrastructure_losses=losses))
        return Failed(failure=told, decision=decision, needs_attention=True)
    decision = Decision(strategy=Strategy.RETRY_SAME_WORKER, reason=f"Lost with its process, {losses} of {most} times.")
    return Retried(failure=failure, decision=decision, is_infrastructure=True)


def _give_up(reason: str) -> Decision:
    return Decision(strategy=Strategy.MANUAL_INTERVENTION, reason=reason)
