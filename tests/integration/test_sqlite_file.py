"""The database file: its migrations, its backups, files that are not ours."""

import asyncio
from dataclasses import replace
from importlib import resources
from pathlib import Path

import apsw
import pytest
import uuid_utils

from morag.domain.errors import SchemaTooNew, StartupError
from morag.domain.task import Completed, Lease, NewTask, Offers, Parked
from morag.storage.host import SystemClock, this_worker
from morag.storage.signals import LocalSignals
from morag.storage.sql.connection import connect, patiently
from morag.storage.sql.database import Database, open_database
from morag.storage.sql.migrate import Migration, known_migrations, migrate

FIRST = known_migrations()[:1]
"""A file of the first version; what the later ones add does not matter here."""


async def opened(path: Path) -> Database:
    return await open_database(path, clock=SystemClock(), signals=LocalSignals())


def new_task() -> NewTask:
    return NewTask(id=str(uuid_utils.uuid7()), namespace="test", name="work", user_id="ada")


def version(path: Path) -> int:
    connection = connect(path, is_reader=True)
    found = connection.pragma("user_version")
    connection.close()
    return int(found)


async def test_record_survives_closing_and_opening(tmp_path: Path) -> None:
    path = tmp_path / "morag.db"
    database = await opened(path)
    (task,) = await database.tasks.submit([new_task()])
    await database.meta.set("store_id", "s1")
    await database.close()
    again = await opened(path)
    assert await again.tasks.get(task.id) == task
    assert await again.meta.get("store_id") == "s1"
    assert await again.meta.get("unknown") is None
    await again.close()


async def test_meta_keeps_the_latest_value(tmp_path: Path) -> None:
    database = await opened(tmp_path / "morag.db")
    await database.meta.set("model", "a")
    await database.meta.set("model", "b")
    assert await database.meta.get("model") == "b"
    await database.close()


def test_migrations_are_numbered_without_gaps_and_shipped() -> None:
    found = known_migrations()
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    assert (resources.files("morag.storage.sql") / "migrations" / "0001_record.sql").is_file()


def test_existing_file_is_copied_before_each_migration(tmp_path: Path) -> None:
    path, second = tmp_path / "morag.db", Migration(number=2, statements="CREATE TABLE two (n INTEGER);")
    migrate(path, FIRST)
    assert list(tmp_path.glob("*.before-*")) == []
    migrate(path, [*FIRST, second])
    copy = tmp_path / "morag.db.before-0002"
    assert (version(path), version(copy)) == (2, 1)
    migrate(path, [*FIRST, second])
    assert version(path) == 2


def test_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "morag.db"
    migrate(path, FIRST)
    broken = Migration(number=2, statements="CREATE TABLE two (n INTEGER); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(apsw.SQLError):
        migrate(path, [*FIRST, broken])
    assert version(path) == 1
    migrate(path, [*FIRST, Migration(number=2, statements="CREATE TABLE two (n INTEGER);")])
    assert version(path) == 2


def test_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "morag.db"
    migrate(path, [*FIRST, Migration(number=2, statements="SELECT 1;")])
    with pytest.raises(SchemaTooNew, match="schema 2") as caught:
        migrate(path, FIRST)
    assert caught.value.hint is not None
    assert "morag.db.before-0002" in caught.value.hint
    assert str(tmp_path) not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("content", [b"this is no database, just a text that is long enough" * 100, None])
async def test_damaged_file_is_refused_with_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "morag.db"
    if content is None:
        migrate(path, known_migrations())
        content = path.read_bytes()[:100] + b"\xff" * 8_000
    path.write_bytes(content)
    with pytest.raises(StartupError, match="damaged") as caught:
        await opened(path)
    assert caught.value.hint is not None
    assert "morag backup" in caught.value.hint


async def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = connect(path)
    connection.execute("CREATE TABLE theirs (n INTEGER)")
    connection.close()
    with pytest.raises(StartupError, match="another program"):
        await opened(path)


async def test_backup_taken_while_tasks_come_in_is_whole(tmp_path: Path) -> None:
    database = await opened(tmp_path / "morag.db")
    before = await database.tasks.submit([new_task() for _ in range(50)])
    submits = [asyncio.ensure_future(database.tasks.submit([new_task()])) for _ in range(50)]
    await database.backup(tmp_path / "copy.db")
    await asyncio.gather(*submits)
    await database.close()
    copy = await opened(tmp_path / "copy.db")
    found = await copy.tasks.find(user_id="ada", limit=1_000)
    assert {task.id for task in before} <= {task.id for task in found}
    await copy.close()
    check = connect(tmp_path / "copy.db")
    assert check.pragma("integrity_check") == "ok"
    check.close()


async def test_backup_is_one_file_and_replaces_an_older_one(tmp_path: Path) -> None:
    database = await opened(tmp_path / "morag.db")
    (tmp_path / "out").mkdir()
    await database.backup(tmp_path / "out" / "copy.db")
    await database.tasks.submit([new_task()])
    await database.backup(tmp_path / "out" / "copy.db")
    await database.close()
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["copy.db"]


def test_two_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    async def both() -> None:
        first, second = await asyncio.gather(opened(tmp_path / "morag.db"), opened(tmp_path / "morag.db"))
        (task,) = await first.tasks.submit([new_task()])
        assert await second.tasks.get(task.id) == task
        await first.close()
        await second.close()

    asyncio.run(both())
    assert known_migrations()[-1].number == version(tmp_path / "morag.db")


async def test_sweep_wakes_a_parent_whose_count_of_children_was_lost(tmp_path: Path) -> None:
    path, worker = tmp_path / "morag.db", this_worker("test")
    database = await opened(path)

    async def claim() -> Lease:
        (lease,) = await database.tasks.claim(
            lanes=["celery"], worker=worker, claim_id=new_task().id, n=1, lease_s=30.0, offers=Offers(namespace="test")
        )
        return lease

    await database.tasks.submit([new_task()])
    parent = await claim()
    child = replace(new_task(), step="one")
    await database.tasks.park(parent.task.id, parent.fence, Parked(children=(child,)))
    damage = connect(path)
    patiently(lambda: damage.execute("UPDATE tasks SET open_children = 5 WHERE state = 'waiting'"))
    damage.close()
    lease = await claim()
    await database.tasks.settle(lease.task.id, lease.fence, Completed(result=1))
    assert (await database.tasks.sweep()).unparked == 1
    again = await claim()
    assert (again.task.id, set(again.children)) == (parent.task.id, {"one"})
    await database.close()
