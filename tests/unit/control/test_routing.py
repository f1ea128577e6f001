"""Where a user's conversion goes, and why: by what was asked for and which machines are there."""

from dataclasses import replace
from typing import Any, cast

import pytest

from morag.control.fleet.registry import Registry, lanes_of
from morag.control.ports import TaskStore, WorkerStore
from morag.control.routing import UserTaskRouter
from morag.domain.content import ContentType
from morag.domain.identity import ANONYMOUS, LOCAL_LANE
from morag.domain.worker import LEASE_S, Machine, Readiness, RemoteWorker, Wish, WorkerKind

GPU, CPU = "gpu-tasks-ada", "cpu-tasks-ada"


class Clock:
    wall = 1_000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.wall


class Workers:
    """Workers in a list."""

    def __init__(self) -> None:
        self.all: list[RemoteWorker] = []

    async def find(self, *, user_id: str | None = None) -> list[RemoteWorker]:
        return [each for each in self.all if user_id in {None, each.user_id}]


class World:
    def __init__(self) -> None:
        self.clock, self.workers = Clock(), Workers()
        self.registry = Registry(cast("WorkerStore", self.workers), self.clock)
        self.router = UserTaskRouter(self.registry, cast("TaskStore", None), is_enabled=True)

    async def has(self, kind: WorkerKind, user_id: str = "ada", *, seen_s_ago: float = 0.0, **more: Readiness) -> None:
        machine = Machine(
            name=kind,
            instance_id=kind,
            version="1",
            kind=kind,
            lanes=tuple(lanes_of(user_id, kind)),
            content_types=frozenset({ContentType.AUDIO}),
            capabilities={},
            slots=1,
            hardware={},
        )
        worker = RemoteWorker(
            id=f"worker-{len(self.workers.all)}",
            user_id=user_id,
            machine=machine,
            generation=1,
            readiness=Readiness.ACTIVE,
            registered_at=0.0,
            seen_at=self.clock.now() - seen_s_ago,
            load={},
            held=0,
        )
        self.workers.all.append(replace(worker, **more))
        await self.registry.refresh()

    def lane(self, *, user_id: str = "ada", content_type: ContentType = ContentType.AUDIO, **wish: bool) -> str:
        return self.router.route(user_id, Wish(**wish), content_type).lane


@pytest.fixture
def world() -> World:
    return World()


async def test_what_nobody_asked_for_stays_here(world: World) -> None:
    await world.has("remote_gpu")
    assert world.lane() == LOCAL_LANE


@pytest.mark.parametrize(
    ("kind", "wish", "lane"),
    [
        ("remote_gpu", {"gpu": True}, GPU),
        ("remote_gpu", {"remote": True}, GPU),
        ("remote_cpu", {"remote": True}, CPU),
        ("remote_cpu", {"gpu": True}, LOCAL_LANE),
    ],
)
async def test_the_lane_is_that_of_a_machine_that_is_there(
    world: World, kind: WorkerKind, wish: dict[str, Any], lane: str
) -> None:
    await world.has(kind)
    assert world.lane(**wish) == lane


async def test_without_a_machine_it_is_local_and_the_reason_says_so(world: World) -> None:
    routing = world.router.route("ada", Wish(remote=True), ContentType.AUDIO)
    assert (routing.lane, routing.reason) == (LOCAL_LANE, "remote asked for, no worker of yours alive, local")
    assert [each.lane for each in routing.considered] == [GPU, CPU]


@pytest.mark.parametrize(
    "more", [{"seen_s_ago": LEASE_S}, {"readiness": Readiness.PAUSED}, {"readiness": Readiness.DRAINING}]
)
async def test_a_machine_that_is_lost_paused_or_leaving_does_not_count(world: World, more: dict[str, Any]) -> None:
    await world.has("remote_gpu", **more)
    assert world.lane(remote=True) == LOCAL_LANE


async def test_another_users_machine_and_one_of_another_content_do_not_count(world: World) -> None:
    await world.has("remote_gpu", "eve")
    assert world.lane(remote=True) == LOCAL_LANE
    await world.has("remote_gpu")
    assert world.lane(remote=True, content_type=ContentType.IMAGE) == LOCAL_LANE


async def test_where_local_is_ruled_out_it_waits_where_any_machine_that_comes_may_take_it(world: World) -> None:
    assert world.lane(remote=True, fallback_to_local=False) == CPU
    assert world.lane(gpu=True, fallback_to_local=False) == GPU


async def test_who_has_no_key_has_no_machines(world: World) -> None:
    await world.has("remote_gpu", ANONYMOUS)
    assert world.lane(user_id=ANONYMOUS, remote=True) == LOCAL_LANE


async def test_switched_off_all_is_local(world: World) -> None:
    await world.has("remote_gpu")
    router = UserTaskRouter(world.registry, cast("TaskStore", None), is_enabled=False)
    routing = router.route("ada", Wish(gpu=True), ContentType.AUDIO)
    assert (routing.lane, "REMOTE_CONVERSION_ENABLED" in routing.reason) == (LOCAL_LANE, True)


async def test_the_questions_of_old_are_answered(world: World) -> None:
    await world.has("remote_gpu")
    assert world.router.has_user_workers_available("ada", ContentType.AUDIO)
    assert not world.router.has_user_workers_available("eve", ContentType.AUDIO)
    assert world.router.should_use_remote_worker("ada", Wish(remote=True), ContentType.AUDIO)
    assert [each.id for each in world.router.get_user_workers("ada")] == ["worker-0"]
    assert world.router.get_user_queue_name("ada") == GPU
