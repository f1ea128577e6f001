"""Users of the store: their keys and limits, and their machines; opened with a server or beside one."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass

from morag.control.auth import APIKeyService
from morag.control.fleet.registry import Registry
from morag.control.ports import KeyStore, TaskStore, WorkerStore
from morag.control.tasks.intake import new_id
from morag.domain.errors import StartupError, Unavailable
from morag.settings import Settings
from morag.storage.folder import prepare
from morag.storage.host import SystemClock
from morag.storage.redis.key_copies import key_copies
from morag.storage.redis.keys import key_authority
from morag.storage.redis.workers import shared_workers
from morag.storage.signals import LocalSignals
from morag.storage.sql.database import Database, open_database

DATABASE = "morag.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """What is known of users: their keys, and what they may use and do use."""

    keys: APIKeyService
    tasks: TaskStore


@asynccontextmanager
async def opened_users(settings: Settings) -> AsyncGenerator[Users]:
    """Keys and limits, also while a server runs on the same store. Raises StartupError."""
    prepare(settings.data_dir)
    database = await open_database(settings.data_dir / DATABASE, clock=SystemClock(), signals=LocalSignals())
    try:
        async with keys_of(settings, database) as keys:
            yield Users(keys=keys, tasks=database.tasks)
    finally:
        await database.close()


@asynccontextmanager
async def opened_keys(settings: Settings) -> AsyncGenerator[APIKeyService]:
    """The keys alone, also while a server runs on the same store. Raises StartupError."""
    if settings.key_store == "redis":
        async with key_authority(_redis_url(settings)) as store:
            yield APIKeyService(store, SystemClock())
        return
    async with opened_users(settings) as users:
        yield users.keys


@asynccontextmanager
async def keys_of(settings: Settings, database: Database) -> AsyncGenerator[APIKeyService]:
    """The keys of an open database; when each was last used is written down at the end."""
    async with _key_store(settings, database) as store:
        keys = APIKeyService(store, SystemClock())
        try:
            yield keys
        finally:
            with suppress(Unavailable):  # when a key was last used is not worth an error at the end
                await keys.note_use()


def _key_store(settings: Settings, database: Database) -> AbstractAsyncContextManager[KeyStore]:
    if settings.key_store == "redis":
        return key_authority(_redis_url(settings))
    if settings.redis_url is None:
        return nullcontext(database.keys)
    return _copied_keys(settings.redis_url, database)


@asynccontextmanager
async def _copied_keys(redis_url: str, database: Database) -> AsyncGenerator[KeyStore]:
    async with key_copies(redis_url, database.keys, store_id=await _store_id(database)) as store:
        yield store


def _redis_url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise StartupError(
            "MORAG_KEY_STORE=redis needs REDIS_URL.",
            code="bad_setting",
            hint="Set REDIS_URL, or leave MORAG_KEY_STORE out to keep keys in the database.",
        )
    return settings.redis_url


@asynccontextmanager
async def registry_of(settings: Settings, database: Database) -> AsyncGenerator[Registry]:
    """Users' machines: kept in Redis where there is one, else in the database."""
    async with _worker_store(settings.redis_url, await _store_id(database), database) as store:
        registry = Registry(store, SystemClock())
        with suppress(Unavailable):  # a chore reads them again and again
            await registry.refresh()
        yield registry


def _worker_store(redis_url: str | None, store_id: str, database: Database) -> AbstractAsyncContextManager[WorkerStore]:
    if redis_url is None:
        return nullcontext(database.workers)
    return shared_workers(redis_url, SystemClock(), store_id=store_id)


async def _store_id(database: Database) -> str:
    """What the store's things are known by in a Redis that holds those of others too."""
    return await database.meta.keep("store_id", new_id())
