"""Users' machines in SQL (`control.ports.WorkerStore`)."""

import json
from functools import lru_cache

from morag.domain.content import ContentType
from morag.domain.json import JsonObject
from morag.domain.worker import Machine, Readiness, RemoteWorker
from morag.storage.sql.records import dump
from morag.storage.sql.statements import workers as sql
from morag.storage.sql.transaction import Host, Row, Transaction, Transactor, Value


class SqlWorkerStore:
    """Workers, durable at every return."""

    def __init__(self, engine: Transactor, host: Host) -> None:
        self._engine = engine
        self._host = host

    async def register(self, user_id: str, machine: Machine, *, fresh_id: str) -> RemoteWorker:
        """Keep a machine, one generation on, active and heard now: as it was known by its instance, else `fresh_id`."""
        told = encode_machine(machine)

        def act(tx: Transaction) -> RemoteWorker:
            now = self._host.moment(tx).now
            terms: dict[str, Value] = {"instance_id": machine.instance_id, "machine": told, "now": now}
            (row,) = tx.rows(sql.REGISTER, id=fresh_id, user_id=user_id, **terms)
            return _worker(row)

        return await self._engine.write(act)

    async def get(self, worker_id: str) -> RemoteWorker | None:
        """The worker, there or lost; None if it never was or left."""
        return await self._engine.read(lambda tx: _first(tx.rows(sql.GET, id=worker_id)))

    async def find(self, *, user_id: str | None = None) -> list[RemoteWorker]:
        """All workers, or those of a user, by id."""
        return await self._engine.read(lambda tx: [_worker(row) for row in tx.rows(sql.FIND, user_id=user_id)])

    async def hear(self, worker_id: str, generation: int, *, load: JsonObject, held: int) -> RemoteWorker | None:
        """Note that it was heard now; None, and nothing noted, if that session is over."""

        def act(tx: Transaction) -> RemoteWorker | None:
            now = self._host.moment(tx).now
            return _first(tx.rows(sql.HEAR, id=worker_id, generation=generation, now=now, load=dump(load), held=held))

        return await self._engine.write(act, is_urgent=True)

    async def set_readiness(self, worker_id: str, readiness: Readiness) -> RemoteWorker | None:
        """Let it work, pause or drain. The worker afterwards, None if there is none."""
        return await self._engine.write(
            lambda tx: _first(tx.rows(sql.SET_READINESS, id=worker_id, readiness=readiness.value))
        )

    async def remove(self, worker_id: str) -> bool:
        """Forget it: it left. Whether there was one."""
        return await self._engine.write(lambda tx: tx.run(sql.REMOVE, id=worker_id) > 0)


def encode_machine(machine: Machine) -> str:
    """A machine as JSON."""
    return dump(
        {
            "name": machine.name,
            "instance_id": machine.instance_id,
            "version": machine.version,
            "kind": machine.kind,
            "lanes": list(machine.lanes),
            "content_types": sorted(machine.content_types),
            "capabilities": machine.capabilities,
            "slots": machine.slots,
            "hardware": machine.hardware,
        }
    )


@lru_cache(maxsize=4096)
def decode_machine(text: str) -> Machine:
    """From `encode_machine`. A machine is read at each of its heartbeats, and hardly ever changes."""
    told = json.loads(text)
    content_types = frozenset(ContentType(each) for each in told.pop("content_types"))
    return Machine(content_types=content_types, **told)


def _first(rows: list[Row]) -> RemoteWorker | None:
    return _worker(rows[0]) if rows else None


def _worker(row: Row) -> RemoteWorker:
    return RemoteWorker(
        id=row[0],
        user_id=row[1],
        machine=decode_machine(row[2]),
        generation=row[3],
        readiness=Readiness(row[4]),
        registered_at=row[5],
        seen_at=row[6],
        load=json.loads(row[7]),
        held=row[8],
    )
