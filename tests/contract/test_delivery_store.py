"""Deliveries come with the end of a task, whichever end it is, and are there until they are delivered or given up."""

from dataclasses import replace
from typing import Any

import pytest
from tests.contract.conftest import DECISION, FAILURE, World

from morag.domain.task import Budget, Completed, Failed, TimedOut
from morag.domain.webhook import Delivery, WebhookEvent

pytestmark = pytest.mark.parametrize("world", ["sqlite", "postgres"], indirect=True)

URL = "https://example.org/hook?token=1"


async def take(world: World, *busy: str, limit: int = 10) -> list[Delivery]:
    return await world.deliveries.take(limit=limit, hold_s=60.0, busy=busy)


async def told(world: World) -> list[str]:
    return sorted(each.event.value for each in await take(world))


async def hooked(world: World, user_id: str = "ada", **fields: Any) -> str:
    return (await world.submit(user_id, webhook_url=URL, **fields)).id


async def test_each_end_is_told(world: World) -> None:
    for outcome, event in (
        (Completed(result=1), "task.completed"),
        (Failed(failure=FAILURE, decision=DECISION), "task.failed"),
        (TimedOut(failure=FAILURE, decision=DECISION), "task.timeout"),
    ):
        lease = await world.running(webhook_url=URL)
        await world.tasks.settle(lease.task.id, lease.fence, outcome)
        (delivery,) = await take(world)
        assert (delivery.event.value, delivery.task_id, delivery.url) == (event, lease.task.id, URL)
        assert (delivery.user_id, delivery.tries) == ("ada", 0)


async def test_ends_without_a_holder_are_told(world: World) -> None:
    await world.tasks.cancel(await hooked(world), user_id="ada")
    assert await told(world) == ["task.cancelled"]
    await hooked(world, budget=Budget(waiting_s=5.0))
    world.clock.pass_(6.0)
    await world.tasks.sweep()
    assert await told(world) == ["task.timeout"]


async def test_a_published_document_is_told_beside_its_task(world: World) -> None:
    lease = await world.running(webhook_url=URL)
    await world.complete(lease, publication=world.publication())
    assert await told(world) == ["document.ingested", "task.completed"]


async def test_recognised_content_is_told_at_submit(world: World) -> None:
    await hooked(world, completed_with={"document_id": "d"})
    assert await told(world) == ["document.ingested", "task.completed"]


async def test_a_settlement_that_comes_twice_or_too_late_is_told_once(world: World) -> None:
    lease = await world.running(webhook_url=URL)
    await world.tasks.cancel(lease.task.id, user_id="ada")
    await world.complete(lease)
    await world.tasks.cancel(lease.task.id, user_id="ada")
    assert await told(world) == ["task.cancelled"]


async def test_nobody_is_told_who_did_not_ask(world: World) -> None:
    await world.complete(await world.running())
    assert await told(world) == []


async def test_what_was_taken_is_due_again_after_the_hold(world: World) -> None:
    await world.complete(await world.running(webhook_url=URL))
    (first,) = await take(world)
    assert await take(world) == []
    world.clock.pass_(61.0)
    (again,) = await take(world)
    assert again.id == first.id


async def test_what_came_of_a_try_is_kept(world: World) -> None:
    await world.complete(await world.running(webhook_url=URL))
    (delivery,) = await take(world)
    due_at = world.clock.now() + 5.0
    await world.deliveries.note(replace(delivery, tries=1, status=500, error="It answered 500.", due_at=due_at))
    world.clock.pass_(6.0)
    (again,) = await take(world)
    assert (again.tries, again.status, again.error) == (1, 500, "It answered 500.")
    now = world.clock.now()
    await world.deliveries.note(replace(again, tries=2, status=200, error=None, due_at=None, delivered_at=now))
    world.clock.pass_(1_000.0)
    assert await take(world) == []
    (kept,) = await world.deliveries.of_user("ada", limit=10)
    assert (kept.status, kept.delivered_at, kept.due_at) == (200, now, None)


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
async def test_a_wall_clock_that_jumps_neither_hastens_nor_delays_a_try(world: World, jump_s: float) -> None:
    await world.complete(await world.running(webhook_url=URL))
    (delivery,) = await take(world)
    await world.deliveries.note(replace(delivery, tries=1, due_at=world.clock.now() + 5.0))
    world.jump(jump_s)
    world.clock.pass_(4.0)
    assert await take(world) == []
    (shown,) = await world.deliveries.of_user("ada", limit=1)
    assert shown.due_at == world.clock.now() + 1.0
    world.clock.pass_(1.0)
    assert len(await take(world)) == 1


async def test_busy_users_are_left_out(world: World) -> None:
    for user_id in ("ada", "eve"):
        await world.complete(await world.running(user_id, webhook_url=URL))
    assert [each.user_id for each in await take(world, "ada")] == ["eve"]


async def test_deliveries_are_listed_newest_first_and_only_ones_own(world: World) -> None:
    for user_id in ("ada", "ada", "eve"):
        await world.complete(await world.running(user_id, webhook_url=URL))
    newest, oldest = await world.deliveries.of_user("ada", limit=10)
    assert newest.id > oldest.id
    assert await world.deliveries.of_user("ada", limit=10, before=newest.id) == [oldest]
    assert await world.deliveries.of_user("ada", limit=1) == [newest]


async def test_a_secret_stays_until_it_is_rotated(world: World) -> None:
    first = await world.deliveries.secret("ada", b"1" * 32)
    assert (await world.deliveries.secret("ada", b"2" * 32)) == first
    assert first.current == b"1" * 32
    rotated = await world.deliveries.rotate("ada", b"3" * 32)
    assert (rotated.current, rotated.previous, rotated.rotated_at) == (b"3" * 32, b"1" * 32, world.clock.now())
    assert (await world.deliveries.secret("eve", b"4" * 32)).current == b"4" * 32
    assert (await world.deliveries.rotate("mia", b"5" * 32)).previous is None


async def test_old_deliveries_that_ended_are_forgotten(world: World) -> None:
    await world.complete(await world.running(webhook_url=URL))
    (delivery,) = await take(world)
    world.clock.pass_(100.0)
    assert await world.deliveries.forget(older_than_s=50.0) == 0
    await world.deliveries.note(replace(delivery, due_at=None))
    assert await world.deliveries.forget(older_than_s=200.0) == 0
    assert await world.deliveries.forget(older_than_s=50.0) == 1
    assert delivery.event is WebhookEvent.COMPLETED
