"""Heavy tasks by a real Celery worker, doorbells through a real Redis: and what it is to lose them."""

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer

from morag.control.tasks.executors.celery import Ring
from morag.domain.errors import StartupError
from morag.domain.identity import LOCAL_LANE
from morag.storage.host import SystemClock
from morag.storage.signals import LocalSignals
from morag.storage.sql.database import open_database
from morag.tasks.celery import CeleryBroker

pytestmark = pytest.mark.xdist_group("celery")

APPS = Path(__file__).parent / "apps"


class Setting:
    """A folder, a broker, and workers started with what the application is started with."""

    def __init__(self, folder: Path, broker: RedisServer, **more: str) -> None:
        self.folder = folder
        self.broker = broker
        self.url = f"redis+socket://{broker.socket}"
        self.environment = {
            "MORAG_DATA_DIR": str(folder / "data"),
            "WITNESS": str(folder / "witness"),
            "CELERY_BROKER_URL": self.url,
            "HEAVY_TASKS": "named",
            **more,
        }
        self._workers: list[subprocess.Popen[bytes]] = []

    def work(self, *options: str) -> "subprocess.Popen[bytes]":
        """Start a worker, as documented."""
        with (self.folder / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "spread:celery", "worker", "--without-mingle", *options],
                env={**os.environ, **self.environment, "PYTHONPATH": str(APPS)},
                stdout=log,
                stderr=log,
            )
        self._workers.append(worker)
        return worker

    @asynccontextmanager
    async def application(self) -> AsyncGenerator[Any]:
        """The application in this process, freshly loaded, its tasks served."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "path", [str(APPS), *sys.path])
            sys.modules.pop("spread", None)
            module = importlib.import_module("spread")
            async with module.tasks:
                yield module
            del sys.modules["spread"]

    def told(self) -> list[str]:
        path = self.folder / "witness"
        return path.read_text().split() if path.exists() else []

    def told_of(self, name: str) -> list[str]:
        return [line.split("-")[0] for line in self.told() if line.split("-")[1] == name]

    def kill(self) -> None:
        """As the kernel does when memory is short: the worker and its pool."""
        for worker in self._workers:
            pool = psutil.Process(worker.pid).children()
            for process in [psutil.Process(worker.pid), *pool]:
                process.kill()
            worker.wait(10)
        self._workers.clear()

    def end(self) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.wait(30)


@pytest.fixture(scope="module")
def broker() -> Generator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, broker: RedisServer) -> Generator[Setting]:
    """One worker for many tests: it takes seconds to start."""
    setting = Setting(tmp_path_factory.mktemp("celery"), broker)
    setting.work("--concurrency=2")
    yield setting
    setting.end()


@pytest.fixture
async def app(shared: Setting) -> AsyncGenerator[Any]:
    async with shared.application() as module:
        yield module


@pytest.fixture
def alone(tmp_path: Path, broker: RedisServer) -> Generator[Callable[..., Setting]]:
    """Settings of a test's own."""
    made: list[Setting] = []

    def make(**more: str) -> Setting:
        broker.empty()
        # a database of its own there: the worker of other tests would answer its doorbells
        aside = {"CELERY_BROKER_URL": f"redis+socket://{broker.socket}?virtual_host=1"}
        made.append(Setting(tmp_path, broker, **{**aside, **more}))
        return made[-1]

    yield make
    for each in made:
        each.end()


async def until(condition: Callable[[], Any], timeout_s: float = 15.0) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def done(app: Any, name: str, *args: Any, **more: Any) -> Any:
    return await app.tasks.wait(await app.tasks.submit(name, *args, **more), 30)


async def reason(setting: Setting, task_id: str) -> str:
    """Why a task went where it went, as its record says.

    Read by the library's own SQLite: a second one in a process, such as sqlite3's, undoes the locks of the first.
    """
    database = await open_database(setting.folder / "data" / "morag.db", clock=SystemClock(), signals=LocalSignals())
    try:
        task = await database.tasks.get(task_id)
    finally:
        await database.close()
    assert task is not None
    return task.routing.reason


async def test_heavy_tasks_run_in_the_worker_and_light_ones_here(app: Any, shared: Setting) -> None:
    answer = {"any": ["JSON", 1.5, None, True]}
    heavy, named, light = await done(app, "heavy", answer), await done(app, "named"), await done(app, "light")
    assert heavy.result[1:] == [answer, False]
    pool = {heavy.result[0], named.result}
    assert os.getpid() not in pool
    assert all("celery" in psutil.Process(pid).cmdline() for pid in pool)
    assert light.result == os.getpid()
    assert [await reason(shared, each.task_id) for each in (heavy, named, light)] == [
        "heavy: by Celery",
        "heavy: by Celery",
        "light: in process",
    ]


async def test_retries_and_progress_work_in_the_worker(app: Any) -> None:
    result = await done(app, "flaky")
    assert (result.status, result.result, result.attempts) == ("success", 3, 3)


