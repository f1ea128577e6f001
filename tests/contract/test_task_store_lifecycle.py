"""A task's way from submit to its end, as its holder sees it."""

import pytest
from tests.contract.conftest import DECISION, FAILURE, LANE, LEASE_S, World

from morag.domain.failure import FailureType
from morag.domain.task import (
    Answer,
    Completed,
    Extension,
    Failed,
    Progress,
    TaskState,
    TimedOut,
)


async def test_submitted_task_is_pending_and_reads_back_as_submitted(world: World) -> None:
    new = world.new(args={"n": [1, None, "ü"]}, options={"ocr": True}, timeout_s=7.5, batch_id="b", retry_of="old")
    (task,) = await world.tasks.submit([new])
    assert task.state is TaskState.PENDING
    assert (task.args, task.options, task.timeout_s, task.batch_id, task.retry_of) == (
        new.args,
        new.options,
        7.5,
        "b",
        "old",
    )
    assert task.created_at == task.ready_at == world.clock.wall
    assert await world.read(new.id) == task


async def test_submit_rings_the_lane_and_the_task(world: World) -> None:
    task = await world.submit()
    assert world.bells.lanes == [LANE]
    assert task.id in world.bells.tasks


async def test_get_hides_tasks_of_other_users(world: World) -> None:
    task = await world.submit("ada")
    assert await world.tasks.get(task.id, user_id="ada") == task
    assert await world.tasks.get(task.id, user_id="eve") is None
    assert await world.tasks.get("unknown") is None


@pytest.mark.parametrize("result", [None, True, 0, 1.5, "text", [1, [2]], {"a": {"b": None}}, "\ud800"])
async def test_any_json_value_is_a_result(world: World, result: object) -> None:
    lease = await world.running()
    assert await world.complete(lease, result) is Answer.OK
    task = await world.read(lease.task.id)
    assert (task.state, task.result, task.finished_at) == (TaskState.COMPLETED, result, world.clock.wall)


async def test_result_over_256_kib_is_refused_and_changes_nothing(world: World) -> None:
    lease = await world.running()
    with pytest.raises(ValueError, match="blob"):
        await world.complete(lease, "x" * (256 * 1024))
    assert (await world.read(lease.task.id)).state is TaskState.RUNNING
    assert await world.complete(lease, "x" * (256 * 1024 - 2)) is Answer.OK


async def test_settling_twice_with_the_same_outcome_is_a_duplicate(world: World) -> None:
    lease = await world.running()
    assert await world.complete(lease, {"a": 1}) is Answer.OK
    assert await world.complete(lease, {"a": 1}) is Answer.DUPLICATE
    assert await world.complete(lease, {"a": 2}) is Answer.LOST
    assert (await world.read(lease.task.id)).result == {"a": 1}
    assert await world.states(lease.task.id) == ["pending", "running", "completed"]


async def test_retry_settled_twice_is_a_duplicate_also_after_the_next_grant(world: World) -> None:
    lease = await world.running()
    assert await world.retry(lease) is Answer.OK
    assert await world.retry(lease) is Answer.DUPLICATE
    (again,) = await world.claim()
    assert await world.retry(lease) is Answer.DUPLICATE
    assert (await world.read(lease.task.id)).fence == again.fence
    assert (await world.read(lease.task.id)).processing_failures == 1


async def test_failed_task_keeps_failure_decision_and_attention(world: World) -> None:
    lease = await world.running()
    outcome = Failed(failure=FAILURE, decision=DECISION, needs_attention=True)
    assert await world.tasks.settle(lease.task.id, lease.fence, outcome) is Answer.OK
    task = await world.read(lease.task.id)
    assert (task.state, task.failure, task.needs_attention) == (TaskState.FAILED, FAILURE, True)
    (attempt,) = await world.tasks.attempts(lease.task.id)
    assert (attempt.outcome, attempt.failure, attempt.decision) == ("failed", FAILURE, DECISION)


async def test_attempt_out_of_time_ends_the_task_as_timeout(world: World) -> None:
    lease = await world.running()
    outcome = TimedOut(failure=FAILURE, decision=DECISION)
    assert await world.tasks.settle(lease.task.id, lease.fence, outcome) is Answer.OK
    assert (await world.read(lease.task.id)).state is TaskState.TIMEOUT
    assert await world.outcomes(lease.task.id) == ["timeout"]


async def test_retried_task_waits_its_delay_and_is_charged(world: World) -> None:
    lease = await world.running()
    await world.retry(lease, delay_s=60.0)
    task = await world.read(lease.task.id)
    assert (task.state, task.ready_at) == (TaskState.PENDING, world.clock.wall + 60.0)
    assert (task.processing_failures, task.infrastructure_losses, task.failure) == (1, 0, FAILURE)
    assert await world.claim() == []
    world.clock.pass_(60.0)
    (again,) = await world.claim()
    assert (again.fence, again.task.attempt) == (2, 2)
    await world.retry(again, is_infrastructure=True)
    task = await world.read(lease.task.id)
    assert (task.processing_failures, task.infrastructure_losses) == (1, 1)


async def test_success_after_a_retry_leaves_no_failure(world: World) -> None:
    await world.retry(await world.running())
    (again,) = await world.claim()
    await world.complete(again, 1)
    assert (await world.read(again.task.id)).failure is None
    assert await world.outcomes(again.task.id) == ["retried", "completed"]


