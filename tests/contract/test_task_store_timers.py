"""Tasks that wait for their time, however the wall clock is set, and names that wait for somebody who knows them."""

import pytest
from tests.contract.conftest import LANE, LEASE_S, NAMESPACE, FakeClock, World

from morag.control.ports import SweepReport
from morag.domain.task import Budget, TaskState

DAY_S = 86_400.0
JUMPS = [DAY_S, -DAY_S, 400 * DAY_S]
START = FakeClock().wall


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


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_a_wall_clock_that_jumps_ends_nobodys_time(world: World, jump_s: float) -> None:
    running = await world.running(budget=Budget(deadline_s=60.0))
    waiting = await world.submit(budget=Budget(waiting_s=60.0))
    world.jump(jump_s)
    late = await world.submit(budget=Budget(waiting_s=60.0))
    world.clock.pass_(LEASE_S - 1)
    assert await world.tasks.sweep() == SweepReport()
    world.clock.pass_(31.0)
    assert (await world.tasks.sweep()).timed_out == 3
    states = {(await world.read(each)).state for each in (running.task.id, waiting.id, late.id)}
    assert states == {TaskState.TIMEOUT}


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_a_wall_clock_that_jumps_neither_hastens_nor_delays(world: World, jump_s: float) -> None:
    first = await world.running()
    await world.retry(first, delay_s=60.0)
    delayed = await world.submit(delay_s=60.0)
    world.jump(jump_s)
    late = await world.submit(delay_s=60.0)
    world.clock.pass_(59.0)
    await world.tasks.sweep()
    assert await world.claim(3) == []
    world.jump(-2 * jump_s)
    world.clock.pass_(1.0)
    assert {lease.task.id for lease in await world.claim(3)} == {first.task.id, delayed.id, late.id}


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_a_wall_clock_that_jumps_makes_nobody_wait_longer_in_a_report(world: World, jump_s: float) -> None:
    await world.submit()
    world.jump(jump_s)
    world.clock.pass_(5.0)
    assert (await world.tasks.lanes())[LANE].oldest_wait_s == 5.0


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_keys_and_records_are_kept_for_the_time_that_passed(world: World, jump_s: float) -> None:
    lease = await world.running(idempotency_key="k", idempotency_digest="d")
    await world.complete(lease)
    world.jump(jump_s)
    world.clock.pass_(DAY_S - 1)
    assert (await world.submit(idempotency_key="k", idempotency_digest="d")).id == lease.task.id
    assert await world.tasks.retire(older_than_s=DAY_S) == 0
    world.clock.pass_(2.0)
    assert (await world.submit(idempotency_key="k", idempotency_digest="d")).id != lease.task.id
    assert await world.tasks.retire(older_than_s=DAY_S) == 1
    assert await world.tasks.get(lease.task.id) is None


async def test_records_say_what_the_wall_clock_said(world: World) -> None:
    world.jump(DAY_S)
    lease = await world.running()
    world.jump(-2 * DAY_S)
    await world.complete(lease)
    task, (attempt,) = await world.read(lease.task.id), await world.tasks.attempts(lease.task.id)
    there_s = 0.0 if world.is_shared else DAY_S
    assert (task.created_at, task.started_at) == (START + there_s, START + there_s)
    assert (task.finished_at, attempt.ended_at) == (START - there_s, START - there_s)
