"""Users' machines: known by their instance, heard while their session lasts; in both databases and in Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.contract.conftest import Bells, FakeClock
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer

from morag.control.ports import WorkerStore
from morag.domain.content import ContentType
from morag.domain.worker import Machine, Presence, Readiness
from morag.storage.redis.workers import shared_workers
from morag.storage.sql.database import open_database
from morag.storage.sql.postgres.database import open_postgres
from morag.storage.sql.transaction import Moment


@dataclass(frozen=True, slots=True)
class Yard:
    """A store of machines, and its clock."""

    workers: WorkerStore
    clock: FakeClock


async def _sqlite(stack: AsyncExitStack, _request: pytest.FixtureRequest, folder: Path) -> Yard:
    clock = FakeClock()
    database = await open_database(folder / "morag.db", clock=clock, signals=Bells())
    stack.push_async_callback(database.close)
    return Yard(database.workers, clock)


async def _postgres(stack: AsyncExitStack, request: pytest.FixtureRequest, _folder: Path) -> Yard:
    server: PostgresServer = request.getfixturevalue("postgres")
    await asyncio.to_thread(server.empty)
    clock = FakeClock()

    def turned() -> Moment:
        return Moment(now=clock.wall, steady=clock.wall, monotonic=clock.ticks, boot_id="the server")

    database = await open_postgres(server.url, signals=Bells(), turned=turned)
    stack.push_async_callback(database.close)
    return Yard(database.workers, clock)


async def _redis(stack: AsyncExitStack, request: pytest.FixtureRequest, _folder: Path) -> Yard:
    server: RedisServer = request.getfixturevalue("redis")
    server.empty()
    clock = FakeClock()
    return Yard(await stack.enter_async_context(shared_workers(server.url, clock, store_id="one")), clock)


Open = Callable[[AsyncExitStack, pytest.FixtureRequest, Path], Awaitable[Yard]]


@pytest.fixture(params=[_sqlite, _postgres, _redis], ids=lambda each: each.__name__[1:])
async def yard(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Yard]:
    opened: Open = request.param
    async with AsyncExitStack() as stack:
        yield await opened(stack, request, tmp_path)


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


async def test_a_machine_is_as_it_registered(yard: Yard) -> None:
    worker = await yard.workers.register("ada", machine(), fresh_id="worker-1")
    assert worker.machine == machine()
    assert (worker.id, worker.user_id, worker.generation) == ("worker-1", "ada", 1)
    assert (worker.readiness, worker.seen_at) == (Readiness.ACTIVE, yard.clock.now())
    assert await yard.workers.get("worker-1") == worker


async def test_the_same_instance_is_the_same_worker_one_generation_on(yard: Yard) -> None:
    first = await yard.workers.register("ada", machine(), fresh_id="worker-1")
    await yard.workers.set_readiness("worker-1", Readiness.DRAINING)
    yard.clock.pass_(60.0)
    again = await yard.workers.register("ada", machine(name="New name"), fresh_id="worker-2")
    assert (again.id, again.generation, again.machine.name) == ("worker-1", 2, "New name")
    assert (again.registered_at, again.seen_at) == (first.registered_at, yard.clock.now())
    assert again.readiness is Readiness.ACTIVE


async def test_the_same_instance_of_another_user_is_another_worker(yard: Yard) -> None:
    await yard.workers.register("ada", machine(), fresh_id="worker-1")
    other = await yard.workers.register("eve", machine(), fresh_id="worker-2")
    assert (other.id, other.generation) == ("worker-2", 1)
    assert [each.id for each in await yard.workers.find(user_id="ada")] == ["worker-1"]
    assert [each.id for each in await yard.workers.find()] == ["worker-1", "worker-2"]


async def test_silence_makes_it_suspect_then_lost_and_a_word_brings_it_back(yard: Yard) -> None:
    worker = await yard.workers.register("ada", machine(), fresh_id="worker-1")
    assert worker.presence(yard.clock.now() + 9.9) is Presence.ALIVE
    assert worker.presence(yard.clock.now() + 10.0) is Presence.SUSPECT
    assert worker.presence(yard.clock.now() + 20.0) is Presence.LOST
    yard.clock.pass_(100.0)
    heard = await yard.workers.hear("worker-1", 1, load={"cpu": 0.5}, held=1)
    assert heard is not None
    assert heard.presence(yard.clock.now()) is Presence.ALIVE
    assert (heard.load, heard.held) == ({"cpu": 0.5}, 1)


async def test_an_older_session_is_not_heard(yard: Yard) -> None:
    await yard.workers.register("ada", machine(), fresh_id="worker-1")
    await yard.workers.register("ada", machine(), fresh_id="worker-1")
    yard.clock.pass_(5.0)
    assert await yard.workers.hear("worker-1", 1, load={}, held=9) is None
    kept = await yard.workers.get("worker-1")
    assert kept is not None
    assert (kept.held, kept.seen_at) == (0, yard.clock.now() - 5.0)


async def test_one_that_left_is_not_there(yard: Yard) -> None:
    await yard.workers.register("ada", machine(), fresh_id="worker-1")
    assert await yard.workers.remove("worker-1") is True
    assert await yard.workers.remove("worker-1") is False
    assert await yard.workers.get("worker-1") is None
    assert await yard.workers.hear("worker-1", 1, load={}, held=0) is None
    assert await yard.workers.set_readiness("worker-1", Readiness.PAUSED) is None


async def test_an_instance_that_left_comes_back_as_another(yard: Yard) -> None:
    await yard.workers.register("ada", machine(), fresh_id="worker-1")
    await yard.workers.remove("worker-1")
    again = await yard.workers.register("ada", machine(), fresh_id="worker-2")
    assert (again.id, again.generation) == ("worker-2", 1)
    assert await yard.workers.find() == [again]
