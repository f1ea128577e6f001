"""Users' machines in Redis (`control.ports.WorkerStore`), so that all servers of one store know them at once.

    morag:{store}:workers      their ids
    morag:{store}:instances    `user:instance` to id
    morag:{store}:worker:{id}  a hash a machine

Each act is one script. A Redis that forgets costs each machine a registration: it comes back under a new id.
"""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from morag.control.ports import Clock
from morag.domain.json import JsonObject
from morag.domain.worker import Machine, Readiness, RemoteWorker
from morag.storage.redis.link import Link, linked
from morag.storage.sql.workers import decode_machine, encode_machine

ANSWER_S = 2.0

_REGISTER = """
local id = redis.call('HGET', KEYS[2], ARGV[3])
if not id then
    id = ARGV[2]
    redis.call('SADD', KEYS[1], id)
    redis.call('HSET', KEYS[2], ARGV[3], id)
    redis.call('HSET', ARGV[1] .. id,
        'id', id, 'instance', ARGV[3], 'user_id', ARGV[4], 'registered_at', ARGV[6], 'load', '{}')
end
redis.call('HINCRBY', ARGV[1] .. id, 'generation', 1)
redis.call('HSET', ARGV[1] .. id, 'machine', ARGV[5], 'readiness', 'active', 'seen_at', ARGV[6], 'held', '0')
return redis.call('HGETALL', ARGV[1] .. id)
"""
_HEAR = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return {} end
redis.call('HSET', KEYS[1], 'seen_at', ARGV[2], 'load', ARGV[3], 'held', ARGV[4])
return redis.call('HGETALL', KEYS[1])
"""
_SET_READINESS = """
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
redis.call('HSET', KEYS[1], 'readiness', ARGV[1])
return redis.call('HGETALL', KEYS[1])
"""
_REMOVE = """
local instance = redis.call('HGET', KEYS[3], 'instance')
if not instance then return 0 end
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], instance)
return redis.call('DEL', KEYS[3])
"""


class RedisWorkerStore:
    """Workers in the server behind `link`; what it answers is what the server holds."""

    def __init__(self, link: Link, clock: Clock, *, store_id: str) -> None:
        """`store_id` keeps the machines of several stores apart in one Redis."""
        self._link = link
        self._clock = clock
        self._index, self._instances = f"morag:{store_id}:workers", f"morag:{store_id}:instances"
        self._prefix = f"morag:{store_id}:worker:"

    async def register(self, user_id: str, machine: Machine, *, fresh_id: str) -> RemoteWorker:
        """Keep a machine, one generation on, active and heard now: as it was known by its instance, else `fresh_id`."""
        instance = f"{user_id}:{machine.instance_id}"  # a user's id holds no colon
        told = [self._prefix, fresh_id, instance, user_id, encode_machine(machine), repr(self._clock.now())]
        return _worker(await self._link.ask("EVAL", _REGISTER, 2, self._index, self._instances, *told))

    async def get(self, worker_id: str) -> RemoteWorker | None:
        """The worker, there or lost; None if it never was or left."""
        return _from_hash(await self._link.ask("HGETALL", self._prefix + worker_id))

    async def find(self, *, user_id: str | None = None) -> list[RemoteWorker]:
        """All workers, or those of a user, by id."""
        ids = sorted(await self._link.ask("SMEMBERS", self._index))
        hashes = await self._link.ask_all([("HGETALL", self._prefix + each) for each in ids])
        # one that left in between has no hash any more
        workers = [worker for found in hashes if (worker := _from_hash(found))]
        return [worker for worker in workers if user_id in {None, worker.user_id}]

    async def hear(self, worker_id: str, generation: int, *, load: JsonObject, held: int) -> RemoteWorker | None:
        """Note that it was heard now; None, and nothing noted, if that session is over."""
        told = [str(generation), repr(self._clock.now()), json.dumps(load), str(held)]
        return _maybe(await self._link.ask("EVAL", _HEAR, 1, self._prefix + worker_id, *told))

    async def set_readiness(self, worker_id: str, readiness: Readiness) -> RemoteWorker | None:
        """Let it work, pause or drain. The worker afterwards, None if there is none."""
        place = self._prefix + worker_id
        return _maybe(await self._link.ask("EVAL", _SET_READINESS, 1, place, readiness.value))

    async def remove(self, worker_id: str) -> bool:
        """Forget it: it left. Whether there was one."""
        places = [self._index, self._instances, self._prefix + worker_id]
        return bool(await self._link.ask("EVAL", _REMOVE, 3, *places, worker_id))


@asynccontextmanager
async def shared_workers(url: str, clock: Clock, *, store_id: str) -> AsyncGenerator[RedisWorkerStore]:
    """The machines of a store in the Redis at `url`, whether it is there yet or not."""
    async with linked(url, timeout_s=ANSWER_S) as link:
        yield RedisWorkerStore(link, clock, store_id=store_id)


def _maybe(words: Sequence[str]) -> RemoteWorker | None:
    return _worker(words) if words else None


def _worker(words: Sequence[str]) -> RemoteWorker:
    """From names and values in turns, as a script answers a hash."""
    worker = _from_hash(dict(zip(words[::2], words[1::2], strict=True)))
    if worker is None:
        raise ValueError("a script answered an empty hash")
    return worker


def _from_hash(found: dict[str, str]) -> RemoteWorker | None:
    if not found:
        return None
    return RemoteWorker(
        id=found["id"],
        user_id=found["user_id"],
        machine=decode_machine(found["machine"]),
        generation=int(found["generation"]),
        readiness=Readiness(found["readiness"]),
        registered_at=float(found["registered_at"]),
        seen_at=float(found["seen_at"]),
        load=json.loads(found["load"]),
        held=int(found["held"]),
    )
