"""Copies of API keys in Redis, so that many servers ask the database for a key once and not each for itself.

A copy lives until KEY_COPY_S after the time, by Redis's clock, at which the database was about to be asked; so a
server that is slow to write one cannot bring back what was revoked meanwhile. Without Redis the database is asked.
"""

import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from morag.control.ports import KEY_COPY_S, KeyStore
from morag.domain.errors import Unavailable
from morag.domain.identity import Scope
from morag.domain.keys import ApiKey
from morag.storage.redis.link import Link, linked
from morag.telemetry import log

ANSWER_S = 0.25
"""Whoever is slower than the database is of no use."""
AWAY_S = 5.0
"""How long a Redis that did not answer is left alone."""


class CopiedKeyStore:
    """The keys of `authority`, with copies in the Redis behind `link`."""

    def __init__(self, authority: KeyStore, link: Link, *, store_id: str) -> None:
        """`store_id` names the authority: another one's copies in the same Redis let nobody in here."""
        self._authority = authority
        self._copies = _Copies(link, store_id)

    async def get(self, key_id: str) -> ApiKey | None:
        """The key, live or not; None if there is none of that id. It may be KEY_COPY_S old."""
        copy, until_ms = await self._copies.look(key_id)
        if copy is not None:
            return copy
        key = await self._authority.get(key_id)
        if key is not None and until_ms is not None:
            await self._copies.keep(key, until_ms)
        return key

    async def revoke(self, key_id: str, *, at: float) -> ApiKey | None:
        """End a key; one that was revoked before stays as it was. The key afterwards, None if there is none."""
        key = await self._authority.revoke(key_id, at=at)
        await self._copies.drop(key_id)
        return key

    async def succeed(self, key_id: str, successor: ApiKey, *, expires_at: float) -> bool:
        """Keep `successor`, and let the key expire at `expires_at` or earlier; nothing if it was revoked meanwhile."""
        is_done = await self._authority.succeed(key_id, successor, expires_at=expires_at)
        await self._copies.drop(key_id)
        return is_done

    async def add(self, key: ApiKey) -> None:
        """Keep a new key."""
        await self._authority.add(key)

    async def find(self, *, user_id: str | None = None) -> list[ApiKey]:
        """All keys, or those of a user, newest first; ended ones too."""
        return await self._authority.find(user_id=user_id)

    async def touch(self, used: Mapping[str, float]) -> None:
        """Note when keys were last used; earlier times than those known change nothing."""
        await self._authority.touch(used)

    async def has_any(self) -> bool:
        """Whether a key was ever made; one that has ended counts."""
        return await self._authority.has_any()


class _Copies:
    """What Redis holds for a moment. That it is away is said once, and when it is back."""

    def __init__(self, link: Link, store_id: str) -> None:
        self._link = link
        self._prefix = f"morag:{store_id}:key"
        self._is_away = False
        self._ask_again_at = 0.0

    async def look(self, key_id: str) -> tuple[ApiKey | None, int | None]:
        """The copy, and until when (Redis's milliseconds) one that is read now would live; None if Redis is away."""
        answers = await self._ask(("TIME",), ("GET", self._place(key_id)))
        if answers is None:
            return None, None
        (seconds, microseconds), copy = answers
        until_ms = int(seconds) * 1000 + int(microseconds) // 1000 + int(KEY_COPY_S * 1000)
        return (_key(copy) if copy else None), until_ms

    async def keep(self, key: ApiKey, until_ms: int) -> None:
        copy = json.dumps({**asdict(key), "scopes": sorted(key.scopes)})
        await self._ask(("SET", self._place(key.id), copy, "PXAT", until_ms))

    async def drop(self, key_id: str) -> None:
        await self._ask(("DEL", self._place(key_id)))

    async def _ask(self, *commands: tuple[str | int, ...]) -> list[Any] | None:
        if self._is_away and time.monotonic() < self._ask_again_at:
            return None
        try:
            answers = await self._link.ask_all(commands)
        except Unavailable as error:
            self._ask_again_at = time.monotonic() + AWAY_S
            if not self._is_away:
                log.warning("key_copies_away", error=error.message, hint="Keys are read from the database meanwhile.")
            self._is_away = True
            return None
        if self._is_away:
            log.info("key_copies_back")
        self._is_away = False
        return answers

    def _place(self, key_id: str) -> str:
        return f"{self._prefix}:{key_id}"


@asynccontextmanager
async def key_copies(url: str, authority: KeyStore, *, store_id: str) -> AsyncGenerator[CopiedKeyStore]:
    """The keys of `authority` with copies in the Redis at `url`, whether it is there yet or not."""
    async with linked(url, timeout_s=ANSWER_S) as link:
        yield CopiedKeyStore(authority, link, store_id=store_id)


def _key(copy: str) -> ApiKey:
    told: dict[str, Any] = json.loads(copy)
    scopes = frozenset(Scope(scope) for scope in told.pop("scopes"))
    return ApiKey(scopes=scopes, **told)
