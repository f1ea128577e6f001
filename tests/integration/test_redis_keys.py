"""Redis as the keeper of keys and as a place for copies: it crashes, goes away, forgets, lags, is another's."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.redis_server import RedisServer

from morag.bootstrap.users import opened_keys
from morag.control.auth import APIKeyService
from morag.control.ports import KEY_COPY_S
from morag.domain.errors import StartupError, Unavailable
from morag.domain.identity import Scope
from morag.domain.keys import ApiKey
from morag.settings import Settings
from morag.storage.host import SystemClock
from morag.storage.memory.keys import MemoryKeyStore
from morag.storage.redis import key_copies as copies
from morag.storage.redis.key_copies import CopiedKeyStore, key_copies
from morag.storage.redis.keys import ENDED_KEPT_S, key_authority
from morag.storage.redis.link import Command, Link, linked

NOWHERE = "unix:///nowhere/redis.sock"


class AwayLink(Link):
    """Leads nowhere, and counts who goes there."""

    def __init__(self) -> None:
        self.asked = 0

    async def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        self.asked += 1
        raise Unavailable(f"{len(commands)} commands went nowhere.")


@pytest.fixture
def fragile() -> Iterator[RedisServer]:
    """A server of the test's own, to be stopped."""
    server = RedisServer(is_durable=True)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def forgetful() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def authority() -> MemoryKeyStore:
    store = MemoryKeyStore()
    await store.add(key())
    return store


@pytest.fixture
async def copied(redis: RedisServer, authority: MemoryKeyStore) -> AsyncIterator[CopiedKeyStore]:
    redis.empty()
    async with key_copies(redis.url, authority, store_id="one") as store:
        yield store


def key(key_id: str = "one") -> ApiKey:
    scopes = frozenset({Scope.SUBMIT})
    return ApiKey(id=key_id, user_id="ada", description="", scopes=scopes, digest="d", created_at=time.time())


async def test_revoked_key_stays_so_when_redis_is_killed(fragile: RedisServer) -> None:
    async with key_authority(fragile.url) as store:
        keys = APIKeyService(store, SystemClock())
        kept, revoked = await keys.issue("ada"), await keys.issue("ada")
        await keys.revoke_api_key(revoked.key.id)
        await asyncio.to_thread(fragile.crash)
        await asyncio.to_thread(fragile.start)
        fresh = APIKeyService(store, SystemClock())
        assert await fresh.validate_api_key(kept.text) is not None
        assert await fresh.validate_api_key(revoked.text) is None


async def test_keeper_that_is_away_lets_nobody_in_until_it_is_back(fragile: RedisServer) -> None:
    async with key_authority(fragile.url) as store:
        text = await APIKeyService(store, SystemClock()).create_api_key("ada")
        await asyncio.to_thread(fragile.stop)
        with pytest.raises(Unavailable) as told:
            await APIKeyService(store, SystemClock()).validate_api_key(text)
        assert str(fragile.socket) not in told.value.message
        await asyncio.to_thread(fragile.start)
        assert await APIKeyService(store, SystemClock()).validate_api_key(text) is not None


async def test_keeper_that_would_forget_is_refused(forgetful: RedisServer) -> None:
    with pytest.raises(StartupError) as refused:
        async with key_authority(forgetful.url):
            raise AssertionError("it was taken")
    assert refused.value.code == "redis_forgets"
    assert "appendonly" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("url", "code"), [(NOWHERE, "redis_away"), ("http://:s3cret@x", "bad_setting"), ("redis://h:s3cret", "bad_setting")]
)
async def test_keeper_that_is_not_there_is_told_without_its_address(url: str, code: str) -> None:
    with pytest.raises(StartupError) as refused:
        async with key_authority(url):
            raise AssertionError("it was taken")
    assert refused.value.code == code
    assert "s3cret" not in f"{refused.value} {refused.value.hint}"


