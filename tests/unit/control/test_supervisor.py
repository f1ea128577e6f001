"""The supervisor: one of several acts, chores go on through bad days of the store, the lead is given back."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from morag.control.tasks.supervisor import Chore, Supervisor
from morag.domain.errors import StorageFull, Unavailable
from morag.domain.task import Worker
from morag.storage.memory.documents import MemoryDocumentStore
from morag.storage.memory.tasks import MemoryTaskStore
from morag.storage.signals import LocalSignals

ONE = Worker(id="one", boot_id="boot-1", pid=1)
TWO = Worker(id="two", boot_id="boot-1", pid=2)


class Clock:
    ticks = 100.0

    def now(self) -> float:
        return self.ticks

    def monotonic(self) -> float:
        return self.ticks

    def uptime(self) -> float:
        return self.ticks


class Store(MemoryTaskStore):
    """Fails its acts as told, each with one error."""

    def __init__(self) -> None:
        self.clock, self.troubles = Clock(), list[Exception]()
        self.asked: list[str] = []
        super().__init__(
            MemoryDocumentStore(self.clock),
            clock=self.clock,
            signals=LocalSignals(),
            boot_id="boot-1",
            is_alive=lambda _pid, _started_at: True,
        )

    async def lead(self, worker: Worker, *, lease_s: float) -> bool:
        self.asked.append(worker.id)
        if self.troubles:
            raise self.troubles.pop()
        return await super().lead(worker, lease_s=lease_s)


class Work:
    """A chore that counts."""

    def __init__(self, *troubles: Exception) -> None:
        self.done = 0
        self._troubles = list(troubles)

    async def act(self) -> int:
        self.done += 1
        if self._troubles:
            raise self._troubles.pop()
        return 1

    def chore(self, *, is_own: bool = False) -> Chore:
        return Chore(name="work", every_s=0.005, act=self.act, is_own=is_own)


@asynccontextmanager
async def serving(store: Store, worker: Worker, *chores: Chore) -> AsyncGenerator[None]:
    supervisor = Supervisor(store, worker, chores, lead_s=5.0, sweep_s=0.005)
    loop = asyncio.create_task(supervisor.serve())
    try:
        yield
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while True:
            if condition():
                return
            await asyncio.sleep(0.002)


async def test_leader_does_the_chores_of_all_and_everyone_their_own() -> None:
    store, ones, twos, own = Store(), Work(), Work(), Work()
    async with serving(store, ONE, ones.chore()):
        await until(lambda: ones.done > 2)
        async with serving(store, TWO, twos.chore(), own.chore(is_own=True)):
            await until(lambda: own.done > 2 and store.asked.count("two") > 2)
        assert twos.done == 0


async def test_next_one_takes_over_when_the_leader_stops_cleanly() -> None:
    store, work = Store(), Work()
    async with serving(store, TWO, work.chore()):
        await until(lambda: work.done > 0)
    async with serving(store, ONE):
        await until(lambda: "one" in store.asked)
        assert not await store.lead(TWO, lease_s=5.0)
    assert await store.lead(TWO, lease_s=5.0)


async def test_former_leader_that_finds_another_leading_stops_its_chores() -> None:
    store, work = Store(), Work()
    async with serving(store, ONE, work.chore()):
        await until(lambda: work.done > 0)
        store.clock.ticks += 6.0
        assert await store.lead(TWO, lease_s=1e6)
        asked = len(store.asked)
        await until(lambda: len(store.asked) > asked + 1)
        done = work.done
        await until(lambda: len(store.asked) > asked + 5)
        assert work.done <= done + 1


@pytest.mark.parametrize("trouble", [Unavailable("busy"), StorageFull("full")])
async def test_bad_day_of_the_store_ends_neither_sweeps_nor_chores(trouble: Exception) -> None:
    store, work = Store(), Work(trouble, OSError("no room"), trouble)
    store.troubles = [trouble, trouble]
    async with serving(store, ONE, work.chore()):
        await until(lambda: work.done > 5)
    assert not store.troubles


async def test_bug_in_a_chore_comes_out_of_the_supervisor() -> None:
    store, work = Store(), Work(KeyError("a bug"))
    with pytest.raises(ExceptionGroup):
        await Supervisor(store, ONE, [work.chore()], sweep_s=0.005).serve()
    assert await store.lead(TWO, lease_s=5.0)
