"""What one user may use: tasks at once, tasks in line, bytes; and what follows when a place becomes free."""

import asyncio
from typing import Any

import pytest
from tests.contract.conftest import LANE, LEASE_S, REMOTE, World

from morag.domain.errors import InvalidRequest, LimitReached
from morag.domain.json import JsonObject
from morag.domain.limits import Limits, Usage
from morag.domain.task import Answer, Extension, Offers, TaskState

OTHER = "gpu-tasks-ada"


async def cap(world: World, user_id: str | None = "ada", **limits: Any) -> None:
    await world.tasks.set_limits(user_id, Limits(**limits))


def source(size: int) -> JsonObject:
    return {"source": {"sha256": "blob", "filename": "a.pdf", "size_bytes": size}}


async def users(world: World, n: int) -> list[str]:
    return [lease.task.user_id for lease in await world.claim(n)]


# set and read


async def test_users_have_no_limits_until_some_are_set(world: World) -> None:
    assert await world.tasks.limits("ada") == Limits()


async def test_users_own_limits_go_before_everybodys(world: World) -> None:
    await cap(world, None, running=4, queued=100)
    await cap(world, "ada", weight=2.0)
    assert await world.tasks.limits("ada") == Limits(weight=2.0)
    assert await world.tasks.limits("bob") == Limits(running=4, queued=100)


async def test_limits_taken_back_leave_everybodys(world: World) -> None:
    await cap(world, None, queued=7)
    await cap(world, "ada", queued=1, stored_bytes=10)
    await world.tasks.set_limits("ada", None)
    assert await world.tasks.limits("ada") == Limits(queued=7)
    await world.tasks.set_limits(None, None)
    assert await world.tasks.limits("ada") == Limits()


async def test_limits_set_again_replace_those_before(world: World) -> None:
    await cap(world, running=1, queued=2)
    await cap(world, stored_bytes=3)
    assert await world.tasks.limits("ada") == Limits(stored_bytes=3)


async def test_all_limits_are_kept(world: World) -> None:
    limits = Limits(weight=2.5, running=1, queued=2, stored_bytes=3, upload_bytes=4, requests_per_minute=5)
    await world.tasks.set_limits("ada", limits)
    assert await world.tasks.limits("ada") == limits


