"""Users' machines: known by their instance, heard while their session lasts."""

import pytest
from tests.contract.conftest import World

from morag.domain.content import ContentType
from morag.domain.worker import Machine, Presence, Readiness

pytestmark = pytest.mark.parametrize("world", ["sqlite", "postgres"], indirect=True)


def machine(instance_id: str = "box", name: str = "Box") -> Machine:
    return Machine(
        name=name,
        instance_id=instance_id,
        version="1",
        kind="remote_gpu",
        lanes=["gpu-tasks-ada"],
        content_types=frozenset({ContentType.AUDIO, ContentType.VIDEO}),
        capabilities={"models": ["base"]},
        slots=2,
        hardware={"gpu": "one"},
    )


async def test_a_machine_is_as_it_registered(world: World) -> None:
    worker = await world.workers.register("ada", machine(), fresh_id="worker-1")
    assert worker.machine == machine()
    assert (worker.id, worker.user_id, worker.generation) == ("worker-1", "ada", 1)
    assert (worker.readiness, worker.seen_at) == (Readiness.ACTIVE, world.clock.now())
    assert await world.workers.get("worker-1") == worker


async def test_the_same_instance_is_the_same_worker_one_generation_on(world: World) -> None:
    first = await world.workers.register("ada", machine(), fresh_id="worker-1")
    await world.workers.set_readiness("worker-1", Readiness.DRAINING)
    world.clock.pass_(60.0)
    again = await world.workers.register("ada", machine(name="New name"), fresh_id="worker-2")
    assert (again.id, again.generation, again.machine.name) == ("worker-1", 2, "New name")
    assert (again.registered_at, again.seen_at) == (first.registered_at, world.clock.now())
    assert again.readiness is Readiness.ACTIVE


async def test_the_same_instance_of_another_user_is_another_worker(world: World) -> None:
    await world.workers.register("ada", machine(), fresh_id="worker-1")
    other = await world.workers.register("eve", machine(), fresh_id="worker-2")
    assert (other.id, other.generation) == ("worker-2", 1)
    assert [each.id for each in await world.workers.find(user_id="ada")] == ["worker-1"]
    assert [each.id for each in await world.workers.find()] == ["worker-1", "worker-2"]


async def test_silence_makes_it_suspect_then_lost_and_a_word_brings_it_back(world: World) -> None:
    worker = await world.workers.register("ada", machine(), fresh_id="worker-1")
    assert worker.presence(world.clock.now() + 9.9) is Presence.ALIVE
    assert worker.presence(world.clock.now() + 10.0) is Presence.SUSPECT
    assert worker.presence(world.clock.now() + 20.0) is Presence.LOST
    world.clock.pass_(100.0)
    heard = await world.workers.hear("worker-1", 1, load={"cpu": 0.5}, held=1)
    assert heard is not None
    assert heard.presence(world.clock.now()) is Presence.ALIVE
    assert (heard.load, heard.held) == ({"cpu": 0.5}, 1)


async def test_an_older_session_is_not_heard(world: World) -> None:
    await world.workers.register("ada", machine(), fresh_id="worker-1")
    await world.workers.register("ada", machine(), fresh_id="worker-1")
    world.clock.pass_(5.0)
    assert await world.workers.hear("worker-1", 1, load={}, held=9) is None
    kept = await world.workers.get("worker-1")
    assert kept is not None
    assert (kept.held, kept.seen_at) == (0, world.clock.now() - 5.0)


async def test_one_that_left_is_not_there(world: World) -> None:
    await world.workers.register("ada", machine(), fresh_id="worker-1")
    assert await world.workers.remove("worker-1") is True
    assert await world.workers.remove("worker-1") is False
    assert await world.workers.get("worker-1") is None
    assert await world.workers.hear("worker-1", 1, load={}, held=0) is None
    assert await world.workers.set_readiness("worker-1", Readiness.PAUSED) is None
