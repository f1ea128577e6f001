"""What submit promises: all or none, one task to a key, one ingest to a document id."""

import pytest
from tests.contract.conftest import World

from morag.domain.errors import DocumentExists, IdempotencyConflict
from morag.domain.task import Answer, Completed, Reservation, TaskState

DAY_S = 86_400.0
TAKE = Reservation(document_id="doc", replace_existing=False)
REPLACE = Reservation(document_id="doc", replace_existing=True)


async def test_tasks_of_one_submit_come_back_in_order(world: World) -> None:
    new = [world.new() for _ in range(3)]
    assert [task.id for task in await world.tasks.submit(new)] == [one.id for one in new]


async def test_submit_that_is_refused_stores_none_of_its_tasks(world: World) -> None:
    await world.submit(reservation=TAKE)
    fine = world.new()
    with pytest.raises(DocumentExists):
        await world.tasks.submit([fine, world.new(reservation=TAKE)])
    assert await world.tasks.get(fine.id) is None
    assert len(await world.tasks.find(user_id="ada")) == 1


async def test_two_tasks_of_one_submit_cannot_take_one_document(world: World) -> None:
    with pytest.raises(DocumentExists):
        await world.tasks.submit([world.new(reservation=TAKE), world.new(reservation=TAKE)])
    assert await world.tasks.find(user_id="ada") == []


async def test_same_key_gives_the_same_task_for_a_day(world: World) -> None:
    first = await world.submit(idempotency_key="k", idempotency_digest="d")
    world.clock.pass_(DAY_S - 1)
    assert (await world.submit(idempotency_key="k", idempotency_digest="d")).id == first.id
    world.clock.pass_(1)
    assert (await world.submit(idempotency_key="k", idempotency_digest="d")).id != first.id
    assert len(await world.tasks.find(user_id="ada")) == 2


async def test_known_key_gives_the_task_as_it_is_now(world: World) -> None:
    await world.submit(idempotency_key="k", idempotency_digest="d")
    (lease,) = await world.claim()
    await world.complete(lease, 1)
    again = await world.submit(idempotency_key="k", idempotency_digest="d")
    assert (again.id, again.state, again.result) == (lease.task.id, TaskState.COMPLETED, 1)


async def test_same_key_with_another_body_is_a_conflict(world: World) -> None:
    await world.submit(idempotency_key="k", idempotency_digest="d")
    with pytest.raises(IdempotencyConflict):
        await world.submit(idempotency_key="k", idempotency_digest="other")


async def test_keys_of_users_are_apart(world: World) -> None:
    first = await world.submit("ada", idempotency_key="k", idempotency_digest="d")
    second = await world.submit("eve", idempotency_key="k", idempotency_digest="other")
    assert first.id != second.id


async def test_key_twice_in_one_submit_makes_one_task(world: World) -> None:
    new = [world.new(idempotency_key="k", idempotency_digest="d") for _ in range(2)]
    first, second = await world.tasks.submit(new)
    assert first.id == second.id


async def test_known_key_is_answered_though_its_document_is_taken(world: World) -> None:
    first = await world.submit(idempotency_key="k", idempotency_digest="d", reservation=TAKE)
    assert (await world.submit(idempotency_key="k", idempotency_digest="d", reservation=TAKE)).id == first.id


async def test_document_id_is_taken_from_submit_on(world: World) -> None:
    await world.submit(reservation=TAKE)
    with pytest.raises(DocumentExists):
        await world.submit(reservation=TAKE)


async def test_document_ids_of_users_are_apart(world: World) -> None:
    await world.submit("ada", reservation=TAKE)
    await world.submit("eve", reservation=TAKE)
    assert len(await world.tasks.find(user_id="eve")) == 1


async def test_visible_document_keeps_its_id_taken(world: World) -> None:
    lease = await world.running(reservation=TAKE)
    await world.complete(lease, publication=world.publication())
    with pytest.raises(DocumentExists):
        await world.submit(reservation=TAKE)
    assert await world.documents.remove("ada", "doc")
    await world.submit(reservation=TAKE)


async def test_replacing_is_free_to_submit_but_still_takes_the_id(world: World) -> None:
    await world.submit(reservation=TAKE)
    await world.submit(reservation=REPLACE)
    await world.submit(reservation=REPLACE)
    with pytest.raises(DocumentExists):
        await world.submit(reservation=TAKE)


@pytest.mark.parametrize("end", ["fail", "complete", "cancel", "deadline"])
async def test_task_that_ends_without_publishing_gives_its_document_id_back(world: World, end: str) -> None:
    lease = await world.running(reservation=TAKE)
    if end == "fail":
        await world.fail(lease)
    elif end == "complete":
        await world.complete(lease)
    elif end == "cancel":
        await world.tasks.cancel(lease.task.id, user_id="ada")
    else:
        world.clock.pass_(lease.task.budget.deadline_s)
        await world.tasks.sweep()
    await world.submit(reservation=TAKE)


async def test_retried_and_parked_tasks_keep_their_document_id(world: World) -> None:
    await world.retry(await world.running(reservation=TAKE))
    with pytest.raises(DocumentExists):
        await world.submit(reservation=TAKE)
    (again,) = await world.claim()
    await world.park(again, "one")
    with pytest.raises(DocumentExists):
        await world.submit(reservation=TAKE)


async def test_publication_makes_its_generation_visible_with_the_settlement(world: World) -> None:
    lease = await world.running(reservation=TAKE)
    assert await world.documents.document("ada", "doc") is None
    publication = world.publication(chunking={"strategy": "sentence"})
    outcome = Completed(result={"document_id": "doc"}, publication=publication)
    assert await world.tasks.settle(lease.task.id, lease.fence, outcome) is Answer.OK
    found = await world.documents.document("ada", "doc")
    assert found is not None
    assert (found.user_id, found.publication) == ("ada", publication)
    assert (found.generation.task_id, found.generation.fence) == (lease.task.id, lease.fence)
    assert found.created_at == found.updated_at == world.clock.wall


async def test_publication_of_a_lost_fence_is_not_seen(world: World) -> None:
    lease = await world.running()
    await world.tasks.cancel(lease.task.id, user_id="ada")
    assert await world.complete(lease, publication=world.publication()) is Answer.CANCELLED
    assert await world.documents.document("ada", "doc") is None


async def test_later_submitted_generation_replaces_the_visible_one(world: World) -> None:
    await world.complete(await world.running(), publication=world.publication(title="Old"))
    created_at = world.clock.wall
    world.clock.pass_(60.0)
    lease = await world.running()
    await world.complete(lease, publication=world.publication(title="New"))
    found = await world.documents.document("ada", "doc")
    assert found is not None
    assert (found.publication.title, found.generation.task_id) == ("New", lease.task.id)
    assert (found.created_at, found.updated_at) == (created_at, world.clock.wall)


async def test_earlier_submitted_generation_does_not_replace_a_later_one(world: World) -> None:
    await world.tasks.submit([world.new(), world.new()])
    earlier, later = await world.claim(2)
    assert earlier.task.id < later.task.id
    await world.complete(later, publication=world.publication(title="Later"))
    assert await world.complete(earlier, publication=world.publication(title="Earlier")) is Answer.OK
    found = await world.documents.document("ada", "doc")
    assert found is not None
    assert found.publication.title == "Later"