@pytest.mark.parametrize("parent", ["ask", "ask_heavily"])
async def test_the_children_of_a_parent_go_where_they_would_by_themselves(
    app: Any, shared: Setting, parent: str
) -> None:
    result = await done(app, parent)
    assert result.status == "success"
    *sums, light = result.result
    assert [(status, value) for status, value, _ in sums] == [("success", 0), ("success", 2), ("success", 4)]
    assert light[:2] == ["success", os.getpid()]
    assert {await reason(shared, each[2]) for each in sums} == {"heavy: by Celery"}
    assert await reason(shared, light[2]) == "light: in process"


async def test_a_cancel_reaches_the_worker(app: Any, shared: Setting) -> None:
    task_id = await app.tasks.submit("slow", "doomed", 60)
    await until(lambda: shared.told_of("doomed"))
    (line,) = [line for line in shared.told() if line.startswith("began-doomed")]
    assert await app.tasks.cancel(task_id)
    await until(lambda: not psutil.pid_exists(int(line.split("-")[2])), timeout_s=2)
    assert (await app.tasks.get_result(task_id)).status == "cancelled"


async def test_a_message_delivered_ten_times_is_one_execution(app: Any, shared: Setting) -> None:
    task_id = await app.tasks.submit("slow", "once", 0.3)
    bells = CeleryBroker(shared.url, "spread")
    bells.ring([Ring(namespace="spread", lane=LOCAL_LANE, task_id=task_id)] * 10)
    result = await app.tasks.wait(task_id, 20)
    await until(lambda: bells.waiting() == 0)
    bells.close()
    assert (await done(app, "heavy")).status == "success"
    assert result.attempts == 1
    assert shared.told_of("once") == ["began", "ended"]


async def test_without_its_broker_heavy_tasks_run_here_and_with_it_in_the_worker_again(
    app: Any, shared: Setting
) -> None:
    async def submitted(why: str) -> Any:
        async with asyncio.timeout(15):
            while True:
                result = await done(app, "heavy")
                if await reason(shared, result.task_id) == why:
                    return result

    shared.broker.crash()
    there = await done(app, "heavy")  # submitted before anyone noticed: done all the same
    here = await submitted("heavy, but the broker does not answer: in process")
    shared.broker.start()
    again = await submitted("heavy: by Celery")
    assert there.status == "success"
    assert here.result[0] == os.getpid()
    assert again.result[0] != os.getpid()


async def test_a_task_whose_worker_is_killed_ends_once_by_the_next(app: Any, shared: Setting) -> None:
    task_id = await app.tasks.submit("slow", "orphan", 1.0)
    await until(lambda: shared.told_of("orphan"))
    shared.kill()
    shared.work("--concurrency=1")
    result = await app.tasks.wait(task_id, 10)
    assert (result.status, result.attempts) == ("success", 2)
    assert shared.told_of("orphan") == ["began", "began", "ended"]


async def test_with_postgres_and_all_by_celery_what_runs_ends_before_the_worker_does(
    alone: Callable[..., Setting], postgres: PostgresServer
) -> None:
    setting = alone(DATABASE_URL=postgres.url.replace("postgresql://", "postgresql+asyncpg://"), TASK_EXECUTOR="celery")
    worker = setting.work("--pool=threads", "--concurrency=2")
    async with setting.application() as app:
        light, parent = await asyncio.gather(done(app, "light"), done(app, "ask_heavily"))
        last = await app.tasks.submit("slow", "last", 0.5)
        await until(lambda: setting.told_of("last"))
        worker.terminate()
        result = await app.tasks.wait(last, 10)
    assert light.result == worker.pid
    assert [value for _, value, _ in parent.result] == [0, 2, 4, worker.pid]
    assert (result.status, result.attempts) == ("success", 1)
    assert worker.wait(10) == 0
    assert not (setting.folder / "data" / "morag.db").exists()


@pytest.mark.parametrize("parent", ["ask", "ask_heavily"])
async def test_with_postgres_and_without_a_broker_parents_and_children_run_here(
    alone: Callable[..., Setting], postgres: PostgresServer, parent: str
) -> None:
    setting = alone(DATABASE_URL=postgres.url, CELERY_BROKER_URL="")
    async with setting.application() as app:
        result = await done(app, parent)
    assert [value for _, value, _ in result.result] == [0, 2, 4, os.getpid()]


async def test_a_worker_without_a_broker_says_so(alone: Callable[..., Setting]) -> None:
    setting = alone(CELERY_BROKER_URL="")
    assert await asyncio.to_thread(setting.work().wait, 30) != 0
    assert "This Celery worker has no broker." in (setting.folder / "worker.log").read_text()


async def test_a_database_url_that_cannot_be_read_is_refused(alone: Callable[..., Setting]) -> None:
    with pytest.raises(StartupError, match="DATABASE_URL") as refused:
        async with alone(DATABASE_URL="postgresql://u:p@host:s3cret/name").application():
            raise AssertionError("opened")
    assert "s3cret" not in str(refused.value)


async def test_a_broker_that_is_none_is_refused(alone: Callable[..., Setting]) -> None:
    with pytest.raises(StartupError) as refused:
        async with alone(CELERY_BROKER_URL="carrier-pigeon://:s3cret@loft").application():
            raise AssertionError("opened")
    assert "CELERY_BROKER_URL" in refused.value.message
    assert "s3cret" not in str(refused.value)
