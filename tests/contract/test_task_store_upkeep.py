"""Looking around and cleaning up: lists, lane loads, retention, blob references."""

from tests.contract.conftest import LANE, World

from morag.domain.task import Completed, TaskState

DAY_S = 86_400.0


async def test_find_lists_a_users_tasks_newest_first_page_by_page(world: World) -> None:
    tasks = await world.tasks.submit([world.new() for _ in range(5)])
    await world.submit("eve")
    newest = [task.id for task in reversed(tasks)]
    page = await world.tasks.find(user_id="ada", limit=3)
    assert [task.id for task in page] == newest[:3]
    assert [task.id for task in await world.tasks.find(user_id="ada", before=page[-1].id)] == newest[3:]


async def test_find_selects_by_state_and_name(world: World) -> None:
    lease = await world.running(name="one")
    await world.complete(lease)
    pending = await world.submit(name="one")
    await world.submit(name="two")
    ended = await world.tasks.find(user_id="ada", states=[TaskState.COMPLETED, TaskState.FAILED])
    assert [task.id for task in ended] == [lease.task.id]
    waiting = await world.tasks.find(user_id="ada", states=[TaskState.PENDING], name="one")
    assert [task.id for task in waiting] == [pending.id]


async def test_lanes_tell_length_running_and_oldest_wait(world: World) -> None:
    await world.running()
    await world.submit()
    world.clock.pass_(5.0)
    await world.submit("eve")
    await world.submit(delay_s=60.0)
    await world.submit("eve", lane="gpu-tasks-eve")
    loads = await world.tasks.lanes()
    assert (loads[LANE].length, loads[LANE].running, loads[LANE].oldest_wait_s) == (3, 1, 5.0)
    assert (loads["gpu-tasks-eve"].length, loads["gpu-tasks-eve"].running) == (1, 0)


async def test_lanes_of_a_user_tell_that_users_tasks_only(world: World) -> None:
    await world.running("ada")
    await world.submit("eve")
    loads = await world.tasks.lanes(user_id="ada")
    assert set(loads) == {LANE}
    assert (loads[LANE].length, loads[LANE].running, loads[LANE].oldest_wait_s) == (0, 1, None)


async def test_ended_and_waiting_tasks_stand_in_no_lane(world: World) -> None:
    await world.complete(await world.running())
    parent = await world.running()
    await world.park(parent, "one", routing=parent.task.routing)
    loads = await world.tasks.lanes()
    assert (loads[LANE].length, loads[LANE].running) == (1, 0)
    (child,) = await world.claim()
    await world.complete(child)
    (again,) = await world.claim()
    await world.complete(again)
    assert await world.tasks.lanes() == {}


async def test_retire_deletes_ended_trees_of_old_with_all_they_have(world: World) -> None:
    parent = await world.running(blobs=("b1",))
    await world.park(parent, "one", blobs=("b2",))
    (child,) = await world.claim()
    await world.complete(child)
    (again,) = await world.claim()
    await world.complete(again)
    world.clock.pass_(DAY_S)
    young = await world.running(blobs=("b3",))
    await world.complete(young)
    assert await world.tasks.retire(older_than_s=DAY_S - 1) == 2
    for task_id in (parent.task.id, child.task.id):
        assert await world.tasks.get(task_id) is None
        assert await world.tasks.events(task_id) == []
        assert await world.tasks.attempts(task_id) == []
    assert await world.tasks.referenced(["b1", "b2", "b3"]) == {"b3"}
    assert await world.tasks.retire(older_than_s=DAY_S - 1) == 0


async def test_retire_spares_open_tasks_however_old(world: World) -> None:
    task = await world.submit()
    world.clock.pass_(365 * DAY_S)
    assert await world.tasks.retire(older_than_s=0.0) == 0
    assert (await world.read(task.id)).state is TaskState.PENDING


async def test_tasks_and_documents_keep_their_blobs_referenced(world: World) -> None:
    lease = await world.running(blobs=("source",))
    publication = world.publication(document_blob="document", original_blob="original")
    outcome = Completed(result=None, result_blob="result", publication=publication)
    await world.tasks.settle(lease.task.id, lease.fence, outcome)
    assert (await world.read(lease.task.id)).result_blob == "result"
    everything = ["source", "result", "document", "original", "stray"]
    assert await world.tasks.referenced(everything) == {"source", "result", "document", "original"}
    assert await world.tasks.referenced([]) == set()


async def test_visible_document_keeps_its_blobs_when_its_task_is_retired(world: World) -> None:
    lease = await world.running(blobs=("source",))
    await world.complete(lease, publication=world.publication(document_blob="document", original_blob="source"))
    world.clock.pass_(DAY_S)
    assert await world.tasks.retire(older_than_s=1.0) == 1
    assert await world.tasks.referenced(["document", "source"]) == {"document", "source"}
    await world.documents.remove("ada", "doc")
    assert await world.tasks.referenced(["document", "source"]) == set()


async def test_sweep_of_a_sound_record_finds_nothing(world: World) -> None:
    await world.running()
    parent = await world.running()
    await world.park(parent, "one")
    await world.submit(delay_s=5.0)
    report = await world.tasks.sweep()
    assert (report.expired, report.timed_out, report.unparked) == (0, 0, 0)
