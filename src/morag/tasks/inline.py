"""The harness for tests of applications: what is submitted has run when submit returns, in memory, without a file.

Retries happen at once, delays are left out, heavy functions run in a thread of this process.
"""

import asyncio
from dataclasses import replace
from uuid import uuid4

from morag.control.ports import TaskStore
from morag.control.tasks.definitions import Registry
from morag.control.tasks.manager import TaskManager
from morag.domain.identity import LOCAL_LANE
from morag.domain.task import Extension, Lease, NewTask, Offers, Outcome, Parked, Progress, Retried, Task
from morag.storage.host import SystemClock, boot_id, is_alive, this_worker
from morag.storage.memory.blobs import MemoryBlobStore
from morag.storage.memory.documents import MemoryDocumentStore
from morag.storage.memory.tasks import MemoryTaskStore
from morag.storage.signals import LocalSignals
from morag.worker.functions.runner import FunctionRunner

LEASE_S = 3600.0


class Inline:
    """Stands in for the engine while a harness is open."""

    def __init__(self, namespace: str, registry: Registry) -> None:
        clock, signals = SystemClock(), LocalSignals()
        self._namespace = namespace
        self._worker = this_worker("inline")
        self._blobs = MemoryBlobStore()
        self._runner = FunctionRunner(registry, self.blobs, children=None, kin=self._kin)
        self.store: TaskStore = MemoryTaskStore(
            MemoryDocumentStore(clock), clock=clock, signals=signals, boot_id=boot_id(), is_alive=is_alive
        )
        self.manager = TaskManager(self.store, signals, on_cancel=_nothing)

    async def _kin(self, task_id: str) -> list[Task]:
        return await self.store.children(task_id)

    async def blobs(self) -> MemoryBlobStore:
        """Where large arguments and results are."""
        return self._blobs

    async def submit(self, new: NewTask) -> Task:
        """Store and run to the end."""
        (task,) = await self.store.submit([replace(new, delay_s=0.0)])
        while await self._attempt():
            pass
        return task

    async def _attempt(self) -> bool:
        """Run the one task that is ready; False if there is none."""
        leases = await self.store.claim(
            lanes=[LOCAL_LANE],
            worker=self._worker,
            claim_id=str(uuid4()),
            n=1,
            lease_s=LEASE_S,
            offers=Offers(namespace=self._namespace),
        )
        for lease in leases:
            await self._settle(lease)
        return bool(leases)

    async def _settle(self, lease: Lease) -> None:
        told: list[Progress] = []

        def report(fraction: float, stage: str, message: str) -> None:
            told.append(Progress(fraction=fraction, stage=stage, message=message))

        outcome = await self._runner.run(lease, report)
        news = [Extension(task_id=lease.task.id, fence=lease.fence, progress=each) for each in told]
        await self.store.extend(news, lease_s=LEASE_S)
        if isinstance(outcome, Parked):
            await self.store.park(lease.task.id, lease.fence, outcome)
        else:
            await self.store.settle(lease.task.id, lease.fence, _at_once(outcome))


def _at_once(outcome: Outcome) -> Outcome:
    if isinstance(outcome, Retried):
        return replace(outcome, decision=replace(outcome.decision, delay_s=0.0))
    return outcome


async def _nothing() -> None:
    await asyncio.sleep(0)
