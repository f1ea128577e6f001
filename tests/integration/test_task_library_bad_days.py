"""The task library on bad days of its file and its machine: what is refused is said, what was acknowledged is kept."""

import asyncio
import contextlib
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from morag import TaskContext, TaskManager
from morag.domain.errors import StartupError, StorageFull, Unavailable
from morag.storage.host import SystemClock
from morag.storage.sql.connection import patiently

DAY_S = 86_400.0
TOO_SMALL = 4096
"""No page fits into a log of this size."""


class App:
    """An application with tasks that end when they are told to."""

    def __init__(self, folder: Path) -> None:
        self.tasks = TaskManager("bad-days", data_dir=folder / "data", drain_s=1)
        self.began: list[str] = []
        self.go = asyncio.Event()
        self.ticks = 0
        self.tasks.task("wait")(self.wait)
        self.tasks.task("echo")(self.echo)
        self.database = folder / "data" / "morag.db"

    async def wait(self, ctx: TaskContext) -> str:
        self.began.append(ctx.task_id)
        await self.go.wait()
        return "waited"

    async def echo(self, value: Any = None) -> Any:
        return value

    async def tick(self) -> None:
        self.ticks += 1

    async def running(self, n: int = 3) -> list[str]:
        """Some tasks that run."""
        ids = [await self.tasks.submit("wait") for _ in range(n)]
        await until(lambda: len(self.began) >= n)
        return ids


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    app = App(tmp_path)
    async with app.tasks:
        yield app
        app.go.set()


async def until(condition: Callable[[], Any], timeout_s: float = 15.0) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def ended_once(app: App, ids: list[str]) -> None:
    app.go.set()
    results = [await app.tasks.wait(task_id, 30) for task_id in ids]
    assert [(each.status, each.result, each.attempts) for each in results] == [("success", "waited", 1)] * len(ids)
    assert sorted(app.began) == sorted(ids)


def set_clock(monkeypatch: pytest.MonkeyPatch, jump_s: float) -> None:
    """Let the wall clock jump; what is measured on the other one stays as it is."""

    def now(_clock: SystemClock) -> float:
        return time.time() + jump_s

    monkeypatch.setattr(SystemClock, "now", now)


@contextlib.contextmanager
def full_disk() -> Generator[None]:
    """No file of this process can grow, until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (TOO_SMALL, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def another(program: str, database: Path) -> Generator[None]:
    """Another process at the file: done with the first part of its program, told to go on at the end of the block.

    Another one it must be: what a process opens and closes of a file undoes the locks it has there.
    """
    command = [sys.executable, "-c", program, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "done\n"
        yield
        assert process.communicate("go on\n", timeout=30) == ("", None)
    assert process.returncode == 0


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("done", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""
DAMAGE = """
import pathlib, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=10)
connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
connection.close()
database = pathlib.Path(sys.argv[1])
sound = database.read_bytes()
with database.open("r+b") as file:
    file.write(bytes([255]) * len(sound))
print("done", flush=True)
sys.stdin.readline()
for name in database.parent.glob("morag.db-*"):
    name.unlink()
