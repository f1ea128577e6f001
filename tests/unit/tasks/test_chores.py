"""What is done from time to time for an application, and by whom."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
import structlog

from morag.control.tasks.definitions import Registry, Terms, define
from morag.control.tasks.intake import new_id
from morag.control.tasks.supervisor import Chore
from morag.domain.task import NewTask
from morag.storage.host import SystemClock
from morag.storage.memory.documents import MemoryDocumentStore
from morag.storage.memory.tasks import MemoryTaskStore
from morag.storage.signals import LocalSignals
from morag.tasks.chores import chores


class Folder:
    """A folder of blobs with one that nobody refers to."""

    def __init__(self) -> None:
        self.blobs = ["unwanted"]

    async def sweep(self, is_referenced: Callable[[Sequence[str]], Awaitable[set[str]]], /) -> int:
        before, kept = self.blobs, await is_referenced(self.blobs)
        self.blobs = [each for each in before if each in kept]
        return len(before) - len(self.blobs)


@pytest.fixture
def store() -> MemoryTaskStore:
    clock = SystemClock()
    documents = MemoryDocumentStore(clock)
    return MemoryTaskStore(documents, clock=clock, signals=LocalSignals(), boot_id="b", is_alive=_lives)


def _lives(_pid: int, _started_at: float | None) -> bool:
    return True


def known() -> None:
    raise AssertionError("not called")


def made(store: MemoryTaskStore, folder: Folder | None = None, *, is_own_folder: bool = False) -> dict[str, Chore]:
    registry = Registry()
    registry.add(define(known, Terms()))

    async def found() -> Folder | None:
        return folder

    made = chores(store, found, registry, "app", retention_s=60.0, is_own_folder=is_own_folder)
    return {each.name: each for each in made}


@pytest.mark.parametrize("is_own_folder", [True, False])
def test_a_folder_of_each_machines_own_is_swept_by_each(store: MemoryTaskStore, *, is_own_folder: bool) -> None:
    told = made(store, is_own_folder=is_own_folder)
    assert {name: chore.is_own for name, chore in told.items()} == {
        "retire": False,
        "sweep_blobs": is_own_folder,
        "warn_of_unknown_names": True,
    }


async def test_what_nobody_refers_to_is_swept_from_a_folder_if_there_is_one(store: MemoryTaskStore) -> None:
    assert await made(store)["sweep_blobs"].act() == 0
    folder = Folder()
    assert await made(store, folder)["sweep_blobs"].act() == 1
    assert folder.blobs == []


async def test_a_name_that_nobody_here_knows_is_told_of_once(store: MemoryTaskStore) -> None:
    for name in ("known", "newer", "newer"):
        await store.submit([NewTask(id=new_id(), namespace="app", name=name, user_id="u")])
    warn = made(store)["warn_of_unknown_names"]
    with structlog.testing.capture_logs() as said:
        await warn.act()
        await warn.act()
    assert [(each["event"], each["task"]) for each in said] == [("unknown_task_waits", "newer")]
