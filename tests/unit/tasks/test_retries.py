from dataclasses import replace

import pytest

from morag.control.tasks.definitions import Definition, Terms, define
from morag.control.tasks.retries import MAX_DELAY_S, decide
from morag.domain.failure import Failure, FailureType
from morag.domain.task import Failed, NewTask, Retried, Task, TimedOut
from morag.domain.transitions import opened

RAISED = Failure(type=FailureType.PROCESSING_ERROR, code="task_raised", message="ValueError")
SLOW = Failure(type=FailureType.TASK_TIMEOUT, code="timeout", message="slow")


def work() -> None:
    raise AssertionError("not called")


def definition(retries: int, backoff_s: float = 1.0) -> Definition:
    return define(work, Terms(retries=retries, backoff_s=backoff_s))


def after(failures: int) -> Task:
    new = NewTask(id="t", namespace="n", name="work", user_id="u")
    return replace(opened(new, user_id="u", parent_id=None, now=0.0, steady=0.0), processing_failures=failures)


def test_n_retries_are_n_plus_one_attempts() -> None:
    outcomes = [decide(RAISED, after(n), definition(2), jitter=0.5) for n in range(3)]
    assert [type(each) for each in outcomes] == [Retried, Retried, Failed]


def test_the_delay_doubles_and_half_of_it_is_drawn() -> None:
    def delay_s(failures: int, jitter: float) -> float:
        outcome = decide(RAISED, after(failures), definition(99, backoff_s=2.0), jitter=jitter)
        assert isinstance(outcome, Retried)
        return outcome.decision.delay_s

    assert [delay_s(n, 1.0) for n in range(3)] == [2.0, 4.0, 8.0]
    assert [delay_s(n, 0.0) for n in range(3)] == [1.0, 2.0, 4.0]
    assert delay_s(50, 1.0) == MAX_DELAY_S


@pytest.mark.parametrize(("failure", "outcome"), [(RAISED, Failed), (SLOW, TimedOut)])
def test_the_last_cause_names_the_end(failure: Failure, outcome: type[Failed | TimedOut]) -> None:
    assert type(decide(failure, after(0), definition(0), jitter=0.0)) is outcome


def test_what_cannot_help_is_not_tried() -> None:
    assert isinstance(decide(replace(RAISED, is_final=True), after(0), definition(5), jitter=0.0), Failed)


def test_what_was_lost_with_its_process_runs_again_at_once_whatever_its_retries() -> None:
    lost = Failure(type=FailureType.WORKER_OFFLINE, code="child_killed", message="killed")
    outcomes = [decide(lost, replace(after(0), infrastructure_losses=n), definition(0), jitter=1.0) for n in range(6)]
    for each in outcomes[:5]:
        assert isinstance(each, Retried)
        assert (each.is_infrastructure, each.decision.delay_s) == (True, 0.0)
    assert isinstance(outcomes[5], Failed)
    assert (outcomes[5].failure.code, "6 times" in outcomes[5].failure.message) == ("workers_lost", True)
