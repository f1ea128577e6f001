"""The executor on a real SQLite file: what users see of claims, parking, cancel, failures and drains."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from morag.control.ports import ReportProgress, Run
from morag.control.tasks.executors import background
from morag.control.tasks.executors.background import BackgroundTasksExecutor, Door
from morag.control.tasks.intake import new_id
from morag.control.tasks.manager import TaskManager
from morag.control.tasks.supervisor import Supervisor
from morag.domain.errors import NotFound
from morag.domain.failure import Decision, Failure, FailureType, Strategy
from morag.domain.task import Budget, Completed, Lease, NewTask, Offers, Outcome, Parked, Retried, Task, TaskState
from morag.storage.host import SystemClock, this_worker
from morag.storage.signals import LocalSignals
from morag.storage.sql.database import Database, open_database
from morag.storage.sql.tasks import SqlTaskStore

Step = Callable[[Lease, ReportProgress], Awaitable[Outcome | Parked]]


class Bench:
    """One database, one executor, one manager."""

    def __init__(self, database: Database, signals: LocalSignals, run: Run, slots: int, lease_s: float) -> None:
        self.database = database
        door = Door(lanes=("celery",), offers=Offers(namespace="test"), slots=slots)
        self.executor = BackgroundTasksExecutor(
            database.tasks, signals, run, worker=this_worker("test"), doors=[door], lease_s=lease_s
        )
        self.manager = TaskManager(database.tasks, signals, on_cancel=self.executor.check)

    async def submit(self, name: str = "job", **fields: object) -> Task:
        new = NewTask(id=new_id(), namespace="test", name=name, user_id="u", **fields)  # pyright: ignore[reportArgumentType] - a test's shorthand
        return (await self.manager.submit([new]))[0]

    async def ended(self, task: Task) -> Task:
        return await self.manager.wait("u", task.id, timeout_s=20)


@asynccontextmanager
async def running(folder: Path, run: Run, *, slots: int = 4, lease_s: float = 2.0) -> AsyncGenerator[Bench]:
    signals = LocalSignals()
    database = await open_database(folder / "morag.db", clock=SystemClock(), signals=signals)
    bench = Bench(database, signals, run, slots, lease_s)
    loops = [
        asyncio.create_task(bench.executor.serve()),
        asyncio.create_task(Supervisor(database.tasks, this_worker("test"), []).serve()),
    ]
    try:
        yield bench
    finally:
        for loop in loops:
            loop.cancel()
        for loop in loops:
            with suppress(asyncio.CancelledError):
                await loop
        await database.close()


def says(result: str) -> Step:
    async def step(_lease: Lease, _report: ReportProgress) -> Outcome:
        return Completed(result=result)

    return step


async def test_a_submitted_task_runs_and_its_result_is_any_json(tmp_path: Path) -> None:
    async with running(tmp_path, says("done")) as bench:
        task = await bench.ended(await bench.submit())
        assert (task.state, task.result, task.attempt) == (TaskState.COMPLETED, "done", 1)


async def test_no_more_run_at_once_than_there_are_slots(tmp_path: Path) -> None:
    now = most = 0

    async def run(_lease: Lease, _report: ReportProgress) -> Outcome:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return Completed(result=None)

    async with running(tmp_path, run, slots=3) as bench:
        for task in [await bench.submit() for _ in range(12)]:
            await bench.ended(task)
    assert most == 3


async def test_a_parked_parent_holds_no_slot_and_gets_its_childs_result(tmp_path: Path) -> None:
    async def run(lease: Lease, _report: ReportProgress) -> Outcome | Parked:
        if lease.task.name == "child":
            return Completed(result=7)
        child = lease.children.get("one")
        if child is None:
            new = NewTask(id=new_id(), namespace="test", name="child", user_id="u", step="one")
            return Parked(children=(new,))
        return Completed(result=child.result)

    async with running(tmp_path, run, slots=1) as bench:
        task = await bench.ended(await bench.submit("parent"))
        assert (task.state, task.result) == (TaskState.COMPLETED, 7)


async def test_cancel_stops_a_running_task_at_once(tmp_path: Path) -> None:
    began, stopped = asyncio.Event(), asyncio.Event()

    async def run(_lease: Lease, _report: ReportProgress) -> Outcome:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return Completed(result=None)

    async with running(tmp_path, run) as bench:
        task = await bench.submit()
        await asyncio.wait_for(began.wait(), 5)
        cancelled = await bench.manager.cancel("u", task.id)
        await asyncio.wait_for(stopped.wait(), 1)
        assert cancelled.state is TaskState.CANCELLED
        assert (await bench.manager.get("u", task.id)).state is TaskState.CANCELLED


class Endless:
    """Work that only a stop ends."""

    def __init__(self) -> None:
        self.began, self.stopped = asyncio.Event(), asyncio.Event()

    async def run(self, _lease: Lease, _report: ReportProgress) -> Outcome:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()
        return Completed(result=None)


async def test_what_another_process_cancels_is_stopped_long_before_its_lease_is_due(tmp_path: Path) -> None:
    work = Endless()
    async with running(tmp_path, work.run, lease_s=60.0) as bench:
        task = await bench.submit()
        await asyncio.wait_for(work.began.wait(), 5)
        other = await open_database(tmp_path / "morag.db", clock=SystemClock(), signals=LocalSignals())
        await other.tasks.cancel(task.id, user_id="u")
        await asyncio.wait_for(work.stopped.wait(), 3)
        await other.close()
        assert (await bench.ended(task)).state is TaskState.CANCELLED


async def test_what_its_deadline_closed_is_stopped_long_before_its_lease_is_due(tmp_path: Path) -> None:
    work = Endless()
    async with running(tmp_path, work.run, lease_s=60.0) as bench:
        task = await bench.submit(budget=Budget(deadline_s=0.5))
        await asyncio.wait_for(work.began.wait(), 5)
        assert (await bench.ended(task)).state is TaskState.TIMEOUT
        await asyncio.wait_for(work.stopped.wait(), 3)


async def test_a_retried_attempt_runs_again_after_its_delay(tmp_path: Path) -> None:
    async def run(lease: Lease, _report: ReportProgress) -> Outcome:
        if lease.task.attempt == 1:
            return Retried(
                failure=Failure(type=FailureType.NETWORK_FAILURE, code="c", message="m"),
                decision=Decision(strategy=Strategy.RETRY_SAME_WORKER, reason="r", delay_s=0.05),
            )
        return Completed(result=lease.task.attempt)

    async with running(tmp_path, run) as bench:
        task = await bench.ended(await bench.submit())
        story = await bench.manager.story("u", task.id)
    assert (task.state, task.result) == (TaskState.COMPLETED, 2)
    assert [attempt.outcome for attempt in story.attempts] == ["retried", "completed"]


async def test_progress_is_in_the_log_and_the_log_ends_with_the_task(tmp_path: Path) -> None:
    async def run(_lease: Lease, report: ReportProgress) -> Outcome:
        report(0.5, "processing", "half")
        await asyncio.sleep(0.6)
        return Completed(result=None)

    async with running(tmp_path, run) as bench:
        task = await bench.submit()
        async with asyncio.timeout(10):
            log = [event async for event in bench.manager.follow("u", task.id) if event]
    kinds = [(event.kind, event.data.get("state") or event.data.get("message")) for event in log]
    assert ("progress", "half") in kinds
    assert kinds[-1] == ("state", "completed")
    assert [event.seq for event in log] == list(range(1, len(log) + 1))


async def test_a_stopping_server_gives_running_work_back_uncharged(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def hang(_lease: Lease, _report: ReportProgress) -> Outcome:
        began.set()
        await asyncio.sleep(60)
        return Completed(result=None)

    async with running(tmp_path, hang) as bench:
        task = await bench.submit()
        await asyncio.wait_for(began.wait(), 5)
    async with running(tmp_path, says("later")) as bench:
        again = await bench.ended(task)
        assert (again.state, again.result) == (TaskState.COMPLETED, "later")
        assert (again.processing_failures, again.infrastructure_losses) == (0, 0)


async def test_a_task_longer_than_its_lease_keeps_it(tmp_path: Path) -> None:
    async def run(_lease: Lease, _report: ReportProgress) -> Outcome:
        await asyncio.sleep(3)
        return Completed(result=None)

    async with running(tmp_path, run) as bench:
        task = await bench.ended(await bench.submit())
        assert (task.state, task.attempt) == (TaskState.COMPLETED, 1)


async def test_another_users_task_does_not_exist(tmp_path: Path) -> None:
    async with running(tmp_path, says("x")) as bench:
        task = await bench.submit()
        for act in (bench.manager.get, bench.manager.cancel, bench.manager.story, bench.manager.history):
            with pytest.raises(NotFound):
                await act("other", task.id)


async def test_idle_door_looks_for_lost_doorbells_without_a_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "PULSE_S", 0.01)
    looks, claims = asyncio.Queue[str](), 0
    sound_claim, sound_ready = SqlTaskStore.claim, SqlTaskStore.ready

    async def claim(store: SqlTaskStore, **asked: Any) -> list[Lease]:
        nonlocal claims
        claims += 1
        return await sound_claim(store, **asked)

    async def ready(store: SqlTaskStore, lane: str, offers: Offers, *, limit: int) -> list[tuple[str, int]]:
        looks.put_nowait(lane)
        return await sound_ready(store, lane, offers, limit=limit)

    monkeypatch.setattr(SqlTaskStore, "claim", claim)
    monkeypatch.setattr(SqlTaskStore, "ready", ready)
    async with running(tmp_path, says("done")):
        for _ in range(5):
            await asyncio.wait_for(looks.get(), 20)
        assert claims == 1


async def test_work_whose_doorbell_got_lost_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "PULSE_S", 0.01)

    def silent(_signals: LocalSignals, _lane: str) -> None:
        """A doorbell that got lost."""

    async with running(tmp_path, says("done")) as bench:
        monkeypatch.setattr(LocalSignals, "lane", silent)
        assert (await bench.ended(await bench.submit())).result == "done"