async def test_keeper_without_an_address_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, key_store="redis")
    with pytest.raises(StartupError, match="REDIS_URL"):
        async with opened_keys(settings):
            raise AssertionError("it was taken")


async def test_records_of_ended_keys_go_by_themselves(redis: RedisServer) -> None:
    redis.empty()
    async with key_authority(redis.url) as store:
        keys = APIKeyService(store, SystemClock())
        lasting, expiring, revoked = await keys.issue("a"), await keys.issue("a", expires_days=1), await keys.issue("a")
        await keys.revoke_api_key(revoked.key.id)
    ttl_s: dict[str, float] = {}
    async with linked(redis.url, timeout_s=2) as link:
        for each in (lasting, expiring, revoked):
            ttl_s[each.key.id] = int(await link.ask("PTTL", f"morag:key:{each.key.id}")) / 1000
    assert ttl_s[lasting.key.id] < 0
    assert ttl_s[revoked.key.id] == pytest.approx(ENDED_KEPT_S, abs=60)
    assert ttl_s[expiring.key.id] == pytest.approx(86_400 + ENDED_KEPT_S, abs=60)


async def test_second_server_reads_the_copy(
    redis: RedisServer, authority: MemoryKeyStore, copied: CopiedKeyStore
) -> None:
    first = await copied.get("one")
    async with key_copies(redis.url, MemoryKeyStore(), store_id="one") as second:
        assert await second.get("one") == first == await authority.get("one")


async def test_copy_ends_in_time_though_nobody_drops_it(authority: MemoryKeyStore, copied: CopiedKeyStore) -> None:
    began = time.monotonic()
    assert await copied.get("one") == key_of(await authority.get("one"))
    await authority.revoke("one", at=1.0)
    while key_of(await copied.get("one")).revoked_at is None:
        assert time.monotonic() - began < KEY_COPY_S + 0.2
        await asyncio.sleep(0.005)


async def test_late_copy_is_no_copy(redis: RedisServer, copied: CopiedKeyStore) -> None:
    """What a slow server read before a revocation cannot come back after it."""
    async with linked(redis.url, timeout_s=2) as link:
        seconds, _ = await link.ask("TIME")
        await link.ask("SET", "morag:one:key:one", json.dumps({"id": "forged"}), "PXAT", int(seconds) * 1000 - 1)
    assert key_of(await copied.get("one")).user_id == "ada"


async def test_copies_of_another_store_let_nobody_in(redis: RedisServer, copied: CopiedKeyStore) -> None:
    assert await copied.get("one") is not None
    async with key_copies(redis.url, MemoryKeyStore(), store_id="two") as other:
        assert await other.get("one") is None


async def test_unknown_keys_leave_nothing_in_redis(redis: RedisServer, copied: CopiedKeyStore) -> None:
    assert await copied.get("another") is None
    assert redis.ask("DBSIZE") == ":0\r\n"


async def test_without_redis_the_database_is_asked_and_that_is_said_once(
    forgetful: RedisServer, authority: MemoryKeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "AWAY_S", 0.0)
    with structlog.testing.capture_logs() as told:
        async with key_copies(forgetful.url, authority, store_id="one") as store:
            assert await store.get("one") is not None
            await asyncio.to_thread(forgetful.stop)
            for _ in range(3):
                assert await store.get("one") is not None
            assert key_of(await store.revoke("one", at=1.0)).revoked_at == 1.0
            await asyncio.to_thread(forgetful.start)
            for _ in range(3):
                assert key_of(await store.get("one")).revoked_at == 1.0
    assert [line["event"] for line in told] == ["key_copies_away", "key_copies_back"]


async def test_redis_that_is_away_is_left_alone_for_a_while(authority: MemoryKeyStore) -> None:
    link = AwayLink()
    store = CopiedKeyStore(authority, link, store_id="one")
    for _ in range(5):
        assert await store.get("one") is not None
    assert link.asked == 1


def key_of(found: ApiKey | None) -> ApiKey:
    assert found is not None
    return found