database.write_bytes(sound)
"""


async def test_full_disk_refuses_submits_and_loses_nothing_that_was_acknowledged(app: App) -> None:
    ids = await app.running()
    queued = await app.tasks.submit("echo", 7, delay=2.0)
    with full_disk():
        for _ in range(3):
            with pytest.raises((StorageFull, Unavailable)) as refused:
                await app.tasks.submit("echo", 1)
            assert refused.value.hint
        app.go.set()
        await asyncio.wait({asyncio.ensure_future(app.tasks.wait(ids[0]))}, timeout=1.5)
        result = await app.tasks.get_result(ids[0])
        assert result
        assert result.status == "running"
    await ended_once(app, ids)
    assert (await app.tasks.wait(queued, 20)).result == 7
    assert (await app.tasks.wait(await app.tasks.submit("echo", 8), 20)).result == 8


async def test_file_held_by_another_program_delays_submits_and_fails_none(app: App) -> None:
    ids = await app.running()
    with another(HOLD, app.database):
        submitting = asyncio.ensure_future(app.tasks.submit("echo", 1))
        app.go.set()
        done, _ = await asyncio.wait({submitting}, timeout=2.0)
        assert not done
        result = await app.tasks.get_result(ids[0])
        assert result
        assert result.status == "running"
    assert (await app.tasks.wait(await submitting, 20)).result == 1
    await ended_once(app, ids)


async def test_file_held_for_too_long_is_told_and_all_goes_on_when_it_is_free(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await app.running()
    monkeypatch.setattr(patiently, "__kwdefaults__", {"limit_s": 0.3})
    with another(HOLD, app.database):
        with pytest.raises(Unavailable, match="busy") as refused:
            await app.tasks.submit("echo", 1)
        assert refused.value.hint
        app.go.set()
        with pytest.raises(Unavailable, match="busy"):
            await app.tasks.submit("echo", 1)
    assert (await app.tasks.wait(await app.tasks.submit("echo", 2), 20)).result == 2
    await ended_once(app, ids)


async def test_damaged_file_is_told_at_the_start_with_what_to_do(tmp_path: Path) -> None:
    app = App(tmp_path)
    app.database.parent.mkdir()
    app.database.write_bytes(b"not a database, whatever its name says" * 1000)
    with pytest.raises(StartupError) as refused:
        await app.tasks.submit("echo", 1)
    assert refused.value.code == "database_damaged"
    assert refused.value.hint
    app.database.unlink()
    async with app.tasks:
        assert (await app.tasks.wait(await app.tasks.submit("echo", 1), 20)).result == 1


async def test_file_damaged_while_open_is_told_and_a_mended_one_is_used_after_a_new_start(
    app: App, tmp_path: Path
) -> None:
    ids = [await app.tasks.submit("echo", "x" * 2000, delay=3600) for _ in range(200)]
    with another(DAMAGE, app.database):
        troubles = [await outcome(app.tasks.get_result(task_id)) for task_id in ids]
        assert any(isinstance(each, Unavailable) and each.hint for each in troubles)
        assert not [each for each in troubles if isinstance(each, Exception) and not isinstance(each, Unavailable)]
        await app.tasks.close()
    again = App(tmp_path)
    async with again.tasks:
        assert all([await again.tasks.get_result(task_id) for task_id in ids])
        assert (await again.tasks.wait(await again.tasks.submit("echo", 3), 20)).result == 3


async def outcome(asked: Any) -> Any:
    try:
        return await asked
    except Exception as error:  # noqa: BLE001 - which one it is, is what the tests look at
        return error


async def test_folder_where_nothing_can_be_written_is_told_at_the_start() -> None:
    tasks = TaskManager("bad-days", data_dir="/proc/morag")
    with pytest.raises(StartupError) as refused:
        async with tasks:
            pass
    assert (refused.value.code, bool(refused.value.hint)) == ("data_folder_unusable", True)


async def test_folder_deleted_while_open_acknowledges_nothing_and_a_new_start_makes_a_new_one(
    app: App, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    await app.running()
    shutil.rmtree(app.database.parent)
    for n in range(3):
        with pytest.raises(Unavailable) as refused:
            await app.tasks.submit("echo", n)
        assert (refused.value.code, bool(refused.value.hint)) == ("database_gone", True)
    assert (caplog.text + "".join(capsys.readouterr())).count("database_file_gone") == 1
    await app.tasks.close()
    again = App(tmp_path)
    async with again.tasks:
        assert (await again.tasks.wait(await again.tasks.submit("echo", 5), 20)).result == 5


async def test_folder_that_was_moved_away_and_put_back_is_used_on(app: App, tmp_path: Path) -> None:
    ids = await app.running()
    app.database.parent.rename(tmp_path / "elsewhere")
    with pytest.raises(Unavailable):
        await app.tasks.submit("echo", 1)
    (tmp_path / "elsewhere").rename(app.database.parent)
    assert (await app.tasks.wait(await app.tasks.submit("echo", 2), 20)).result == 2
    await ended_once(app, ids)


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
async def test_clock_that_jumps_ends_hastens_and_delays_nothing(
    app: App, jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await app.running()
    ids.append(await app.tasks.submit("wait", deadline=3600.0))
    await until(lambda: len(app.began) == len(ids))
    soon, later = [await app.tasks.submit("echo", delay, delay=delay) for delay in (2.5, 3600.0)]
    set_clock(monkeypatch, jump_s)
    late = await app.tasks.submit("echo", 2, delay=1.0)
    assert (await app.tasks.wait(await app.tasks.submit("echo", 1), 20)).result == 1
    assert [(await app.tasks.wait(each, 20)).result for each in (late, soon)] == [2, 2.5]
    assert [await status(app, each) for each in (*ids, later)] == ["running"] * len(ids) + ["pending"]
    await ended_once(app, ids)


async def test_clock_that_jumps_keeps_an_idempotency_key(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await app.tasks.submit("echo", 1, idempotency_key="once")
    set_clock(monkeypatch, 30 * DAY_S)
    assert await app.tasks.submit("echo", 1, idempotency_key="once") == first


async def test_clock_that_jumped_while_nobody_was_there_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = App(tmp_path), App(tmp_path)
    async with before.tasks:
        soon, later = [await before.tasks.submit("echo", delay, delay=delay) for delay in (2.0, 3600.0)]
    set_clock(monkeypatch, -DAY_S)
    async with after.tasks:
        assert (await after.tasks.wait(soon, 20)).result == 2.0
        set_clock(monkeypatch, DAY_S)
        assert (await after.tasks.wait(await after.tasks.submit("echo", 1), 20)).result == 1
        assert await status(after, later) == "pending"


async def status(app: App, task_id: str) -> str:
    result = await app.tasks.get_result(task_id)
    assert result
    return result.status


@pytest.mark.parametrize("jump_s", [DAY_S, -2 * DAY_S])
async def test_schedules_go_on_after_a_clock_jumped_without_a_storm(
    tmp_path: Path, jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(tmp_path)
    app.tasks.task("tick", every=0.2)(app.tick)
    async with app.tasks:
        await until(lambda: app.ticks >= 2)
        set_clock(monkeypatch, jump_s)
        seen, began = app.ticks, time.monotonic()
        await until(lambda: app.ticks >= seen + 3)
        assert app.ticks - seen <= (time.monotonic() - began) / 0.2 + 3


async def test_name_that_only_a_newer_version_knows_waits_for_it(tmp_path: Path) -> None:
    older, newer = App(tmp_path), App(tmp_path)
    newer.tasks.task("shout")(newer.echo)
    async with older.tasks:
        async with newer.tasks:
            later = await newer.tasks.submit("shout", "hey", delay=0.5)
            await newer.tasks.close()
        both = [await older.tasks.submit("echo", n) for n in range(20)]
        assert [(await older.tasks.wait(each, 20)).result for each in both] == list(range(20))
        with pytest.raises(TimeoutError):
            await older.tasks.wait(later, 1.5)
        async with newer.tasks:
            assert (await newer.tasks.wait(later, 20)).result == "hey"
