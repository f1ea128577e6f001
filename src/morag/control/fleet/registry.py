"""The registry: which machines of which users are there and what they can do. Read from memory, kept in the store.

Routing asks it on every submit, so nothing here that only looks waits for anything.
"""

from collections.abc import Iterable
from dataclasses import replace
from uuid import uuid4

from morag.control.ports import Clock, WorkerStore
from morag.domain.content import ContentType
from morag.domain.errors import Conflict, InvalidRequest, NotFound
from morag.domain.identity import user_lane
from morag.domain.json import JsonObject
from morag.domain.worker import Machine, Presence, Readiness, RemoteWorker

WORKER_PREFIX = "worker-"
"""How the ids of users' machines begin, and of no other claimer."""
REFRESH_S = 2.0
"""How often what other servers heard is read."""


class Registry:
    """All users' workers, as this server knows them."""

    def __init__(self, store: WorkerStore, clock: Clock) -> None:
        """Keep workers in `store`; their presence is told by the clock's `now`."""
        self._store = store
        self._clock = clock
        self._workers: dict[str, RemoteWorker] = {}

    async def refresh(self) -> int:
        """Read what is in the store, a chore. Nothing to do is nothing to log: 0."""
        self._workers = {worker.id: worker for worker in await self._store.find()}
        return 0

    async def register(self, user_id: str, machine: Machine) -> RemoteWorker:
        """Take a machine in, or back; its sessions before are over. Raises InvalidRequest for a foreign lane."""
        own = lanes_of(user_id, machine.kind)
        foreign = set(machine.lanes) - set(own)
        if foreign:
            raise InvalidRequest(
                f"{min(foreign)} is no lane for this worker.", hint=f"It may serve {', '.join(own)}.", field="lanes"
            )
        served = replace(machine, lanes=tuple(machine.lanes) or tuple(own))
        worker = await self._store.register(user_id, served, fresh_id=WORKER_PREFIX + uuid4().hex[:16])
        self._workers[worker.id] = worker
        return worker

    async def known(self, user_id: str, worker_id: str, generation: int = 0) -> RemoteWorker:
        """The user's worker. Raises NotFound, and Conflict for a session that a later registration ended."""
        worker = self._workers.get(worker_id) or await self._store.get(worker_id)
        if worker is None or worker.user_id != user_id:
            raise _no_such_worker(worker_id)
        if generation not in {0, worker.generation}:
            raise _over()
        return worker

    async def hear(self, worker: RemoteWorker, *, load: JsonObject, held: int) -> RemoteWorker:
        """Note that it is there. Raises Conflict for a session that a later registration ended."""
        heard = await self._store.hear(worker.id, worker.generation, load=load, held=held)
        if heard is None:
            raise _over()
        self._workers[worker.id] = heard
        return heard

    async def set_readiness(self, user_id: str, worker_id: str, readiness: Readiness) -> RemoteWorker:
        """Let the user's worker work, pause or drain. Raises NotFound."""
        await self.known(user_id, worker_id)
        worker = await self._store.set_readiness(worker_id, readiness)
        if worker is None:
            raise _no_such_worker(worker_id)
        self._workers[worker_id] = worker
        return worker

    async def leave(self, user_id: str, worker_id: str) -> None:
        """Forget the user's worker. Raises NotFound."""
        await self.known(user_id, worker_id)
        await self._store.remove(worker_id)
        self._workers.pop(worker_id, None)

    def of_user(self, user_id: str | None) -> list[RemoteWorker]:
        """The user's workers that were heard lately or not; of all users for None."""
        return [worker for worker in self._workers.values() if user_id in {None, worker.user_id}]

    def capable(self, user_id: str, lane: str, content_type: ContentType) -> list[RemoteWorker]:
        """The user's workers that would take such a task from that lane: there, active, of the right kind."""
        now = self._clock.now()
        return [
            worker
            for worker in self.of_user(user_id)
            if worker.readiness is Readiness.ACTIVE
            and worker.presence(now) is not Presence.LOST
            and content_type in worker.machine.content_types
            and lane in worker.machine.lanes
        ]


def lanes_of(user_id: str, kind: str) -> list[str]:
    """The lanes that a user's machine may serve: one with a GPU those of both kinds."""
    cpu, gpu = user_lane(user_id, "cpu"), user_lane(user_id, "gpu")
    return [gpu, cpu] if kind == "remote_gpu" else [cpu]


def ids(workers: Iterable[RemoteWorker]) -> list[str]:
    """Their ids, in order."""
    return sorted(worker.id for worker in workers)


def _no_such_worker(worker_id: str) -> NotFound:
    return NotFound(f"There is no worker {worker_id}.", hint="Register it: POST /api/v1/workers.")


def _over() -> Conflict:
    return Conflict(
        "Another session of this worker registered later.",
        code="session_over",
        hint="Two workers share one instance id: give each a folder of its own.",
    )
