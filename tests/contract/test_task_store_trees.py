"""Parents that wait for children, and what ends with what."""

import pytest
from tests.contract.conftest import FAILURE, LEASE_S, World

from morag.domain.task import Answer, Extension, Lease, Parked, TaskState


async def parked(world: World, *steps: str) -> Lease:
    parent = await world.running()
    assert await world.park(parent, *steps) is Answer.OK
    return parent


async def test_parked_parent_waits_without_a_worker_for_its_children(world: World) -> None:
    parent = await parked(world, "one", "two")
    task = await world.read(parent.task.id)
    assert (task.state, task.open_children, task.worker_id) == (TaskState.WAITING, 2, None)
    children = await world.tasks.children(parent.task.id)
    assert [(child.step, child.parent_id, child.user_id) for child in children] == [
        ("one", task.id, "ada"),
        ("two", task.id, "ada"),
    ]
    assert await world.outcomes(task.id) == ["parked"]


async def test_children_belong_to_their_parents_user(world: World) -> None:
    parent = await world.running("ada")
    child = world.new("eve", step="one")
    await world.tasks.park(parent.task.id, parent.fence, Parked(children=(child,)))
    assert await world.tasks.get(child.id, user_id="eve") is None
    assert (await world.read(child.id)).user_id == "ada"


async def test_parent_runs_again_with_the_results_of_all_children(world: World) -> None:
    parent = await parked(world, "one", "two")
    first, second = await world.claim(2)
    await world.complete(first, {"n": 1})
    assert (await world.read(parent.task.id)).open_children == 1
    assert await world.claim() == []
    await world.fail(second)
    (again,) = await world.claim()
    assert (again.task.id, again.fence) == (parent.task.id, 2)
    assert {step: child.state for step, child in again.children.items()} == {"one": "completed", "two": "failed"}
    assert again.children["one"].result == {"n": 1}
    assert again.children["two"].failure == FAILURE
    assert await world.complete(again, "all") is Answer.OK
    assert await world.states(parent.task.id) == ["pending", "running", "waiting", "pending", "running", "completed"]


async def test_parent_that_parks_again_finds_the_child_it_has(world: World) -> None:
    parent = await parked(world, "one")
    (child,) = await world.claim()
    await world.complete(child, 1)
    (again,) = await world.claim()
    assert await world.park(again, "one", "two") is Answer.OK
    assert [found.step for found in await world.tasks.children(parent.task.id)] == ["one", "two"]
    assert (await world.read(parent.task.id)).open_children == 1


async def test_parent_whose_children_all_ended_already_goes_on_at_once(world: World) -> None:
    await parked(world, "one")
    (child,) = await world.claim()
    await world.complete(child, 1)
    (again,) = await world.claim()
    assert await world.park(again, "one") is Answer.OK
    (third,) = await world.claim()
    assert (third.task.id, third.fence) == (again.task.id, 3)


async def test_parking_twice_under_one_fence_is_a_duplicate(world: World) -> None:
    parent = await parked(world, "one")
    assert await world.park(parent, "one") is Answer.DUPLICATE
    assert len(await world.tasks.children(parent.task.id)) == 1


@pytest.mark.parametrize("steps", [("one", "one"), ("one", "")])
async def test_children_without_a_step_of_their_own_are_refused(world: World, steps: tuple[str, ...]) -> None:
    parent = await world.running()
    with pytest.raises(ValueError, match="step"):
        await world.park(parent, *steps)
    assert (await world.read(parent.task.id)).state is TaskState.RUNNING


async def test_parked_parent_no_longer_holds_its_fence(world: World) -> None:
    parent = await parked(world, "one")
    late = Extension(task_id=parent.task.id, fence=parent.fence)
    assert await world.tasks.extend([late], lease_s=LEASE_S) == [Answer.LOST]
    assert await world.complete(parent, 1) is Answer.LOST