async def test_release_gives_the_task_back_at_once_and_charges_nothing(world: World) -> None:
    lease = await world.running()
    assert await world.tasks.release(lease.task.id, lease.fence, reason="shutdown") is Answer.OK
    task = await world.read(lease.task.id)
    assert (task.state, task.processing_failures, task.infrastructure_losses) == (TaskState.PENDING, 0, 0)
    assert task.worker_id is None
    assert await world.tasks.release(lease.task.id, lease.fence, reason="shutdown") is Answer.LOST
    (again,) = await world.claim()
    assert again.fence == 2
    assert await world.outcomes(lease.task.id) == ["released", None]


async def test_only_the_current_fence_acts(world: World) -> None:
    old = await world.running()
    await world.tasks.release(old.task.id, old.fence, reason="shutdown")
    (new,) = await world.claim()
    assert await world.tasks.extend([Extension(task_id=old.task.id, fence=old.fence)], lease_s=LEASE_S) == [Answer.LOST]
    assert await world.complete(old, "old") is Answer.LOST
    assert await world.park(old, "step") is Answer.LOST
    assert await world.tasks.release(old.task.id, old.fence, reason="late") is Answer.LOST
    assert await world.complete(new, "new") is Answer.OK
    assert (await world.read(new.task.id)).result == "new"


async def test_acts_on_unknown_tasks_are_lost(world: World) -> None:
    assert await world.tasks.extend([Extension(task_id="none", fence=1)], lease_s=LEASE_S) == [Answer.LOST]
    assert await world.tasks.settle("none", 1, Completed(result=1)) is Answer.LOST
    assert await world.tasks.release("none", 1, reason="late") is Answer.LOST


async def test_extend_renews_and_notes_progress_in_order(world: World) -> None:
    lease, other = await world.running(), await world.running()
    await world.complete(other)
    progress = Progress(fraction=0.5, stage="processing", message="page 3 of 6")
    world.clock.pass_(LEASE_S - 1)
    answers = await world.tasks.extend(
        [
            Extension(task_id=other.task.id, fence=other.fence),
            Extension(task_id=lease.task.id, fence=lease.fence, progress=progress),
        ],
        lease_s=LEASE_S,
    )
    assert answers == [Answer.LOST, Answer.OK]
    world.clock.pass_(LEASE_S - 1)
    assert (await world.tasks.sweep()).expired == 0
    assert (await world.read(lease.task.id)).progress == progress
    await world.tasks.extend([Extension(task_id=lease.task.id, fence=lease.fence)], lease_s=LEASE_S)
    assert (await world.read(lease.task.id)).progress == progress
    told = [event.data for event in await world.tasks.events(lease.task.id) if event.kind == "progress"]
    assert told == [{"fraction": 0.5, "stage": "processing", "message": "page 3 of 6"}]


async def test_ended_tasks_absorb_everything(world: World) -> None:
    lease = await world.running()
    await world.fail(lease)
    before = await world.read(lease.task.id)
    late = Extension(task_id=lease.task.id, fence=lease.fence, progress=Progress(fraction=1.0, stage="storing"))
    assert await world.tasks.extend([late], lease_s=LEASE_S) == [Answer.LOST]
    assert await world.complete(lease, 1) is Answer.LOST
    assert await world.tasks.release(lease.task.id, lease.fence, reason="late") is Answer.LOST
    await world.tasks.cancel(lease.task.id, user_id="ada")
    await world.tasks.sweep()
    assert await world.read(lease.task.id) == before


async def test_log_counts_from_one_and_reads_on_from_a_number(world: World) -> None:
    lease = await world.running()
    await world.fail(lease)
    events = await world.tasks.events(lease.task.id)
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert [event.kind for event in events] == ["state", "state", "decision", "state"]
    assert events[2].data["strategy"] == DECISION.strategy
    assert events[3].data["state"] == "failed"
    assert events[3].data["code"] == FAILURE.code
    assert await world.tasks.events(lease.task.id, after=2, limit=1) == [events[2]]
    assert await world.tasks.events("unknown") == []


async def test_attempts_tell_who_ran_where_and_when(world: World) -> None:
    lease = await world.running()
    world.clock.pass_(5.0)
    await world.complete(lease)
    (attempt,) = await world.tasks.attempts(lease.task.id)
    assert (attempt.n, attempt.fence, attempt.worker_id, attempt.lane) == (1, 1, "server-1", LANE)
    assert (attempt.started_at, attempt.ended_at) == (world.clock.wall - 5.0, world.clock.wall)


async def test_completed_with_is_stored_as_completed_at_once(world: World) -> None:
    task = await world.submit(completed_with={"duplicate_of": "doc"})
    assert (task.state, task.result, task.finished_at) == (
        TaskState.COMPLETED,
        {"duplicate_of": "doc"},
        world.clock.wall,
    )
    assert await world.read(task.id) == task
    assert await world.claim() == []
    assert await world.states(task.id) == ["pending", "completed"]


async def test_failure_types_survive_the_record(world: World) -> None:
    await world.fail(await world.running())
    (task,) = await world.tasks.find(user_id="ada")
    assert task.failure is not None
    assert task.failure.type is FailureType.PROCESSING_ERROR
