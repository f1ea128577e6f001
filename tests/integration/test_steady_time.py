"""The steady time of a file: through boots, wrong clocks and several processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.conftest import Bells, FakeClock

from morag.control.ports import UPLOAD_KEPT_S
from morag.domain.content import Source
from morag.storage.sql.connection import connect
from morag.storage.sql.database import Machine, machine_at, open_database
from morag.storage.sql.engine import Engine
from morag.storage.sql.migrate import known_migrations, migrate
from morag.storage.sql.steady_time import NOTED_EVERY_S
from morag.storage.sql.tasks import SqlTaskStore

DAY_S = 86_400.0
START = FakeClock().wall


class Process:
    """One that has the file open."""

    def __init__(self, engine: Engine, machine: Machine) -> None:
        self._engine = engine
        self._machine = machine

    async def passed_s(self) -> float:
        """What it takes for the time since the beginning."""
        return (await self._engine.read(self._machine.moment)).steady - START

    async def sweep(self) -> None:
        await SqlTaskStore(self._engine, self._machine).sweep()


class Computer:
    """A machine with one file, and a wall clock that anybody sets."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock()
        self.engines: list[Engine] = []
        self._path = path
        self._boots = 0

    async def process(self) -> Process:
        engine = Engine(self._path, Bells())
        self.engines.append(engine)
        machine = await machine_at(engine, self.clock, f"boot-{self._boots}", lambda _pid, _started_at: False)
        return Process(engine, machine)

    async def boot(self, *, off_s: float, wrong_s: float = 0.0) -> Process:
        """Off for so long, and back with a wall clock that is wrong by so much."""
        self._boots += 1
        self.clock.wall += off_s + wrong_s
        self.clock.ticks = 7.0
        return await self.process()


@pytest.fixture
async def computer(tmp_path: Path) -> AsyncIterator[Computer]:
    path = tmp_path / "morag.db"
    await asyncio.to_thread(migrate, path, known_migrations())
    computer = Computer(path)
    yield computer
    for engine in computer.engines:
        await engine.close()


async def test_all_processes_of_a_boot_have_one_time_however_the_wall_clock_stood_when_they_came(
    computer: Computer,
) -> None:
    first = await computer.process()
    computer.clock.wall += DAY_S
    second = await computer.process()
    computer.clock.wall -= 3 * DAY_S
    third = await computer.process()
    computer.clock.pass_(5.0)
    assert [await each.passed_s() for each in (first, second, third)] == [5.0, 5.0, 5.0]


async def test_two_processes_that_come_at_once_begin_one_time(computer: Computer) -> None:
    both = await asyncio.gather(computer.process(), computer.process())
    assert [await each.passed_s() for each in both] == [0.0, 0.0]


async def test_a_machine_that_was_off_for_a_day_has_lost_a_day(computer: Computer) -> None:
    await computer.process()
    computer.clock.pass_(30.0)
    again = await computer.boot(off_s=DAY_S)
    assert await again.passed_s() == 30.0 + DAY_S


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
async def test_a_jump_that_a_sweep_saw_is_not_taken_for_time_by_a_later_boot(computer: Computer, jump_s: float) -> None:
    before = await computer.process()
    computer.clock.wall += jump_s
    await before.sweep()
    computer.clock.pass_(30.0)
    again = await computer.boot(off_s=100.0)
    assert await again.passed_s() == 130.0
    later = await computer.boot(off_s=100.0)
    assert await later.passed_s() == 230.0


async def test_a_jump_is_noted_once_by_whichever_process_sweeps(computer: Computer) -> None:
    one, two = await computer.process(), await computer.process()
    computer.clock.wall += DAY_S
    await asyncio.gather(one.sweep(), two.sweep())
    computer.clock.wall -= DAY_S
    await two.sweep()
    again = await computer.boot(off_s=10.0)
    assert await again.passed_s() == 10.0


async def test_a_clock_that_lost_its_date_in_a_boot_sets_nothing_back(computer: Computer) -> None:
    before = await computer.process()
    computer.clock.pass_(NOTED_EVERY_S + 1)
    await before.sweep()
    again = await computer.boot(off_s=100.0, wrong_s=-START)
    assert await again.passed_s() == NOTED_EVERY_S + 1
    computer.clock.wall += START  # the network told the date
    computer.clock.pass_(5.0)
    assert await again.passed_s() == NOTED_EVERY_S + 6
    await again.sweep()
    later = await computer.boot(off_s=100.0)
    assert await later.passed_s() == NOTED_EVERY_S + 106


async def test_an_idle_machine_notes_the_time_each_minute_and_no_more(computer: Computer) -> None:
    process = await computer.process()
    watching = computer.engines[0]

    async def noted() -> str:
        return await watching.read(lambda tx: str(tx.rows("SELECT value FROM meta ORDER BY key")))

    first = await noted()
    for _ in range(int(NOTED_EVERY_S)):
        computer.clock.pass_(1.0)
        await process.sweep()
    assert await noted() == first
    computer.clock.pass_(1.0)
    await process.sweep()
    assert await noted() != first


async def test_a_file_from_before_there_was_a_steady_time_goes_on_by_it(tmp_path: Path) -> None:
    path, clock = tmp_path / "morag.db", FakeClock()
    await asyncio.to_thread(migrate, path, known_migrations()[:7])
    with contextlib.closing(connect(path)) as older:
        for task_id, finished_at in (("old", START - 10 * DAY_S), ("young", START - DAY_S)):
            older.execute(
                "INSERT INTO tasks (id, namespace, name, user_id, lane, content_type, state, args, options, routing,"
                " priority, rank, processing_budget, infrastructure_budget, deadline_s, created_at, ready_at, is_ready,"
                " finished_at) VALUES (:id, 'n', 'work', 'ada', 'celery', '', 'completed', '{}', '{}', '{}',"
                " 5, 1, 3, 5, 60, :at, :at, 0, :at)",
                {"id": task_id, "at": finished_at},
            )
    database = await open_database(path, clock=clock, signals=Bells())
    clock.wall += 400 * DAY_S
    assert await database.tasks.retire(older_than_s=7 * DAY_S) == 1
    clock.pass_(6 * DAY_S + 1)
    assert await database.tasks.retire(older_than_s=7 * DAY_S) == 1
    await database.close()


async def test_an_upload_is_kept_for_its_day_whatever_the_wall_clock_says(tmp_path: Path) -> None:
    clock, source = FakeClock(), Source(sha256="a" * 64, size_bytes=1, filename="a.txt", media_type=None, url=None)
    database = await open_database(tmp_path / "morag.db", clock=clock, signals=Bells())
    await database.uploads.keep("ada", "one", source)
    clock.wall += 400 * DAY_S
    assert await database.uploads.forget() == 0
    assert await database.uploads.get("ada", "one") == source
    clock.wall -= 800 * DAY_S
    clock.pass_(UPLOAD_KEPT_S)
    assert await database.uploads.get("ada", "one") is None
    await database.close()
