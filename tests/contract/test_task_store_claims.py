"""What a claim grants, and what the same claim asked again gives."""

from tests.contract.conftest import LANE, LEASE_S, REMOTE, World

from morag.domain.task import Offers, TaskState


async def test_claim_makes_a_task_running_under_a_new_fence(world: World) -> None:
    lease = await world.running()
    assert (lease.fence, lease.lease_s, lease.task.attempt) == (1, LEASE_S, 1)
    assert lease.task.state is TaskState.RUNNING
    assert lease.task.worker_id == "server-1"
    assert lease.task.started_at == world.clock.wall
    assert await world.read(lease.task.id) == lease.task


async def test_claimed_task_is_not_granted_again(world: World) -> None:
    await world.running()
    assert await world.claim() == []


async def test_same_claim_id_gives_the_same_leases_while_they_are_held(world: World) -> None:
    await world.submit()
    await world.submit()
    first = await world.claim(2, claim_id="once")
    assert [lease.task.id for lease in await world.claim(2, claim_id="once")] == [lease.task.id for lease in first]
    assert [lease.fence for lease in await world.claim(2, claim_id="once")] == [1, 1]
    await world.complete(first[0])
    assert [lease.task.id for lease in await world.claim(2, claim_id="once")] == [first[1].task.id]


async def test_same_claim_id_of_another_worker_gives_nothing_of_the_first(world: World) -> None:
    await world.submit()
    await world.claim(claim_id="once")
    assert await world.claim(claim_id="once", worker=REMOTE) == []


async def test_asking_again_with_a_claim_id_renews_its_leases(world: World) -> None:
    await world.submit()
    await world.claim(claim_id="once")
    world.clock.pass_(LEASE_S - 1)
    await world.claim(claim_id="once")
    world.clock.pass_(LEASE_S - 1)
    assert (await world.tasks.sweep()).expired == 0


async def test_claim_takes_only_lanes_namespaces_names_and_content_types_on_offer(world: World) -> None:
    await world.submit(lane="gpu-tasks-ada")
    await world.submit(namespace="other")
    await world.submit(name="heavy")
    await world.submit(name="convert", args={"content_type": "video"})
    offers = Offers(namespace="test", names=frozenset({"convert"}), content_types=frozenset({"audio", "document"}))
    assert await world.claim(9, offers=offers) == []
    wanted = await world.submit(name="convert", args={"content_type": "audio"})
    assert [lease.task.id for lease in await world.claim(9, offers=offers)] == [wanted.id]


async def test_what_one_claimer_cannot_run_stays_for_another(world: World) -> None:
    heavy = await world.submit(name="heavy")
    assert await world.claim(offers=Offers(namespace="test", names=frozenset({"light"}))) == []
    assert [lease.task.id for lease in await world.claim()] == [heavy.id]


async def test_lanes_are_served_in_the_order_given(world: World) -> None:
    cpu = await world.submit(lane="cpu-tasks-ada")
    gpu = await world.submit(lane="gpu-tasks-ada")
    leases = await world.claim(2, lanes=["gpu-tasks-ada", "cpu-tasks-ada"])
    assert [lease.task.id for lease in leases] == [gpu.id, cpu.id]


async def test_delayed_task_is_granted_only_when_its_time_has_come(world: World) -> None:
    task = await world.submit(delay_s=10.0)
    assert await world.claim() == []
    world.clock.pass_(10.0)
    assert [lease.task.id for lease in await world.claim()] == [task.id]


async def test_sweep_rings_the_lane_of_a_task_whose_delay_is_over(world: World) -> None:
    await world.submit(delay_s=10.0)
    assert world.bells.lanes == []
    world.clock.pass_(10.0)
    await world.tasks.sweep()
    assert world.bells.lanes == [LANE]
