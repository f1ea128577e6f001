"""API keys in Redis alone (`MORAG_KEY_STORE=redis`): a hash a key, an index of them, and a mark that there was one.

The record of a key that has ended goes ENDED_KEPT_S later, by itself.
"""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from morag.domain.errors import StartupError, Unavailable
from morag.domain.identity import Scope
from morag.domain.keys import ApiKey
from morag.storage.redis.link import Link, Word, linked

ENDED_KEPT_S = 30 * 86_400.0
"""How long lists still show a key that has ended."""
ANSWER_S = 2.0

_INDEX = "morag:keys:index"
"""Ids by when their record goes, in milliseconds since the epoch."""
_MADE = "morag:keys:made"
"""There once a key was made, so that the last one's end does not open the server to everybody."""

_KEEP = """
local function keep(at, id, goes_ms, first, last)
    redis.call('HSET', at, unpack(ARGV, first, last))
    redis.call('ZADD', KEYS[1], goes_ms, id)
    if goes_ms ~= 'inf' then redis.call('PEXPIREAT', at, goes_ms) end
    redis.call('SET', KEYS[2], '1')
end
local function ends(at, id, goes_ms)
    redis.call('PEXPIREAT', at, goes_ms)
    redis.call('ZADD', KEYS[1], goes_ms, id)
end
"""
_ADD = f"{_KEEP} keep(KEYS[3], ARGV[1], ARGV[2], 3, #ARGV)"
_REVOKE = f"""{_KEEP}
if redis.call('EXISTS', KEYS[3]) == 1 and redis.call('HSETNX', KEYS[3], 'revoked_at', ARGV[2]) == 1 then
    ends(KEYS[3], ARGV[1], ARGV[3])
end
return redis.call('HGETALL', KEYS[3])
"""
_SUCCEED = f"""{_KEEP}
if redis.call('EXISTS', KEYS[3]) == 0 or redis.call('HEXISTS', KEYS[3], 'revoked_at') == 1 then return 0 end
local known = redis.call('HGET', KEYS[3], 'expires_at')
if not known or tonumber(known) > tonumber(ARGV[2]) then
    redis.call('HSET', KEYS[3], 'expires_at', ARGV[2])
    ends(KEYS[3], ARGV[1], ARGV[3])
end
keep(KEYS[4], ARGV[4], ARGV[5], 6, #ARGV)
return 1
"""
_TOUCH = """
for i = 1, #KEYS do
    local known = redis.call('HGET', KEYS[i], 'last_used_at')
    if redis.call('EXISTS', KEYS[i]) == 1 and (not known or tonumber(known) < tonumber(ARGV[i])) then
        redis.call('HSET', KEYS[i], 'last_used_at', ARGV[i])
    end
end
"""


