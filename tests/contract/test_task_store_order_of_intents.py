"""What the state machine found: clocks set back, ends that meet, a removal that meets an ingest under way."""

from tests.contract.conftest import LANE, LEASE_S, REMOTE, WORKER, World

from morag.domain.task import Answer, Budget, Reservation, TaskState, Worker

REPLACE = Reservation(document_id="doc", replace_existing=True)
TAKE = Reservation(document_id="doc", replace_existing=False)


async def test_expired_task_is_claimable_at_once_though_the_wall_clock_was_set_back(world: World) -> None:
    lease = await world.running()
    world.clock.wall -= 3_600.0
    world.clock.ticks += LEASE_S
    assert (await world.tasks.sweep()).expired == 1
    assert [again.task.id for again in await world.claim()] == [lease.task.id]


async def test_task_that_a_start_frees_waits_from_then_on(world: World) -> None:
    await world.running()
    world.clock.pass_(LEASE_S / 2)
    world.dead.add(WORKER.pid or 0)
    await world.tasks.reclaim(keep=Worker(id="server-2", boot_id="boot-1", pid=101, pid_started_at=2.0))
    assert (await world.tasks.lanes())[LANE].oldest_wait_s == 0.0


async def test_ended_parent_has_no_open_children(world: World) -> None:
    parent = await world.running()
    await world.park(parent, "one", "two")
    cancelled = await world.tasks.cancel(parent.task.id, user_id="ada")
    assert cancelled is not None
    assert (cancelled.state, cancelled.open_children) == (TaskState.CANCELLED, 0)
    assert (await world.read(parent.task.id)).open_children == 0


async def test_of_two_deadlines_that_passed_the_earlier_one_ends_its_task_first(world: World) -> None:
    parent = await world.running(budget=Budget(deadline_s=100.0))
    await world.park(parent, "one", budget=Budget(deadline_s=10.0))
    (child,) = await world.claim(worker=REMOTE)
    world.clock.pass_(200.0)
    assert (await world.tasks.sweep()).timed_out == 2
    assert (await world.read(child.task.id)).state is TaskState.TIMEOUT
    assert (await world.read(parent.task.id)).state is TaskState.TIMEOUT


async def test_removing_a_document_cancels_what_would_bring_it_back(world: World) -> None:
    await world.complete(await world.running(reservation=REPLACE), publication=world.publication(title="Old"))
    running = await world.running(reservation=REPLACE)
    queued = await world.submit(reservation=REPLACE)
    other = await world.submit("eve", reservation=REPLACE)
    assert await world.documents.remove("ada", "doc")
    assert await world.complete(running, publication=world.publication(title="New")) is Answer.CANCELLED
    assert (await world.read(queued.id)).state is TaskState.CANCELLED
    assert (await world.read(other.id)).state is TaskState.PENDING
    assert await world.documents.document("ada", "doc") is None


async def test_document_ingested_after_its_removal_is_there(world: World) -> None:
    await world.complete(await world.running(reservation=REPLACE), publication=world.publication())
    await world.submit(reservation=REPLACE)
    await world.documents.remove("ada", "doc")
    later = await world.running(reservation=TAKE)
    assert await world.complete(later, publication=world.publication(title="Later")) is Answer.OK
    found = await world.documents.document("ada", "doc")
    assert found is not None
    assert found.publication.title == "Later"


async def test_removing_a_document_that_is_not_there_leaves_its_first_ingest_alone(world: World) -> None:
    lease = await world.running(reservation=TAKE)
    assert not await world.documents.remove("ada", "doc")
    assert await world.complete(lease, publication=world.publication()) is Answer.OK
    assert await world.documents.document("ada", "doc") is not None
