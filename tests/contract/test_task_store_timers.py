"""Tasks that wait for their time, and names that wait for somebody who knows them."""

from tests.contract.conftest import LANE, NAMESPACE, World

from morag.domain.task import TaskState


async def test_a_hastened_task_is_claimable_at_once(world: World) -> None:
    task = await world.submit(delay_s=60.0)
    assert await world.claim() == []
    assert await world.tasks.hasten(task.id)
    assert LANE in world.bells.lanes
    (lease,) = await world.claim()
    assert lease.task.id == task.id


async def test_a_retry_is_hastened_too(world: World) -> None:
    lease = await world.running()
    await world.retry(lease, delay_s=300.0)
    assert await world.tasks.hasten(lease.task.id)
    (again,) = await world.claim()
    assert again.task.attempt == 2


async def test_only_what_waits_for_its_time_is_hastened(world: World) -> None:
    ready = await world.submit()
    assert not await world.tasks.hasten(ready.id)
    (lease,) = await world.claim()
    assert not await world.tasks.hasten(ready.id)
    await world.complete(lease)
    assert not await world.tasks.hasten(ready.id)
    assert not await world.tasks.hasten("nobody")
    assert (await world.read(ready.id)).state is TaskState.COMPLETED


async def test_ready_names_are_those_of_the_namespace_that_could_be_claimed_now(world: World) -> None:
    await world.submit(name="one")
    await world.submit("eve", name="two")
    await world.submit(name="one")
    await world.submit(name="later", delay_s=60.0)
    await world.submit(name="elsewhere", namespace="other")
    await world.submit(name="mine", lane="gpu-tasks-ada")
    assert await world.tasks.ready_names(LANE, NAMESPACE) == {"one", "two"}
    assert await world.tasks.ready_names(LANE, "nobody") == set()
