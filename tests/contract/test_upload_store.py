"""Uploads: their user's alone, for a day, and their content is kept as long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.contract.conftest import Bells, FakeClock
from tests.postgres import PostgresServer

from morag.control.ports import UPLOAD_KEPT_S, TaskStore, UploadStore
from morag.domain.content import Source
from morag.storage.sql.database import open_database
from morag.storage.sql.postgres.database import open_postgres
from morag.storage.sql.transaction import Moment

BLOB = "a" * 64
SOURCE = Source(sha256=BLOB, size_bytes=3 * 1024**3, filename="über.mp4", media_type="video/mp4", url=None)


@dataclass(frozen=True, slots=True)
class Shelf:
    uploads: UploadStore
    tasks: TaskStore
    clock: FakeClock


@pytest.fixture(params=["sqlite", "postgres"])
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        if request.param == "sqlite":
            database = await open_database(tmp_path / "morag.db", clock=clock, signals=Bells())
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            await asyncio.to_thread(server.empty)

            def turned() -> Moment:
                return Moment(now=clock.wall, steady=clock.wall, monotonic=clock.ticks, boot_id="the server")

            database = await open_postgres(server.url, signals=Bells(), turned=turned)
        stack.push_async_callback(database.close)
        yield Shelf(database.uploads, database.tasks, clock)


async def test_an_upload_is_as_it_was_handed_in_and_its_users_alone(shelf: Shelf) -> None:
    await shelf.uploads.keep("ada", "one", SOURCE)
    assert await shelf.uploads.get("ada", "one") == SOURCE
    assert await shelf.uploads.get("eve", "one") is None
    assert await shelf.uploads.get("ada", "two") is None


async def test_after_a_day_it_is_gone_and_its_content_may_go(shelf: Shelf) -> None:
    await shelf.uploads.keep("ada", "one", SOURCE)
    shelf.clock.pass_(UPLOAD_KEPT_S - 1)
    assert await shelf.uploads.get("ada", "one") == SOURCE
    assert await shelf.uploads.forget() == 0
    shelf.clock.pass_(1)
    assert await shelf.uploads.get("ada", "one") is None
    assert await shelf.tasks.referenced([BLOB, "b" * 64]) == {BLOB}, "a task may have just been asked for"
    shelf.clock.pass_(3601)
    assert await shelf.uploads.forget() == 1
    assert await shelf.tasks.referenced([BLOB]) == set()
