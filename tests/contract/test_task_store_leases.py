"""Leases that run out, holders that come back late, processes that die, deadlines that pass."""

from tests.contract.conftest import LANE, LEASE_S, REMOTE, WORKER, World

from morag.domain.failure import FailureType
from morag.domain.task import Answer, Budget, Extension, Lease, TaskState, Worker


async def extend(world: World, lease: Lease) -> Answer:
    (answer,) = await world.tasks.extend([Extension(task_id=lease.task.id, fence=lease.fence)], lease_s=LEASE_S)
    return answer


async def lapsed(world: World) -> Lease:
    lease = await world.running()
    world.clock.pass_(LEASE_S)
    assert (await world.tasks.sweep()).expired == 1
    return lease


async def test_expired_lease_returns_task_to_its_lane_with_the_same_fence(world: World) -> None:
    lease = await lapsed(world)
    task = await world.read(lease.task.id)
    assert (task.state, task.fence, task.infrastructure_losses) == (TaskState.PENDING, 1, 1)
    assert await world.outcomes(task.id) == ["lost"]
    assert world.bells.lanes == [LANE, LANE]
    assert (await world.tasks.sweep()).expired == 0


async def test_lease_is_kept_until_its_last_moment(world: World) -> None:
    await world.running()
    world.clock.pass_(LEASE_S - 0.001)
    assert (await world.tasks.sweep()).expired == 0


async def test_wall_clock_that_jumps_ends_no_lease(world: World) -> None:
    lease = await world.running()
    world.clock.wall += 3_600.0
    assert (await world.tasks.sweep()).expired == 0
    world.clock.wall -= 7_200.0
    world.clock.ticks += LEASE_S
    assert (await world.tasks.sweep()).expired == 1
    assert await extend(world, lease) is Answer.OK


async def test_late_holder_extends_and_the_loss_is_not_charged(world: World) -> None:
    lease = await lapsed(world)
    assert await extend(world, lease) is Answer.OK
    task = await world.read(lease.task.id)
    assert (task.state, task.fence, task.infrastructure_losses) == (TaskState.RUNNING, 1, 0)
    assert await world.outcomes(task.id) == [None]
    assert await world.claim() == []
    assert await world.complete(lease, 1) is Answer.OK
    assert await world.states(task.id) == ["pending", "running", "pending", "running", "completed"]


async def test_late_holder_settles_while_nobody_else_was_granted(world: World) -> None:
    lease = await lapsed(world)
    assert await world.complete(lease, "late") is Answer.OK
    task = await world.read(lease.task.id)
    assert (task.state, task.result, task.infrastructure_losses) == (TaskState.COMPLETED, "late", 0)
    assert await world.outcomes(task.id) == ["completed"]
    assert await world.claim() == []


async def test_late_holder_parks_retries_and_releases_uncharged(world: World) -> None:
    for act in ("park", "retry", "release"):
        lease = await lapsed(world)
        if act == "park":
            assert await world.park(lease, "step") is Answer.OK
        elif act == "retry":
            assert await world.retry(lease) is Answer.OK
        else:
            assert await world.tasks.release(lease.task.id, lease.fence, reason="shutdown") is Answer.OK
        assert (await world.read(lease.task.id)).infrastructure_losses == 0
        await world.tasks.cancel(lease.task.id, user_id="ada")


async def test_late_holder_has_lost_once_another_was_granted(world: World) -> None:
    late = await lapsed(world)
    (new,) = await world.claim()
    assert new.fence == 2
    assert await extend(world, late) is Answer.LOST
    assert await world.complete(late, "late") is Answer.LOST
    assert await world.complete(new, "new") is Answer.OK
    assert (await world.read(new.task.id)).infrastructure_losses == 1
    assert await world.outcomes(new.task.id) == ["lost", "completed"]


async def test_slot_of_an_expired_lease_counts_as_running(world: World) -> None:
    lease = await lapsed(world)
    assert (await world.tasks.lanes())[LANE].running == 1
    await extend(world, lease)
    load = (await world.tasks.lanes())[LANE]
    assert (load.length, load.running) == (0, 1)


async def test_dead_process_loses_its_leases_at_once(world: World) -> None:
    lease = await world.running()
    world.dead.add(WORKER.pid or 0)
    assert (await world.tasks.sweep()).expired == 1
    (again,) = await world.claim(worker=Worker(id="server-2", boot_id="boot-1", pid=101, pid_started_at=2.0))
    assert (again.task.id, again.fence) == (lease.task.id, 2)


async def test_process_of_an_earlier_boot_loses_its_leases(world: World) -> None:
    await world.submit()
    await world.claim(worker=Worker(id="old", boot_id="boot-0", pid=7, pid_started_at=1.0))
    # where several machines share the store it may be alive on another one, and only time tells
    at_once = 0 if world.is_shared else 1
    assert (await world.tasks.sweep()).expired == at_once
    world.clock.pass_(LEASE_S)
    assert (await world.tasks.sweep()).expired == 1 - at_once


async def test_machine_elsewhere_loses_its_lease_by_time_alone(world: World) -> None:
    await world.submit()
    await world.claim(worker=REMOTE)
    world.dead.update(range(1_000))
    assert (await world.tasks.sweep()).expired == 0
    world.clock.pass_(LEASE_S)
    assert (await world.tasks.sweep()).expired == 1


