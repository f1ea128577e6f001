"""The server goes and comes, is another one, or not there; its schema is made, moved on, and refused."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uuid_utils
from tests.postgres import PostgresServer

from morag.domain.errors import InvalidRequest, SchemaTooNew, StartupError, Unavailable
from morag.domain.task import Answer, Completed, NewTask, Offers
from morag.storage.host import this_worker
from morag.storage.signals import LocalSignals
from morag.storage.sql.migrate import Migration, known_migrations
from morag.storage.sql.postgres.database import PostgresDatabase, open_postgres
from morag.storage.sql.postgres.link import Address, Link
from morag.storage.sql.postgres.migrate import migrate


@pytest.fixture
def fragile() -> Iterator[PostgresServer]:
    """A server of the test's own, to be stopped."""
    server = PostgresServer(is_durable=True)
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def address(postgres: PostgresServer) -> AsyncIterator[Address]:
    """A schema of the test's own on the common server."""
    name = f"test_{uuid_utils.uuid7().hex}"
    yield Address(url=postgres.url, schema=name)
    await asyncio.to_thread(postgres.script, f"DROP SCHEMA IF EXISTS {name} CASCADE")


async def opened(address: Address) -> PostgresDatabase:
    return await open_postgres(address.url, schema=address.schema, signals=LocalSignals())


def new_task() -> NewTask:
    return NewTask(id=str(uuid_utils.uuid7()), namespace="test", name="work", user_id="ada")


def move(address: Address, *more: Migration) -> None:
    link = Link(address)
    try:
        migrate(link, address.schema, [*known_migrations(), *more])
    finally:
        link.close()


async def version(address: Address) -> int:
    def ask() -> int:
        link = Link(address)
        link.open()
        ((number,),) = link.rows("SELECT number FROM schema_version", {})
        link.close()
        return int(number)

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_server_that_restarts_has_what_was_acknowledged_and_work_goes_on(
    fragile: PostgresServer, how: str
) -> None:
    database = await opened(fragile.address)
    kept, refused, is_back, worker = list[str](), 0, False, this_worker("test")

    async def submit() -> None:
        nonlocal refused
        after = 0
        while after < 20:
            new = new_task()
            try:
                await database.tasks.submit([new])
            except Unavailable:
                refused += 1
                await asyncio.sleep(0.01)
                continue
            kept.append(new.id)
            after += is_back

    async def restart() -> None:
        nonlocal is_back
        while len(kept) < 50:  # noqa: ASYNC110 -- a condition of the test's own, met within moments
            await asyncio.sleep(0.01)
        await asyncio.to_thread(fragile.stop if how == "stop" else fragile.crash)
        with pytest.raises(Unavailable):
            await database.tasks.lanes()
        await asyncio.to_thread(fragile.start)
        is_back = True

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(submit())
        group.create_task(restart())
    assert refused
    assert None not in [await database.tasks.get(task_id) for task_id in kept]
    (lease,) = await database.tasks.claim(
        lanes=["celery"], worker=worker, claim_id="one", n=1, lease_s=30.0, offers=Offers(namespace="test")
    )
    assert await database.tasks.settle(lease.task.id, lease.fence, Completed(result=1)) is Answer.OK
    await database.close()


async def test_connection_that_broke_while_idle_is_made_anew_unseen(fragile: PostgresServer) -> None:
    database = await opened(fragile.address)
    await database.meta.set("key", "value")
    await asyncio.to_thread(fragile.stop)
    await asyncio.to_thread(fragile.start)
    assert await database.meta.get("key") == "value"
    await database.close()


async def test_server_that_is_not_there_is_told_without_its_address(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot be reached") as caught:
        await open_postgres(f"postgresql://me:secret@/morag?host={tmp_path}", signals=LocalSignals())
    assert caught.value.code == "database_unreachable"
    assert caught.value.hint is not None
    assert "secret" not in caught.value.message + caught.value.hint


async def test_database_that_is_not_there_is_told(postgres: PostgresServer) -> None:
    url = postgres.url.replace("/postgres?", "/nothing?")
    with pytest.raises(StartupError) as caught:
        await open_postgres(url, signals=LocalSignals())
    assert caught.value.code == "database_missing"


async def test_user_who_may_not_make_the_schema_is_told(postgres: PostgresServer, address: Address) -> None:
    await asyncio.to_thread(postgres.script, "CREATE ROLE guest LOGIN")
    try:
        with pytest.raises(StartupError) as caught:
            await opened(Address(url=postgres.url.replace("//postgres@", "//guest@"), schema=address.schema))
    finally:
        await asyncio.to_thread(postgres.script, "DROP ROLE guest")
    assert caught.value.code == "database_refused"


async def test_record_survives_closing_and_opening(address: Address) -> None:
    database = await opened(address)
    (task,) = await database.tasks.submit([new_task()])
    await database.meta.set("store_id", "a")
    await database.meta.set("store_id", "b")
    await database.close()
    again = await opened(address)
    assert await again.tasks.get(task.id) == task
    assert await again.meta.get("store_id") == "b"
    assert await again.meta.get("unknown") is None
    await again.close()


async def test_servers_that_start_at_once_make_one_schema(address: Address) -> None:
    servers = await asyncio.gather(*(opened(address) for _ in range(4)))
    (task,) = await servers[0].tasks.submit([new_task()])
    assert [await server.tasks.get(task.id) for server in servers] == [task] * 4
    for server in servers:
        await server.close()
    assert await version(address) == known_migrations()[-1].number


async def test_migration_that_fails_leaves_the_schema_as_it_was(address: Address) -> None:
    number = known_migrations()[-1].number + 1
    await asyncio.to_thread(move, address)
    broken = Migration(number=number, statements="CREATE TABLE more (n INTEGER); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(Exception, match="nowhere"):
        await asyncio.to_thread(move, address, broken)
    assert await version(address) == number - 1
    await asyncio.to_thread(move, address, Migration(number=number, statements="CREATE TABLE more (n INTEGER);"))
    assert await version(address) == number


async def test_newer_schema_is_refused_with_what_to_do(address: Address) -> None:
    number = known_migrations()[-1].number + 1
    await asyncio.to_thread(move, address, Migration(number=number, statements="SELECT 1;"))
    with pytest.raises(SchemaTooNew, match=f"schema {number}") as caught:
        await opened(address)
    assert caught.value.hint is not None
    assert "newer MoRAG" in caught.value.hint


async def test_schema_of_another_program_is_refused(postgres: PostgresServer, address: Address) -> None:
    name = address.schema
    await asyncio.to_thread(postgres.script, f"CREATE SCHEMA {name}; CREATE TABLE {name}.theirs (n BIGINT)")
    with pytest.raises(StartupError, match="another program"):
        await opened(address)


async def test_name_of_a_schema_is_no_place_for_sql(postgres: PostgresServer) -> None:
    with pytest.raises(InvalidRequest):
        await open_postgres(postgres.url, schema='x"; DROP TABLE y; --', signals=LocalSignals())


async def test_backup_is_left_to_the_tools_of_the_server(address: Address, tmp_path: Path) -> None:
    database = await opened(address)
    with pytest.raises(InvalidRequest) as caught:
        await database.backup(tmp_path / "copy.db")
    assert caught.value.hint is not None
    assert "pg_dump" in caught.value.hint
    await database.close()
