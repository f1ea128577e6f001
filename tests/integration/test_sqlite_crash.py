"""Processes killed at work, and processes that share the file: what was acknowledged is there, and once."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.integration.churning import ENDLESS, kill, lines, start

from morag.domain.task import Offers, Task, TaskState
from morag.storage.host import SystemClock, this_worker
from morag.storage.signals import LocalSignals
from morag.storage.sql.connection import connect
from morag.storage.sql.database import Database, open_database


async def opened(path: Path) -> Database:
    return await open_database(path, clock=SystemClock(), signals=LocalSignals())


async def records(database: Database, ids: Sequence[str]) -> list[Task | None]:
    return [await database.tasks.get(task_id) for task_id in ids]


async def test_kill_in_the_middle_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "morag.db"
    told: list[list[str]] = []
    for run in range(3):
        process = await start(str(path), f"run-{run}", ENDLESS)
        told += await lines(process, 150, "settled")
        told += await kill(process)
        database = await opened(path)
        submitted = [line[1] for line in told if line[0] == "submitted"]
        settled = [line[1] for line in told if line[0] == "settled"]
        assert None not in await records(database, submitted)
        done = await records(database, settled)
        assert {task.state for task in done if task} == {TaskState.COMPLETED}
        assert Counter(settled).most_common(1)[0][1] == 1
        await database.close()
    check = connect(path)
    assert check.pragma("integrity_check") == "ok"
    check.close()


async def test_start_takes_up_what_a_killed_process_held(tmp_path: Path) -> None:
    path = tmp_path / "morag.db"
    process = await start(str(path), "first", ENDLESS)
    await lines(process, 50, "settled")
    await kill(process)
    database = await opened(path)
    held = (await database.tasks.lanes())["celery"].running
    worker = this_worker("second")
    assert await database.tasks.reclaim(keep=worker) == held
    open_tasks = (await database.tasks.lanes())["celery"].length
    leases = await database.tasks.claim(
        lanes=["celery"],
        worker=worker,
        claim_id="all",
        n=open_tasks + 1,
        lease_s=30.0,
        offers=Offers(namespace="churn"),
    )
    assert len(leases) == open_tasks
    await database.close()


async def test_two_processes_share_one_file_and_no_grant(tmp_path: Path) -> None:
    path = tmp_path / "morag.db"
    processes = await asyncio.gather(start(str(path), "one", 150), start(str(path), "two", 150))
    told = await asyncio.gather(*(lines(process, 200, "settled") for process in processes))
    rest = await asyncio.gather(*(kill(process) for process in processes))
    every = [line for part in (*told, *rest) for line in part]
    granted = Counter((line[1], line[2]) for line in every if line[0] == "granted")
    assert granted.most_common(1)[0][1] == 1
    assert {line[0] for line in every} == {"submitted", "granted", "settled"}
    for told_by in told:
        assert sum(line[0] == "settled" for line in told_by) == 200