async def test_users_are_known_by_limits_tasks_and_documents(world: World) -> None:
    assert await world.tasks.users() == []
    await cap(world, None, queued=7)
    await cap(world, "cora")
    await world.submit("bob")
    lease = await world.running()
    await world.complete(lease, publication=world.publication())
    assert await world.tasks.users() == ["ada", "bob", "cora"]


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (Limits(weight=0.0), "weight"),
        (Limits(weight=-1.0), "weight"),
        (Limits(weight=float("nan")), "weight"),
        (Limits(weight=float("inf")), "weight"),
        (Limits(weight=1e-12), "weight"),
        (Limits(running=-1), "running"),
        (Limits(queued=-1), "queued"),
        (Limits(stored_bytes=2**70), "stored_bytes"),
        (Limits(upload_bytes=-1), "upload_bytes"),
        (Limits(requests_per_minute=-1), "requests_per_minute"),
    ],
)
async def test_limits_that_cannot_be_are_refused(world: World, limits: Limits, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await world.tasks.set_limits("ada", limits)
    assert (caught.value.field, bool(caught.value.hint)) == (field, True)
    assert await world.tasks.limits("ada") == Limits()


async def test_usage_counts_what_runs_stands_and_is_stored(world: World) -> None:
    lease = await world.running()
    await world.complete(lease, publication=world.publication(size_bytes=40))
    await world.running()
    await world.submit(args=source(100))
    await world.submit(delay_s=60.0)
    await world.submit("bob", args=source(7))
    assert await world.tasks.usage("ada") == Usage(running=1, queued=2, stored_bytes=140, documents=1)
    assert await world.tasks.usage("nobody") == Usage(running=0, queued=0, stored_bytes=0, documents=0)


# running


async def test_user_at_the_limit_is_passed_over(world: World) -> None:
    await cap(world, running=2)
    await world.tasks.submit([world.new() for _ in range(5)])
    await world.tasks.submit([world.new("bob") for _ in range(3)])
    granted = await users(world, 9)
    assert (granted.count("ada"), granted.count("bob")) == (2, 3)
    assert await users(world, 9) == []


async def test_limit_of_everybody_holds_for_each(world: World) -> None:
    await cap(world, None, running=1)
    await cap(world, "vip")
    for user in ("ada", "bob", "vip"):
        await world.tasks.submit([world.new(user) for _ in range(3)])
    assert sorted(await users(world, 9)) == ["ada", "bob", "vip", "vip", "vip"]


async def test_user_with_limit_zero_is_never_granted(world: World) -> None:
    await cap(world, running=0)
    task = await world.submit()
    assert await world.claim(1) == []
    await cap(world, running=1)
    assert [lease.task.id for lease in await world.claim(1)] == [task.id]


async def test_limit_counts_all_lanes_and_namespaces(world: World) -> None:
    await cap(world, running=1)
    await world.submit(lane=OTHER)
    await world.submit(namespace="other")
    await world.submit()
    assert len(await world.claim(9, lanes=[OTHER])) == 1
    assert await world.claim(9, offers=Offers(namespace="other")) == []
    assert await world.claim(9) == []


async def test_user_at_the_limit_of_one_lane_is_granted_nothing_in_another_of_the_same_claim(world: World) -> None:
    await cap(world, running=1)
    await world.submit()
    await world.submit(lane=OTHER)
    assert len(await world.claim(9, lanes=[LANE, OTHER])) == 1


async def test_claims_at_the_same_time_do_not_pass_the_limit_together(world: World) -> None:
    await cap(world, running=1)
    lanes = [f"gpu-tasks-{number}" for number in range(6)]
    await world.tasks.submit([world.new(lane=lane) for lane in lanes])
    granted = await asyncio.gather(*(world.claim(1, lanes=[lane]) for lane in lanes))
    assert sum(len(leases) for leases in granted) == 1


async def test_expired_lease_holds_its_slot_until_somebody_else_is_granted_it(world: World) -> None:
    await cap(world, running=1)
    lost = await world.submit()
    (old,) = await world.claim(worker=REMOTE)
    await world.submit(priority=10)
    world.clock.pass_(LEASE_S)
    await world.tasks.sweep()
    assert (await world.tasks.usage("ada")).running == 1
    # the urgent one would pass the limit, the lost one has its slot
    assert [lease.task.id for lease in await world.claim(9)] == [lost.id]
    assert await world.complete(old) is Answer.LOST


async def test_holder_that_comes_back_stays_within_the_limit(world: World) -> None:
    await cap(world, running=1)
    old = await world.running()
    await world.submit(name="other")
    world.clock.pass_(LEASE_S)
    await world.tasks.sweep()
    assert await world.claim(9, offers=Offers(namespace="test", names=frozenset({"other"}))) == []
    extension = Extension(task_id=old.task.id, fence=old.fence)
    assert await world.tasks.extend([extension], lease_s=LEASE_S) == [Answer.OK]
    assert await world.claim(9) == []


async def test_lost_tasks_above_a_lowered_limit_run_one_after_another(world: World) -> None:
    await world.tasks.submit([world.new() for _ in range(3)])
    await world.claim(3, worker=REMOTE)
    await cap(world, running=1)
    world.clock.pass_(LEASE_S)
    await world.tasks.sweep()
    for _ in range(3):
        (lease,) = await world.claim(9)
        assert await world.claim(9) == []
        await world.complete(lease)


async def test_passed_over_user_has_paid_nothing_and_saved_nothing(world: World) -> None:
    await cap(world, running=1)
    await world.tasks.submit([world.new() for _ in range(20)])
    (held,) = await world.claim(1)
    await world.tasks.submit([world.new("bob") for _ in range(30)])
    for _ in range(10):
        assert await users(world, 1) == ["bob"]
    await world.complete(held)
    await cap(world)
    granted = [user for _ in range(12) for user in await users(world, 1)]
    assert granted[0] == "ada"
    assert granted.count("ada") in {6, 7}


@pytest.mark.parametrize("way", ["complete", "fail", "retry", "release", "park", "cancel"])
async def test_doors_of_other_lanes_are_told_when_a_slot_becomes_free(world: World, way: str) -> None:
    await cap(world, running=1)
    lease = await world.running()
    await world.submit(lane=OTHER)
    assert await world.claim(1, lanes=[OTHER]) == []
    world.bells.lanes.clear()
    match way:
        case "complete":
            await world.complete(lease)
        case "fail":
            await world.fail(lease)
        case "retry":
            await world.retry(lease, delay_s=60.0)
        case "release":
            await world.tasks.release(lease.task.id, lease.fence, reason="shutdown")
        case "park":
            await world.park(lease, "one", delay_s=60.0)
        case _:
            await world.tasks.cancel(lease.task.id, user_id="ada")
    assert OTHER in world.bells.lanes
    assert len(await world.claim(1, lanes=[OTHER])) == 1


async def test_doors_are_told_when_a_limit_is_raised(world: World) -> None:
    await cap(world, None, running=0)
    await world.submit(lane=OTHER)
    world.bells.lanes.clear()
    await cap(world, None, running=1)
    assert OTHER in world.bells.lanes


async def test_end_of_a_task_without_a_limit_rings_no_lane(world: World) -> None:
    lease = await world.running()
    await world.submit()
    world.bells.lanes.clear()
    await world.complete(lease)
    assert world.bells.lanes == []


# weight


async def test_twice_the_weight_is_granted_twice_as_often(world: World) -> None:
    await cap(world, "double", weight=2.0)
    await cap(world, "half", weight=0.5)
    for user in ("double", "single", "half"):
        await world.tasks.submit([world.new(user) for _ in range(60)])
    granted = [user for _ in range(70) for user in await users(world, 1)]
    assert [granted.count(user) for user in ("double", "single", "half")] == [40, 20, 10]


# queued


async def test_submit_over_the_limit_stores_nothing_and_says_how_many_may(world: World) -> None:
    await cap(world, queued=3)
    await world.tasks.submit([world.new(), world.new()])
    batch = [world.new(), world.new()]
    with pytest.raises(LimitReached, match=r"^3 tasks .* 3 may") as caught:
        await world.tasks.submit(batch)
    assert (caught.value.code, bool(caught.value.hint)) == ("limit_reached", True)
    assert caught.value.retry_after_s > 0
    assert [await world.tasks.get(new.id) for new in batch] == [None, None]
    assert (await world.tasks.usage("ada")).queued == 2
    await world.submit()


async def test_submits_at_the_same_time_do_not_pass_the_limit_together(world: World) -> None:
    await cap(world, queued=5)
    batches = [world.tasks.submit([world.new(), world.new()]) for _ in range(6)]
    answers = await asyncio.gather(*batches, return_exceptions=True)
    assert sum(isinstance(answer, LimitReached) for answer in answers) == 4
    assert (await world.tasks.usage("ada")).queued == 4


async def test_limit_counts_what_stands_later_too(world: World) -> None:
    await cap(world, queued=1)
    await world.submit(delay_s=60.0)
    with pytest.raises(LimitReached):
        await world.submit()


async def test_running_ended_and_lost_tasks_do_not_stand_in_line(world: World) -> None:
    await cap(world, queued=1)
    ended = await world.running()
    await world.complete(ended)
    await world.running()
    await world.submit()
    (lost,) = await world.claim(1)
    world.clock.pass_(LEASE_S)
    await world.tasks.sweep()
    assert (await world.read(lost.task.id)).state is TaskState.PENDING
    await world.submit()


async def test_a_parent_that_waits_has_a_place_its_children_and_a_resumed_one_have_none(world: World) -> None:
    await cap(world, queued=1)
    parent = await world.running()
    assert await world.park(parent, "one", "two") is Answer.OK
    assert (await world.tasks.usage("ada")).queued == 1
    with pytest.raises(LimitReached):
        await world.submit()
    for lease in await world.claim(2):
        await world.complete(lease)
    assert (await world.read(parent.task.id)).state is TaskState.PENDING
    assert (await world.tasks.usage("ada")).queued == 0
    await world.submit()
    with pytest.raises(LimitReached):
        await world.submit()


async def test_known_key_is_not_refused(world: World) -> None:
    await cap(world, queued=1)
    first = await world.submit(idempotency_key="k", idempotency_digest="d")
    again = await world.submit(idempotency_key="k", idempotency_digest="d")
    assert again.id == first.id


async def test_recognised_content_needs_no_place(world: World) -> None:
    await cap(world, queued=0)
    task = await world.submit(completed_with={"duplicate_of": "a"})
    assert task.state is TaskState.COMPLETED


async def test_limit_of_one_user_in_a_batch_refuses_all_of_it(world: World) -> None:
    await cap(world, "bob", queued=0)
    mine = world.new()
    with pytest.raises(LimitReached):
        await world.tasks.submit([mine, world.new("bob")])
    assert await world.tasks.get(mine.id) is None


# bytes


async def test_source_that_does_not_fit_is_refused(world: World) -> None:
    await cap(world, stored_bytes=100)
    lease = await world.running(args=source(60))
    with pytest.raises(LimitReached, match=r"^60 bytes .* 100 may be: 50 more") as caught:
        await world.submit(args=source(50))
    assert caught.value.code == "storage_limit"
    await world.submit(args=source(40))
    await world.complete(lease)
    await world.submit(args=source(60))


async def test_documents_count_until_they_are_removed(world: World) -> None:
    await cap(world, stored_bytes=100)
    lease = await world.running(args=source(60))
    await world.complete(lease, publication=world.publication(size_bytes=70))
    with pytest.raises(LimitReached):
        await world.submit(args=source(31))
    await world.documents.remove("ada", "doc")
    await world.submit(args=source(100))


async def test_url_needs_room_for_something_and_other_tasks_need_none(world: World) -> None:
    await cap(world, stored_bytes=10)
    await world.submit(args=source(10))
    with pytest.raises(LimitReached):
        await world.submit(args={"source": None, "url": "https://example.org/a"})
    await world.submit(args={"n": 1})


async def test_child_is_not_counted_for_what_its_parent_brought(world: World) -> None:
    await cap(world, stored_bytes=100)
    parent = await world.running(args=source(60))
    await world.park(parent, "convert", args=source(60))
    assert (await world.tasks.usage("ada")).stored_bytes == 60
