"""A claimer's session ends: what it holds may be granted to others at once, and it may still deliver until then."""

from tests.contract.conftest import REMOTE, WORKER, World

from morag.domain.task import Answer, TaskState


async def test_leases_of_a_claimer_are_found_those_of_one_claim_left_out(world: World) -> None:
    first, second = await world.submit(), await world.submit()
    await world.submit()
    await world.claim(worker=REMOTE, claim_id="c1")
    await world.claim(worker=REMOTE, claim_id="c2")
    await world.claim(worker=WORKER)
    assert await world.tasks.held(REMOTE.id) == [(first.id, 1), (second.id, 1)]
    assert await world.tasks.held(REMOTE.id, but="c1") == [(second.id, 1)]
    assert await world.tasks.held("nobody") == []


async def test_forsaken_leases_are_granted_to_others_at_once(world: World) -> None:
    task = await world.submit()
    await world.claim(worker=REMOTE)
    assert await world.tasks.forsake(REMOTE.id) == 1
    assert await world.tasks.forsake(REMOTE.id) == 0
    (lease,) = await world.claim(worker=WORKER)
    assert (lease.task.id, lease.fence) == (task.id, 2)


async def test_a_forsaken_holder_may_deliver_until_another_has_it_and_no_loss_is_charged(world: World) -> None:
    await world.submit()
    (lease,) = await world.claim(worker=REMOTE)
    await world.tasks.forsake(REMOTE.id)
    assert (await world.read(lease.task.id)).infrastructure_losses == 1
    assert await world.complete(lease, 7) is Answer.OK
    task = await world.read(lease.task.id)
    assert (task.state, task.result, task.infrastructure_losses) == (TaskState.COMPLETED, 7, 0)


async def test_leases_of_others_stay(world: World) -> None:
    lease = await world.running()
    assert await world.tasks.forsake(REMOTE.id) == 0
    assert await world.complete(lease) is Answer.OK