async def test_task_that_loses_more_workers_than_it_may_fails(world: World) -> None:
    task = await world.submit(budget=Budget(infrastructure=1))
    await world.claim()
    world.clock.pass_(LEASE_S)
    await world.tasks.sweep()
    (lease,) = await world.claim()
    world.clock.pass_(LEASE_S)
    await world.tasks.sweep()
    ended = await world.read(task.id)
    assert (ended.state, ended.infrastructure_losses) == (TaskState.FAILED, 2)
    assert ended.failure is not None
    assert (ended.failure.type, ended.failure.code) == (FailureType.WORKER_OFFLINE, "workers_lost")
    assert "2 times" in ended.failure.message
    assert await world.complete(lease, 1) is Answer.LOST
    assert await world.outcomes(task.id) == ["lost", "lost"]


async def test_running_task_past_its_deadline_times_out_and_its_holder_loses(world: World) -> None:
    lease = await world.running(budget=Budget(deadline_s=100.0))
    for _ in range(4):
        world.clock.pass_(24.0)
        assert await extend(world, lease) is Answer.OK
    assert (await world.tasks.sweep()).timed_out == 0
    world.clock.pass_(4.0)
    assert (await world.tasks.sweep()).timed_out == 1
    task = await world.read(lease.task.id)
    assert task.state is TaskState.TIMEOUT
    assert task.failure is not None
    assert (task.failure.code, task.failure.type) == ("deadline", FailureType.TASK_TIMEOUT)
    assert await world.complete(lease, 1) is Answer.LOST
    assert await world.outcomes(task.id) == ["timeout"]


async def test_deadline_counts_from_the_first_claim_on(world: World) -> None:
    task = await world.submit(budget=Budget(deadline_s=100.0))
    world.clock.pass_(1_000.0)
    (lease,) = await world.claim()
    await world.retry(lease, delay_s=90.0)
    world.clock.pass_(99.0)
    assert (await world.tasks.sweep()).timed_out == 0
    world.clock.pass_(1.0)
    assert (await world.tasks.sweep()).timed_out == 1
    assert (await world.read(task.id)).state is TaskState.TIMEOUT


async def test_task_that_may_not_wait_longer_times_out_unclaimed(world: World) -> None:
    patient = await world.submit()
    hasty = await world.submit(budget=Budget(waiting_s=60.0))
    world.clock.pass_(60.0)
    assert (await world.tasks.sweep()).timed_out == 1
    task = await world.read(hasty.id)
    assert task.state is TaskState.TIMEOUT
    assert task.failure is not None
    assert task.failure.code == "waited_too_long"
    assert (await world.read(patient.id)).state is TaskState.PENDING


async def test_waiting_limit_ends_with_the_first_claim(world: World) -> None:
    lease = await world.running(budget=Budget(waiting_s=60.0))
    await world.retry(lease)
    world.clock.pass_(600.0)
    assert (await world.tasks.sweep()).timed_out == 0


async def test_deadline_of_a_parent_ends_its_children(world: World) -> None:
    parent = await world.running(budget=Budget(deadline_s=100.0))
    await world.park(parent, "step")
    world.clock.pass_(100.0)
    await world.tasks.sweep()
    (child,) = await world.tasks.children(parent.task.id)
    assert (await world.read(parent.task.id)).state is TaskState.TIMEOUT
    assert child.state is TaskState.CANCELLED


async def test_start_frees_leases_of_its_dead_instance_uncharged(world: World) -> None:
    lease = await world.running()
    world.dead.add(WORKER.pid or 0)
    new = Worker(id="server-2", boot_id="boot-1", pid=101, pid_started_at=2.0)
    assert await world.tasks.reclaim(keep=new) == 1
    task = await world.read(lease.task.id)
    assert (task.state, task.infrastructure_losses, task.worker_id) == (TaskState.PENDING, 0, None)
    assert await world.complete(lease, 1) is Answer.LOST
    assert await world.outcomes(task.id) == ["released"]
    (again,) = await world.claim(worker=new)
    assert again.fence == 2


async def test_start_frees_leases_of_an_earlier_run_in_its_own_process(world: World) -> None:
    await world.running()
    again = Worker(id="server-2", boot_id="boot-1", pid=WORKER.pid, pid_started_at=WORKER.pid_started_at)
    assert await world.tasks.reclaim(keep=again) == 1


async def test_start_leaves_living_processes_and_its_own_leases_alone(world: World) -> None:
    await world.running()
    sibling = Worker(id="app-1", boot_id="boot-1", pid=200, pid_started_at=3.0)
    assert await world.tasks.reclaim(keep=sibling) == 0
    assert await world.tasks.reclaim(keep=WORKER) == 0


async def test_start_renews_leases_of_machines_elsewhere(world: World) -> None:
    await world.submit()
    (lease,) = await world.claim(worker=REMOTE)
    world.clock.pass_(LEASE_S + 1)
    assert await world.tasks.reclaim(keep=WORKER) == 0
    assert (await world.tasks.sweep()).expired == 0
    world.clock.pass_(LEASE_S)
    assert (await world.tasks.sweep()).expired == 1
    assert await extend(world, lease) is Answer.OK
