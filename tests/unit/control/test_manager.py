"""What `TaskManager` need not read: what it stored just now, and what it is handed when a task ends."""

import asyncio
from dataclasses import replace

import pytest

from morag.control.tasks import manager as module
from morag.control.tasks.manager import TaskManager
from morag.domain.task import NewTask, Task, TaskState
from morag.storage.host import SystemClock
from morag.storage.memory.documents import MemoryDocumentStore
from morag.storage.memory.tasks import MemoryTaskStore
from morag.storage.signals import LocalSignals


class Managed:
    def __init__(self) -> None:
        clock = SystemClock()
        self.signals = LocalSignals()
        store = MemoryTaskStore(
            MemoryDocumentStore(clock), clock=clock, signals=self.signals, boot_id="b", is_alive=_lives
        )
        self.manager = TaskManager(store, self.signals, on_cancel=_nothing)

    async def submit(self, task_id: str) -> Task:
        (task,) = await self.manager.submit([NewTask(id=task_id, namespace="n", name="f", user_id="u")])
        return task


def _lives(pid: int, started_at: float | None) -> bool:
    return bool(pid or started_at)


async def _nothing() -> None:
    await asyncio.sleep(0)


async def test_what_was_just_stored_is_known_once() -> None:
    managed = Managed()
    task = await managed.submit("a")
    assert managed.manager.unchanged("a") == task
    assert managed.manager.unchanged("a") is None


async def test_another_task_is_not_known_by_it() -> None:
    managed = Managed()
    await managed.submit("a")
    assert managed.manager.unchanged("b") is None


async def test_what_was_stored_is_not_known_any_more_once_anything_rang() -> None:
    managed = Managed()
    await managed.submit("a")
    managed.signals.task("a")
    assert managed.manager.unchanged("a") is None
    await managed.submit("b")
    managed.signals.everything()
    assert managed.manager.unchanged("b") is None


async def test_what_was_stored_is_known_for_as_long_as_others_go_unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_S", 0.0)
    managed = Managed()
    await managed.submit("a")
    assert managed.manager.unchanged("a") is None


async def test_a_record_that_is_handed_over_is_not_read() -> None:
    managed = Managed()
    task = await managed.submit("a")
    looks = 0
    looked = asyncio.Event()

    async def look() -> Task:
        nonlocal looks
        looks += 1
        looked.set()
        await asyncio.sleep(0)
        return task

    waiting = asyncio.create_task(managed.manager.ended("a", look, timeout_s=30))
    await looked.wait()
    ended = replace(task, state=TaskState.COMPLETED, finished_at=1.0)
    for sound in managed.signals.sounds([], {"a": ended}).values():
        sound()
    assert await waiting is ended
    assert looks == 1
