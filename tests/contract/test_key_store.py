"""Where keys are kept, they are kept alike: in memory, in both databases, in Redis, and behind copies in Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.conftest import Bells, FakeClock
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer

from morag.control.ports import KeyStore
from morag.domain.identity import Scope
from morag.domain.keys import ApiKey
from morag.storage.memory.keys import MemoryKeyStore
from morag.storage.redis.key_copies import key_copies
from morag.storage.redis.keys import key_authority
from morag.storage.sql.database import open_database
from morag.storage.sql.postgres.database import open_postgres

NOW = 4_000_000_000.125
"""Far off, so that Redis lets no record go while the test looks."""


async def _memory(_stack: AsyncExitStack, _request: pytest.FixtureRequest, _folder: Path) -> KeyStore:
    return MemoryKeyStore()


async def _sqlite(stack: AsyncExitStack, _request: pytest.FixtureRequest, folder: Path) -> KeyStore:
    database = await open_database(folder / "morag.db", clock=FakeClock(), signals=Bells())
    stack.push_async_callback(database.close)
    return database.keys


async def _postgres(stack: AsyncExitStack, request: pytest.FixtureRequest, _folder: Path) -> KeyStore:
    server: PostgresServer = request.getfixturevalue("postgres")
    await asyncio.to_thread(server.empty)
    database = await open_postgres(server.url, signals=Bells())
    stack.push_async_callback(database.close)
    return database.keys


async def _redis(stack: AsyncExitStack, request: pytest.FixtureRequest, _folder: Path) -> KeyStore:
    server: RedisServer = request.getfixturevalue("redis")
    server.empty()
    return await stack.enter_async_context(key_authority(server.url))


async def _copies(stack: AsyncExitStack, request: pytest.FixtureRequest, folder: Path) -> KeyStore:
    server: RedisServer = request.getfixturevalue("redis")
    server.empty()
    authority = await _sqlite(stack, request, folder)
    return await stack.enter_async_context(key_copies(server.url, authority, store_id="the store"))


Open = Callable[[AsyncExitStack, pytest.FixtureRequest, Path], Awaitable[KeyStore]]


@pytest.fixture(params=[_memory, _sqlite, _postgres, _redis, _copies], ids=lambda each: each.__name__[1:])
async def keys(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyStore]:
    opened: Open = request.param
    async with AsyncExitStack() as stack:
        yield await opened(stack, request, tmp_path)


def key(
    key_id: str = "one", user_id: str = "ada", *, created_at: float = NOW, expires_at: float | None = None
) -> ApiKey:
    return ApiKey(
        id=key_id,
        user_id=user_id,
        description="the ümlaut's",
        scopes=frozenset({Scope.SUBMIT, Scope.WORKER}),
        digest=f"digest of {key_id}",
        created_at=created_at,
        expires_at=expires_at,
    )


async def test_key_reads_back_whole(keys: KeyStore) -> None:
    await keys.add(key())
    await keys.add(key("two", expires_at=NOW + 0.1))
    for _ in range(2):  # from the store, then from what it may have copied
        assert await keys.get("one") == key()
        assert await keys.get("two") == key("two", expires_at=NOW + 0.1)


async def test_unknown_key_is_none(keys: KeyStore) -> None:
    await keys.add(key())
    assert await keys.get("another") is None
    assert await keys.revoke("another", at=NOW) is None
    assert await keys.get("another") is None
    await keys.touch({"another": NOW})
    assert await keys.get("another") is None


async def test_keys_are_listed_newest_first_and_by_user(keys: KeyStore) -> None:
    await keys.add(key("b", created_at=NOW + 1))
    await keys.add(key("c", "eve", created_at=NOW + 2))
    await keys.add(key("a"))
    assert [found.id for found in await keys.find()] == ["c", "b", "a"]
    assert [found.id for found in await keys.find(user_id="ada")] == ["b", "a"]
    assert await keys.find(user_id="nobody") == []


async def test_revoked_key_is_so_at_once_and_stays_listed(keys: KeyStore) -> None:
    await keys.add(key())
    assert await keys.get("one") == key()
    revoked = replace(key(), revoked_at=NOW + 5.5)
    assert await keys.revoke("one", at=NOW + 5.5) == revoked
    assert await keys.get("one") == revoked
    assert await keys.find() == [revoked]


async def test_second_revocation_changes_nothing(keys: KeyStore) -> None:
    await keys.add(key())
    first = await keys.revoke("one", at=NOW + 1)
    assert await keys.revoke("one", at=NOW + 2) == first


async def test_successor_lets_the_key_expire(keys: KeyStore) -> None:
    await keys.add(key())
    assert await keys.get("one") == key()
    assert await keys.succeed("one", key("two"), expires_at=NOW + 60)
    assert await keys.get("one") == key(expires_at=NOW + 60)
    assert await keys.get("two") == key("two")


async def test_successor_prolongs_nothing(keys: KeyStore) -> None:
    await keys.add(key(expires_at=NOW + 10))
    assert await keys.succeed("one", key("two"), expires_at=NOW + 60)
    assert await keys.get("one") == key(expires_at=NOW + 10)


async def test_revoked_or_unknown_key_has_no_successor(keys: KeyStore) -> None:
    await keys.add(key())
    await keys.revoke("one", at=NOW)
    assert not await keys.succeed("one", key("two"), expires_at=NOW + 60)
    assert not await keys.succeed("another", key("two"), expires_at=NOW + 60)
    assert await keys.get("two") is None
    assert [found.id for found in await keys.find()] == ["one"]


async def test_last_use_only_moves_on(keys: KeyStore) -> None:
    await keys.add(key("one"))
    await keys.add(key("two"))
    await keys.touch({"one": NOW + 60.5, "two": NOW + 1})
    await keys.touch({"one": NOW + 30})
    found = {each.id: each.last_used_at for each in await keys.find()}
    assert found == {"one": NOW + 60.5, "two": NOW + 1}


async def test_nothing_used_is_nothing_done(keys: KeyStore) -> None:
    await keys.add(key())
    await keys.touch({})
    assert await keys.get("one") == key()


async def test_a_key_that_ended_was_still_made(keys: KeyStore) -> None:
    assert not await keys.has_any()
    await keys.add(key())
    assert await keys.has_any()
    await keys.revoke("one", at=NOW)
    assert await keys.has_any()