async def test_cancel_of_a_pending_task_ends_it_at_once(world: World) -> None:
    task = await world.submit()
    cancelled = await world.tasks.cancel(task.id, user_id="ada")
    assert cancelled is not None
    assert (cancelled.state, cancelled.finished_at) == (TaskState.CANCELLED, world.clock.wall)
    assert await world.claim() == []
    assert await world.states(task.id) == ["pending", "cancelled"]


async def test_cancel_of_a_running_task_is_heard_by_its_holder(world: World) -> None:
    lease = await world.running()
    await world.tasks.cancel(lease.task.id, user_id="ada")
    assert (await world.read(lease.task.id)).fence == 2
    extension = Extension(task_id=lease.task.id, fence=lease.fence)
    assert await world.tasks.extend([extension], lease_s=LEASE_S) == [Answer.CANCELLED]
    assert await world.complete(lease, 1) is Answer.CANCELLED
    assert await world.retry(lease) is Answer.CANCELLED
    assert await world.park(lease, "one") is Answer.CANCELLED
    assert await world.tasks.release(lease.task.id, lease.fence, reason="late") is Answer.CANCELLED
    assert await world.outcomes(lease.task.id) == ["cancelled"]
    assert (await world.read(lease.task.id)).state is TaskState.CANCELLED


async def test_cancel_after_the_lease_expired_shuts_the_late_holder_out(world: World) -> None:
    lease = await world.running()
    world.clock.pass_(LEASE_S)
    await world.tasks.sweep()
    await world.tasks.cancel(lease.task.id, user_id="ada")
    assert await world.complete(lease, 1) is Answer.CANCELLED


async def test_cancel_of_an_ended_task_changes_nothing(world: World) -> None:
    lease = await world.running()
    await world.complete(lease, 1)
    before = await world.read(lease.task.id)
    assert await world.tasks.cancel(lease.task.id, user_id="ada") == before
    assert len(await world.tasks.events(lease.task.id)) == 3


async def test_cancel_of_another_users_task_is_of_no_task(world: World) -> None:
    task = await world.submit("ada")
    assert await world.tasks.cancel(task.id, user_id="eve") is None
    assert await world.tasks.cancel("unknown", user_id="ada") is None
    assert (await world.read(task.id)).state is TaskState.PENDING


async def test_cancel_ends_the_whole_tree_but_not_what_ended_before(world: World) -> None:
    parent = await parked(world, "one", "two")
    done, child = await world.claim(2)
    await world.complete(done, 1)
    await world.park(child, "below")
    (grandchild,) = await world.claim()
    await world.tasks.cancel(parent.task.id, user_id="ada")
    states = [(await world.read(lease.task.id)).state for lease in (parent, done, child, grandchild)]
    assert states == [TaskState.CANCELLED, TaskState.COMPLETED, TaskState.CANCELLED, TaskState.CANCELLED]
    assert await world.complete(grandchild, 1) is Answer.CANCELLED
    assert await world.claim() == []


async def test_cancel_of_a_child_lets_its_parent_go_on(world: World) -> None:
    parent = await parked(world, "one")
    (child,) = await world.tasks.children(parent.task.id)
    await world.tasks.cancel(child.id, user_id="ada")
    (again,) = await world.claim()
    assert again.task.id == parent.task.id
    assert again.children["one"].state is TaskState.CANCELLED


async def test_child_out_of_time_lets_its_parent_go_on(world: World) -> None:
    parent = await parked(world, "one")
    await world.claim()
    world.clock.pass_(parent.task.budget.deadline_s - 1)
    await world.tasks.sweep()
    assert (await world.read(parent.task.id)).state is TaskState.WAITING
    world.clock.pass_(1)
    await world.tasks.sweep()
    assert (await world.read(parent.task.id)).state is TaskState.TIMEOUT


async def test_children_are_not_among_a_users_tasks(world: World) -> None:
    parent = await parked(world, "one")
    assert [task.id for task in await world.tasks.find(user_id="ada")] == [parent.task.id]


async def test_children_come_oldest_first(world: World) -> None:
    parent = await parked(world, "b", "a", "c")
    assert [child.step for child in await world.tasks.children(parent.task.id)] == ["b", "a", "c"]
    assert await world.tasks.children("unknown") == []