class RedisKeyStore:
    """Keys in the server behind `link`; what it answers is what the server holds."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def add(self, key: ApiKey) -> None:
        """Keep a new key."""
        await self._link.ask("ZREMRANGEBYSCORE", _INDEX, "-inf", _ms(key.created_at))
        await self._link.ask("EVAL", _ADD, 3, _INDEX, _MADE, _place(key.id), *_kept(key))

    async def get(self, key_id: str) -> ApiKey | None:
        """The key, live or not; None if there is none of that id."""
        return _key(key_id, await self._link.ask("HGETALL", _place(key_id)))

    async def find(self, *, user_id: str | None = None) -> list[ApiKey]:
        """All keys, or those of a user, newest first; ended ones too, for ENDED_KEPT_S."""
        ids = [str(key_id) for key_id in await self._link.ask("ZRANGE", _INDEX, 0, -1)]
        hashes = await self._link.ask_all([("HGETALL", _place(key_id)) for key_id in ids])
        keys = [_key(key_id, found) for key_id, found in zip(ids, hashes, strict=True)]
        mine = [key for key in keys if key is not None and user_id in {None, key.user_id}]
        return sorted(mine, key=lambda key: (-key.created_at, key.id))

    async def revoke(self, key_id: str, *, at: float) -> ApiKey | None:
        """End a key; one that was revoked before stays as it was. The key afterwards, None if there is none."""
        told = [key_id, repr(at), _ms(at + ENDED_KEPT_S)]
        words: list[str] = await self._link.ask("EVAL", _REVOKE, 3, _INDEX, _MADE, _place(key_id), *told)
        return _key(key_id, dict(zip(words[::2], words[1::2], strict=True)))

    async def succeed(self, key_id: str, successor: ApiKey, *, expires_at: float) -> bool:
        """Keep `successor`, and let the key expire at `expires_at` or earlier; nothing if it was revoked meanwhile."""
        places = [_INDEX, _MADE, _place(key_id), _place(successor.id)]
        told = [key_id, repr(expires_at), _ms(expires_at + ENDED_KEPT_S), *_kept(successor)]
        return bool(await self._link.ask("EVAL", _SUCCEED, 4, *places, *told))

    async def touch(self, used: Mapping[str, float]) -> None:
        """Note when keys were last used; earlier times than those known change nothing."""
        places, times = [_place(key_id) for key_id in used], [repr(at) for at in used.values()]
        await self._link.ask("EVAL", _TOUCH, len(places), *places, *times)

    async def has_any(self) -> bool:
        """Whether a key was ever made; one that has ended counts."""
        return bool(await self._link.ask("EXISTS", _MADE))


@asynccontextmanager
async def key_authority(url: str) -> AsyncGenerator[RedisKeyStore]:
    """The keys in the Redis at `url`. Raises StartupError if it is not there, or would forget on a restart."""
    async with linked(url, timeout_s=ANSWER_S) as link:
        try:
            facts = await link.ask("INFO", "persistence")
        except Unavailable as error:
            raise StartupError(
                "The Redis that MORAG_KEY_STORE=redis makes the keeper of the keys cannot be asked.",
                code="redis_away",
                hint=error.hint,
            ) from error
        if not int(facts.get("aof_enabled", 0)):
            raise StartupError(
                "MORAG_KEY_STORE=redis needs a Redis with `appendonly yes`: else a crash makes revoked keys valid.",
                code="redis_forgets",
                hint="Set `appendonly yes` in its configuration, or leave MORAG_KEY_STORE out to use the database.",
            )
        yield RedisKeyStore(link)


def _place(key_id: str) -> str:
    return f"morag:key:{key_id}"


def _ms(at: float) -> str:
    return str(int(at * 1000))


def _kept(key: ApiKey) -> list[Word]:
    """What `keep` takes: the id, when the record goes, then the fields of the hash."""
    told = {
        "user_id": key.user_id,
        "description": key.description,
        "scopes": json.dumps(sorted(key.scopes)),
        "digest": key.digest,
        # Lua would round the numbers, so they are written here and not touched there
        "created_at": repr(key.created_at),
        "expires_at": None if key.expires_at is None else repr(key.expires_at),
        "revoked_at": None if key.revoked_at is None else repr(key.revoked_at),
        "last_used_at": None if key.last_used_at is None else repr(key.last_used_at),
    }
    goes_ms = "inf" if key.expires_at is None else _ms(key.expires_at + ENDED_KEPT_S)
    pairs = [word for name, value in told.items() if value is not None for word in (name, value)]
    return [key.id, goes_ms, *pairs]


def _key(key_id: str, found: Mapping[str, str]) -> ApiKey | None:
    def moment(name: str) -> float | None:
        return float(found[name]) if name in found else None

    if not found:
        return None
    return ApiKey(
        id=key_id,
        user_id=found["user_id"],
        description=found["description"],
        scopes=frozenset(Scope(scope) for scope in json.loads(found["scopes"])),
        digest=found["digest"],
        created_at=float(found["created_at"]),
        expires_at=moment("expires_at"),
        revoked_at=moment("revoked_at"),
        last_used_at=moment("last_used_at"),
    )
