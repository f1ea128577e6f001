"""One leader: taken, renewed, given back, and lost by time or death."""

import asyncio

from tests.contract.conftest import REMOTE, World

from morag.domain.task import Worker

LEASE_S = 5.0
ONE = Worker(id="one", boot_id="boot-1", pid=100, pid_started_at=1.0)
TWO = Worker(id="two", boot_id="boot-1", pid=200, pid_started_at=1.0)


async def leads(world: World, worker: Worker) -> bool:
    return await world.tasks.lead(worker, lease_s=LEASE_S)


async def test_first_who_asks_leads_and_others_do_not(world: World) -> None:
    assert await leads(world, ONE)
    assert not await leads(world, TWO)
    assert await leads(world, ONE)


async def test_of_many_who_ask_at_once_one_leads(world: World) -> None:
    workers = [Worker(id=f"w{n}", boot_id="boot-1", pid=n) for n in range(10)]
    answers = await asyncio.gather(*(leads(world, worker) for worker in workers))
    assert sum(answers) == 1


async def test_leader_who_keeps_asking_stays_leader(world: World) -> None:
    for _ in range(4):
        assert await leads(world, ONE)
        assert not await leads(world, TWO)
        world.clock.pass_(LEASE_S - 0.5)


async def test_leader_is_followed_when_its_lease_is_over_and_not_before(world: World) -> None:
    assert await leads(world, ONE)
    world.clock.pass_(LEASE_S - 0.1)
    assert not await leads(world, TWO)
    world.clock.pass_(0.2)
    assert await leads(world, TWO)
    assert not await leads(world, ONE)


async def test_leader_whose_lease_is_over_leads_again_if_nobody_was_quicker(world: World) -> None:
    assert await leads(world, ONE)
    world.clock.pass_(10 * LEASE_S)
    assert await leads(world, ONE)
    assert not await leads(world, TWO)


async def test_dead_leader_of_this_machine_is_followed_at_once(world: World) -> None:
    assert await leads(world, ONE)
    world.dead.add(100)
    assert await leads(world, TWO)
    assert not await leads(world, Worker(id="three", boot_id="boot-1", pid=300))


async def test_process_of_an_earlier_boot_of_this_machine_leads_no_more(world: World) -> None:
    assert await leads(world, Worker(id="before", boot_id="boot-0", pid=100))
    # on a shared store another boot may be another machine: only its lease tells
    assert await leads(world, ONE) is not world.is_shared


async def test_leader_elsewhere_is_judged_by_its_lease_alone(world: World) -> None:
    assert await leads(world, REMOTE)
    assert not await leads(world, ONE)
    world.clock.pass_(LEASE_S + 0.1)
    assert await leads(world, ONE)


async def test_leader_who_resigns_is_followed_at_once(world: World) -> None:
    assert await leads(world, ONE)
    await world.tasks.resign(ONE)
    assert await leads(world, TWO)


async def test_who_does_not_lead_gives_nothing_back(world: World) -> None:
    await world.tasks.resign(TWO)
    assert await leads(world, ONE)
    await world.tasks.resign(TWO)
    assert not await leads(world, TWO)


async def test_wall_clock_that_jumps_changes_no_lead(world: World) -> None:
    assert await leads(world, ONE)
    world.clock.wall += 86_400.0
    assert not await leads(world, TWO)
    world.clock.wall -= 2 * 86_400.0
    assert not await leads(world, TWO)
    assert await leads(world, ONE)
