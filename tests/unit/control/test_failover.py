"""Classify and decide: pure, so a table of cases is the whole story."""

import errno

import pytest

from morag.control.failover.classify import classify
from morag.control.failover.policy import decide
from morag.domain.errors import ConversionError, FetchFailed, FetchRefused, NotFound, StorageFull, TooLarge, Unavailable
from morag.domain.failure import AttemptFailed, Failure, FailureType, Strategy
from morag.domain.task import Budget, Failed, Priority, Retried, Routing, Task, TaskState, TimedOut


def task(*, failures: int = 0, budget: Budget = Budget()) -> Task:  # noqa: B008 - a frozen record
    return Task(
        id="t",
        namespace="morag",
        name="convert",
        user_id="u",
        state=TaskState.RUNNING,
        args={},
        options={},
        routing=Routing(),
        priority=Priority.NORMAL,
        budget=budget,
        timeout_s=None,
        parent_id=None,
        step=None,
        open_children=0,
        retry_of=None,
        batch_id=None,
        needs_attention=False,
        created_at=0,
        ready_at=0,
        started_at=0,
        finished_at=None,
        attempt=failures + 1,
        fence=1,
        processing_failures=failures,
        infrastructure_losses=0,
        worker_id="w",
        progress=None,
        result=None,
        result_blob=None,
        failure=None,
    )


def failure(kind: FailureType, *, is_final: bool = False, code: str = "c") -> Failure:
    return Failure(type=kind, code=code, message="m", is_final=is_final)


@pytest.mark.parametrize(
    ("error", "kind", "code", "is_final"),
    [
        (ConversionError("m", code="broken_file"), FailureType.PROCESSING_ERROR, "broken_file", True),
        (FetchRefused("m"), FailureType.PROCESSING_ERROR, "url_not_allowed", True),
        (FetchFailed("m"), FailureType.PROCESSING_ERROR, "fetch_failed", True),
        (FetchFailed("m", is_temporary=True), FailureType.NETWORK_FAILURE, "fetch_failed", False),
        (TooLarge("m"), FailureType.PROCESSING_ERROR, "too_large", True),
        (Unavailable("m", code="later"), FailureType.WORKER_OVERLOADED, "later", False),
        (NotFound("m"), FailureType.PROCESSING_ERROR, "not_found", True),
        (StorageFull("m"), FailureType.RESOURCE_EXHAUSTION, "disk_low", False),
        (TimeoutError(), FailureType.TASK_TIMEOUT, "task_timeout", False),
        (MemoryError(), FailureType.RESOURCE_EXHAUSTION, "out_of_memory", False),
        (OSError(errno.ENOSPC, "full"), FailureType.RESOURCE_EXHAUSTION, "disk_full", False),
        (OSError(errno.EACCES, "no"), FailureType.PROCESSING_ERROR, "internal_error", False),
        (KeyError("x"), FailureType.PROCESSING_ERROR, "internal_error", False),
    ],
)
def test_each_exception_is_one_kind_of_failure(
    error: Exception, kind: FailureType, code: str, *, is_final: bool
) -> None:
    found = classify(error)
    assert (found.type, found.code, found.is_final) == (kind, code, is_final)


@pytest.mark.parametrize("error", [StorageFull("m"), OSError(errno.ENOSPC, "full")])
def test_a_low_disk_may_pass(error: Exception) -> None:
    assert isinstance(decide(classify(error), task(failures=0), jitter=0.5), Retried)


def test_an_unexpected_exception_keeps_its_words_to_itself() -> None:
    assert "secret" not in classify(KeyError("secret of /srv/data")).message


def test_a_classified_failure_passes_as_it_is() -> None:
    known = failure(FailureType.TASK_TIMEOUT)
    assert classify(AttemptFailed(known)) is known


def test_input_at_fault_fails_at_once_and_needs_nobody() -> None:
    outcome = decide(failure(FailureType.PROCESSING_ERROR, is_final=True), task(), jitter=0)
    assert isinstance(outcome, Failed)
    assert not outcome.needs_attention


def test_a_converter_that_raises_is_tried_twice() -> None:
    crash = failure(FailureType.PROCESSING_ERROR)
    assert isinstance(decide(crash, task(), jitter=0), Retried)
    second = decide(crash, task(failures=1), jitter=0)
    assert isinstance(second, Failed)
    assert second.needs_attention


def test_a_network_failure_is_tried_as_often_as_the_budget_says() -> None:
    broken = failure(FailureType.NETWORK_FAILURE)
    outcomes = [type(decide(broken, task(failures=n), jitter=0)) for n in range(3)]
    assert outcomes == [Retried, Retried, Failed]
    assert isinstance(decide(broken, task(budget=Budget(processing=1)), jitter=0), Failed)


def test_delays_double_and_half_of_each_is_drawn() -> None:
    broken = failure(FailureType.NETWORK_FAILURE)
    first, second = (decide(broken, task(failures=n), jitter=1.0) for n in range(2))
    least = decide(broken, task(), jitter=0.0)
    assert isinstance(first, Retried)
    assert isinstance(second, Retried)
    assert isinstance(least, Retried)
    assert (least.decision.delay_s, first.decision.delay_s, second.decision.delay_s) == (1.0, 2.0, 4.0)


def test_running_out_of_time_ends_as_timeout() -> None:
    assert isinstance(decide(failure(FailureType.TASK_TIMEOUT), task(), jitter=0), TimedOut)


def test_running_out_of_memory_fails_but_a_full_disk_waits() -> None:
    kind = FailureType.RESOURCE_EXHAUSTION
    assert isinstance(decide(failure(kind, code="child_out_of_memory"), task(), jitter=0), Failed)
    assert isinstance(decide(failure(kind, code="disk_full"), task(), jitter=0), Retried)
    assert isinstance(decide(failure(kind, code="worker_disk_full"), task(), jitter=0), Retried)


@pytest.mark.parametrize("kind", list(FailureType))
@pytest.mark.parametrize("failures", [0, 1, 2, 5])
def test_every_decision_says_why_and_what_it_was_not(kind: FailureType, failures: int) -> None:
    decision = decide(failure(kind), task(failures=failures), jitter=0.5).decision
    assert decision.reason
    assert decision.alternatives
    assert decision.strategy in Strategy
    assert decision.strategy not in {each.strategy for each in decision.alternatives}
