"""Who is served next: users by stride scheduling, one user's tasks by standing, priority and age."""

import asyncio
from collections import Counter
from itertools import groupby, pairwise

from tests.contract.conftest import World

from morag.domain.limits import Limits
from morag.domain.task import Lease, Offers, Priority


async def served(world: World, n: int) -> list[str]:
    return [(await one(world)).task.user_id for _ in range(n)]


async def one(world: World) -> Lease:
    (lease,) = await world.claim()
    return lease


async def submit(world: World, user_id: str, n: int) -> None:
    await world.tasks.submit([world.new(user_id) for _ in range(n)])


async def test_small_user_waits_one_grant_behind_a_huge_one(world: World) -> None:
    await submit(world, "huge", 200)
    await served(world, 20)
    await submit(world, "small", 3)
    assert Counter(await served(world, 6)) == {"small": 3, "huge": 3}


async def test_newcomer_waits_at_most_one_grant_for_each_active_user(world: World) -> None:
    for number in range(10):
        await submit(world, f"busy-{number}", 20)
    await served(world, 57)
    await submit(world, "new", 1)
    assert "new" in await served(world, 11)


async def test_newcomer_beside_fifty_busy_users_is_served_within_fifty_one_grants(world: World) -> None:
    await world.tasks.submit([world.new(f"busy-{number}") for number in range(50) for _ in range(4)])
    await served(world, 75)
    await submit(world, "new", 1)
    assert "new" in [lease.task.user_id for lease in await world.claim(51)]


async def test_capped_users_do_not_keep_a_newcomer_waiting(world: World) -> None:
    await world.tasks.set_limits(None, Limits(running=1))
    await world.tasks.submit([world.new(f"busy-{number}") for number in range(50) for _ in range(2)])
    assert len(await world.claim(99)) == 50
    await submit(world, "new", 1)
    assert await served(world, 1) == ["new"]


async def test_user_of_half_the_weight_is_passed_twice_by_another_and_no_more(world: World) -> None:
    await world.tasks.set_limits("half", Limits(weight=0.5))
    for user in ("half", "one", "two"):
        await submit(world, user, 20)
    order = await served(world, 25)
    gaps = [len(list(gap)) for is_half, gap in groupby(order, lambda user: user == "half") if not is_half]
    assert max(gaps) == 4


async def test_user_who_comes_back_has_saved_nothing(world: World) -> None:
    await submit(world, "early", 1)
    await served(world, 1)
    await submit(world, "steady", 40)
    await served(world, 20)
    await submit(world, "early", 20)
    assert Counter(await served(world, 10)) == {"early": 5, "steady": 5}


async def test_user_served_alone_owes_nothing_to_a_newcomer(world: World) -> None:
    await submit(world, "alone", 60)
    await served(world, 30)
    await submit(world, "new", 30)
    assert Counter(await served(world, 20)) == {"alone": 10, "new": 10}


async def test_cancelled_tasks_cost_their_user_nothing(world: World) -> None:
    tasks = await world.tasks.submit([world.new("fickle") for _ in range(50)])
    for task in tasks[:-4]:
        await world.tasks.cancel(task.id, user_id="fickle")
    await submit(world, "other", 4)
    assert Counter((await served(world, 8))[:4]) == {"fickle": 2, "other": 2}


async def test_cancel_of_many_gains_its_user_nothing_and_holds_up_nobody(world: World) -> None:
    tasks = await world.tasks.submit([world.new("fickle") for _ in range(400)])
    await submit(world, "other", 30)
    assert Counter(await served(world, 10)) == {"fickle": 5, "other": 5}
    cancelled = asyncio.gather(*(world.tasks.cancel(task.id, user_id="fickle") for task in tasks))
    assert len(await world.claim(5)) == 5
    assert len([task for task in await cancelled if task]) == 400
    await submit(world, "fickle", 20)
    assert Counter(await served(world, 10)) == {"fickle": 5, "other": 5}


async def test_first_document_of_a_large_ingest_waits_for_its_own_children_only(world: World) -> None:
    await submit(world, "ada", 1_000)
    first = await one(world)
    await world.park(first, "convert", "embed")
    for _ in range(2):
        await world.complete(await one(world))
    again = await one(world)
    assert (again.task.id, sorted(again.children)) == (first.task.id, ["convert", "embed"])
    await world.complete(again)
    assert (await world.tasks.usage("ada")).queued == 999


async def test_one_claim_of_many_is_as_fair_as_many_of_one(world: World) -> None:
    await submit(world, "huge", 50)
    await submit(world, "small", 2)
    leases = await world.claim(4)
    assert Counter(lease.task.user_id for lease in leases) == {"huge": 2, "small": 2}


async def test_user_with_nothing_on_offer_does_not_hold_up_others(world: World) -> None:
    await world.submit("heavy", name="heavy")
    await submit(world, "light", 2)
    offers = Offers(namespace="test", names=frozenset({"work"}))
    assert [lease.task.user_id for lease in await world.claim(5, offers=offers)] == ["light", "light"]


async def test_priority_orders_one_users_tasks_only(world: World) -> None:
    await submit(world, "other", 1)
    low = await world.submit("ada", priority=Priority.BATCH)
    normal = await world.submit("ada")
    urgent = await world.submit("ada", priority=Priority.URGENT)
    leases = await world.claim(4)
    assert [lease.task.id for lease in leases if lease.task.user_id == "ada"] == [urgent.id, normal.id, low.id]
    assert "other" in [lease.task.user_id for lease in leases[:2]]


async def test_older_goes_first_at_equal_priority(world: World) -> None:
    tasks = await world.tasks.submit([world.new() for _ in range(5)])
    assert [lease.task.id for lease in await world.claim(5)] == [task.id for task in tasks]


async def test_resumed_parents_go_before_children_and_children_before_urgent_tasks(world: World) -> None:
    parent = await world.running(priority=Priority.BATCH)
    await world.park(parent, "one")
    child = await one(world)
    assert child.task.parent_id == parent.task.id
    other = await world.submit()
    second = await one(world)
    assert second.task.id == other.id
    await world.park(second, "two")
    urgent = await world.submit(priority=Priority.URGENT)
    await world.complete(child, 1)
    order = [lease.task for lease in await world.claim(3)]
    assert [order[0].id, order[1].parent_id, order[2].id] == [parent.task.id, other.id, urgent.id]


async def test_kinds_of_work_of_one_user_keep_their_common_order(world: World) -> None:
    tasks = await world.tasks.submit([world.new(name=name) for name in ("b", "a", "c", "a", "b")])
    assert [lease.task.id for lease in await world.claim(5)] == [task.id for task in tasks]


async def test_position_counts_the_users_ready_tasks_before_it(world: World) -> None:
    await submit(world, "other", 3)
    first, second = await world.submit(), await world.submit()
    urgent = await world.submit(priority=Priority.URGENT)
    await world.submit(delay_s=60.0)
    assert [await world.tasks.position(task.id) for task in (first, second, urgent)] == [1, 2, 0]
    await world.tasks.cancel(first.id, user_id="ada")
    assert await world.tasks.position(second.id) == 1
    assert await world.tasks.position(first.id) is None
    assert await world.tasks.position("unknown") is None


async def test_nobody_is_passed_twice_by_another_user_while_waiting(world: World) -> None:
    await submit(world, "z-steady", 9)
    await served(world, 5)
    await submit(world, "a-new", 9)
    order = await served(world, 8)
    assert all(first != second for first, second in pairwise(order))
