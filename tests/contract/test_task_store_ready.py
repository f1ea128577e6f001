"""`TaskStore.ready`: what a reconciler rings doorbells for."""

from dataclasses import replace

from tests.contract.conftest import LANE, NAMESPACE, World

from morag.domain.limits import Limits
from morag.domain.task import Offers

HEAVY = Offers(namespace=NAMESPACE, names=frozenset({"heavy", "huge"}))


async def ready(world: World, offers: Offers = HEAVY, *, lane: str = LANE, limit: int = 100) -> set[tuple[str, int]]:
    return set(await world.tasks.ready(lane, offers, limit=limit))


async def test_ready_tasks_are_those_that_such_a_claimer_could_be_granted(world: World) -> None:
    mine = [await world.submit(name="heavy"), await world.submit("eve", name="huge")]
    light = await world.submit(name="light")
    await world.submit(name="heavy", delay_s=60.0)
    await world.submit(name="heavy", namespace="other")
    elsewhere = await world.submit(name="heavy", lane="gpu-tasks-ada")
    assert await ready(world) == {(task.id, 0) for task in mine}
    assert await ready(world, lane="gpu-tasks-ada") == {(elsewhere.id, 0)}
    assert await ready(world, Offers(namespace=NAMESPACE)) == {(task.id, 0) for task in [*mine, light]}
    assert await ready(world, replace(HEAVY, names=frozenset())) == set()
    assert await ready(world, replace(HEAVY, namespace="nobody")) == set()


async def test_a_claimed_task_is_not_ready_and_a_retried_one_is_with_its_attempts(world: World) -> None:
    lease = await world.running(name="heavy")
    assert await ready(world) == set()
    await world.retry(lease)
    assert await ready(world) == {(lease.task.id, 1)}


async def test_only_content_types_on_offer_are_ready(world: World) -> None:
    audio = await world.submit(name="heavy", args={"content_type": "audio"})
    await world.submit(name="heavy", args={"content_type": "web"})
    assert await ready(world, replace(HEAVY, content_types=frozenset({"audio"}))) == {(audio.id, 0)}


async def test_no_more_are_named_than_asked_for(world: World) -> None:
    for n in range(6):
        await world.submit(f"user{n % 2}", name=("heavy", "huge")[n % 2])
    assert len(await ready(world, limit=4)) == 4
    assert len(await ready(world, limit=0)) == 0


async def test_of_a_user_at_their_limit_nothing_is_ready(world: World) -> None:
    await world.tasks.set_limits("ada", Limits(running=1))
    await world.running(name="heavy")
    await world.submit(name="heavy")
    other = await world.submit("eve", name="heavy")
    assert await ready(world) == {(other.id, 0)}
