"""Counting page views: in Redis if there is one, else in the application's own database.

`sync` moves the counts to their sentences, each view once, however often it is killed and repeated: what Redis has
counted is first put aside under a name of its own, and the database remembers the names it has added.
"""

import asyncio
import logging
import uuid
from contextlib import suppress
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from store import Store

COUNTING = "speaking:impressions"
ASIDE = "speaking:impressions:aside:"
PATIENCE_S = 1.0
"""A page waits no longer for Redis."""

log = logging.getLogger(__name__)


class Views(Protocol):
    """Where views are counted."""

    async def count(self, resource_id: str) -> None:
        """Count one view of a sentence."""
        ...

    async def sync(self) -> int:
        """Move what is counted to the sentences: how many views."""
        ...


class LocalViews:
    """Counts in the database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def count(self, resource_id: str) -> None:
        """Count one view."""
        await asyncio.to_thread(self._store.count_view, resource_id)

    async def sync(self) -> int:
        """Move them, in one transaction."""
        return await asyncio.to_thread(self._store.move_views)


class RedisViews:
    """Counts in Redis, where a view costs no write to a disk."""

    def __init__(self, store: Store, url: str) -> None:
        """Nothing is connected yet."""
        self._store = store
        self._local = LocalViews(store)
        self._redis: Any = Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - the client is typed in part
            url, decode_responses=True, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
        )

    async def count(self, resource_id: str) -> None:
        """Count one view; in the database if Redis does not answer, because the page is shown in any case."""
        try:
            await self._redis.hincrby(COUNTING, resource_id, 1)
        except RedisError as error:
            log.warning("Redis does not answer (%s): the view is counted in the database", type(error).__name__)
            await self._local.count(resource_id)

    async def sync(self) -> int:
        """Move them. Raises RedisError."""
        moved = await self._local.sync()
        with suppress(ResponseError):  # there is nothing new
            await self._redis.rename(COUNTING, f"{ASIDE}{uuid.uuid4().hex}")
        async for batch in self._redis.scan_iter(f"{ASIDE}*"):  # with those that a killed run has left
            counts = await self._redis.hgetall(batch)
            moved += await asyncio.to_thread(
                self._store.add_views, batch, {name: int(views) for name, views in counts.items()}
            )
            await self._redis.delete(batch)
        return moved
