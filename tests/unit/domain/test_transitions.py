"""The rules all stores share, as plain values."""

from dataclasses import replace

import pytest

from morag.domain.failure import Decision, Failure, FailureType, Strategy
from morag.domain.task import Answer, Budget, Completed, Failed, NewTask, Offers, Parked, Priority, Retried, TaskState
from morag.domain.transitions import (
    LAST_RANK,
    Standing,
    check_inline,
    digest,
    is_offered,
    opened,
    rank,
    refused,
    resumed,
    steps,
    waits_until,
)

FAILURE = Failure(type=FailureType.PROCESSING_ERROR, code="broken_file", message="It is broken.")
DECISION = Decision(strategy=Strategy.RETRY_SAME_WORKER, reason="it may help")


def child(step: str | None) -> NewTask:
    return NewTask(id=f"id-{step}", namespace="test", name="work", user_id="ada", step=step)


def test_standing_outranks_every_priority() -> None:
    ranks = [rank(standing, priority) for standing in Standing for priority in sorted(Priority, reverse=True)]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)
    assert all(ranked < LAST_RANK for ranked in ranks)


@pytest.mark.parametrize("priority", list(Priority))
def test_resumed_task_keeps_its_priority_among_the_resumed(priority: Priority) -> None:
    for standing in Standing:
        assert resumed(rank(standing, priority)) == rank(Standing.RESUMED, priority)


def test_digests_tell_outcomes_apart_and_equal_ones_not() -> None:
    outcomes = [
        Completed(result=None),
        Completed(result={"a": 1, "b": 2}),
        Completed(result=None, result_blob="b"),
        Failed(failure=FAILURE, decision=DECISION),
        Retried(failure=FAILURE, decision=DECISION),
        Parked(children=(child("one"),)),
    ]
    assert len({digest(outcome) for outcome in outcomes}) == len(outcomes)
    assert digest(Completed(result={"b": 2, "a": 1})) == digest(outcomes[1])


def test_parks_for_the_same_steps_are_equal_whatever_the_ids() -> None:
    other = NewTask(id="other", namespace="test", name="work", user_id="ada", step="one")
    assert digest(Parked(children=(child("one"),))) == digest(Parked(children=(other,)))


@pytest.mark.parametrize("wrong", [("one", "one"), ("one", None), (None,), ("",)])
def test_each_child_needs_a_step_of_its_own(wrong: tuple[str | None, ...]) -> None:
    with pytest.raises(ValueError, match="step"):
        steps([child(step) for step in wrong])


def test_size_limit_of_results_counts_bytes_of_utf_8() -> None:
    check_inline(Completed(result="ü" * (128 * 1024 - 1)))
    with pytest.raises(ValueError, match="blob"):
        check_inline(Completed(result="ü" * (128 * 1024)))


def test_task_without_content_type_is_not_on_offer_to_who_names_some() -> None:
    assert is_offered(Offers(namespace="test"), "convert", "")
    assert not is_offered(Offers(namespace="test", content_types=frozenset({"audio"})), "convert", "")
    assert is_offered(Offers(namespace="test", content_types=frozenset({"audio"})), "convert", "audio")


def test_fresh_task_is_due_only_if_its_waiting_is_limited() -> None:
    task = opened(child("one"), user_id="ada", parent_id=None, now=5.0, steady=7.0)
    assert waits_until(task, 7.0) is None
    assert waits_until(replace(task, budget=Budget(waiting_s=60.0)), 7.0) == 67.0


def test_refusal_says_duplicate_before_cancelled_before_lost() -> None:
    assert refused(TaskState.CANCELLED, is_known=True) is Answer.DUPLICATE
    assert refused(TaskState.CANCELLED) is Answer.CANCELLED
    assert refused(TaskState.RUNNING) is Answer.LOST
    assert refused(None) is Answer.LOST
