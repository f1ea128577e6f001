"""The task library as an application uses it, on a real file: loop, threads, child processes, and what goes wrong."""

import asyncio
import contextlib
import importlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from morag import TaskManager, TaskResult
from morag.domain.errors import IdempotencyConflict, InvalidRequest, NotFound, StartupError
from morag.worker.functions import runner, threads

APPS = Path(__file__).parent / "apps"


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The application, freshly loaded, its tasks served."""
    monkeypatch.setenv("MORAG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WITNESS", str(tmp_path / "witness"))
    monkeypatch.setattr(sys, "path", [str(APPS), *sys.path])
    sys.modules.pop("speaking", None)
    module = importlib.import_module("speaking")
    async with module.tasks:
        yield module
    del sys.modules["speaking"]


async def until(condition: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    """What the condition gives as soon as it is true."""
    async with asyncio.timeout(timeout_s):
        while True:
            if found := condition():
                return found
            await asyncio.sleep(0.01)


def code_of(result: TaskResult) -> str:
    assert result.error
    return result.error.code


async def done(app: Any, *call: Any, **more: Any) -> TaskResult:
    return await app.tasks.wait(await app.tasks.submit(*call, **more), 30)


async def reached(app: Any, task_id: str, status: str) -> TaskResult:
    async with asyncio.timeout(20):
        while True:
            if (result := await app.tasks.get_result(task_id)).status == status:
                return result
            await asyncio.sleep(0.01)


async def test_an_async_function_runs_and_its_result_is_kept(app: Any) -> None:
    result = await done(app, "calculate_rating", "r1")
    assert (result.status, result.result, result.attempts) == ("success", {"resource": "r1"}, 1)
    assert (result.progress, result.error, result.is_done) == (1.0, None, True)


async def test_a_function_can_be_submitted_by_itself_and_stays_callable(app: Any) -> None:
    assert (await done(app, app.calculate_rating, resource_id="r2")).result == {"resource": "r2"}
    assert await app.calculate_rating("r3") == {"resource": "r3"}


async def test_a_heavy_function_runs_in_another_process_which_the_next_call_finds_warm(app: Any) -> None:
    first = await done(app, "process_speak_audio", "r1", ["a", "b"], user_name="Ada")
    second = await done(app, "process_speak_audio", "r1", [])
    child: Any = second.result
    assert first.result == {"resource": "r1", "chunks": 2, "user": "Ada", "pid": child["pid"]}
    assert child["pid"] != os.getpid()


@pytest.mark.parametrize(("name", "fraction", "stage"), [("count", 0.5, "counting"), ("count_apart", 0.25, "apart")])
async def test_progress_is_seen_while_it_runs_and_the_context_tells_who_it_is(
    app: Any, name: str, fraction: float, stage: str
) -> None:
    task_id = await app.tasks.submit(name, 7)
    seen = [event async for event in app.tasks.events(task_id)]
    assert (fraction, stage) in [(each.data.get("fraction"), each.data.get("stage")) for each in seen]
    assert [each.data["state"] for each in seen if each.kind == "state"] == ["pending", "running", "completed"]
    told = (await app.tasks.get_result(task_id)).result
    assert told == ([7, 1, task_id, 1] if name == "count" else [7, task_id, 1])


@pytest.mark.parametrize("name", ["flaky", "flaky_apart"])
async def test_retries_are_tried_until_one_works(app: Any, name: str) -> None:
    result = await done(app, name, "third", 3)
    assert (result.status, result.result, result.attempts) == ("success", 3, 3)


async def test_short_delays_are_short(app: Any) -> None:
    """Each would last until the next look at a quiet lane otherwise: up to a second, half a second on average."""
    began: list[float] = []
    app.tasks.task("soon", retries=4, backoff_s=0.02)(lambda: began.append(time.monotonic()) or 1 / 0)
    submitted = time.monotonic()
    assert (await done(app, "soon", delay=0.2)).attempts == 5
    assert began[0] - submitted >= 0.2
    pauses = [then - before for before, then in itertools.pairwise([submitted, *began])]
    assert sorted(pauses)[len(pauses) // 2] < 0.4, pauses


async def test_n_retries_are_n_plus_one_attempts(app: Any) -> None:
    result = await done(app, "flaky", "never", 99)
    assert (result.status, result.attempts, app.told().count("never")) == ("failure", 3, 3)
    assert (code_of(result), str(result.error)) == ("task_raised", "ValueError: try 3")


async def test_between_two_attempts_a_task_is_in_retry_and_says_why(app: Any) -> None:
    app.tasks.task("slow_flake", retries=1, backoff_s=60.0)(lambda: 1 / 0)
    task_id = await app.tasks.submit("slow_flake")
    told = await reached(app, task_id, "retry")
    assert str(told.error) == "ZeroDivisionError: division by zero"
    assert await app.tasks.cancel(task_id)


async def test_the_time_limit_stops_a_coroutine(app: Any) -> None:
    result = await done(app, "sleep_briefly")
    assert (result.status, code_of(result)) == ("failure", "timeout")


async def test_the_time_limit_kills_a_function_that_hangs_for_ever(app: Any) -> None:
    result = await done(app, "hang")
    assert (result.status, code_of(result)) == ("failure", "timeout")
    (pid,) = map(int, app.told())
    await until(lambda: not psutil.pid_exists(pid))


async def test_cancel_of_a_coroutine_lets_it_clean_up(app: Any) -> None:
    task_id = await app.tasks.submit("sleep", 60, "x")
    await reached(app, task_id, "running")
    assert await app.tasks.cancel(task_id)
    await until(lambda: app.told() == ["cancelled-x"])
    assert (await app.tasks.get_result(task_id)).status == "cancelled"


async def test_cancel_of_a_thread_is_told_to_it_and_its_result_is_thrown_away(app: Any) -> None:
    task_id = await app.tasks.submit("sleep_in_thread")
    await until(lambda: app.told() == ["began"])
    assert await app.tasks.cancel(task_id)
    await until(lambda: app.told() == ["began", "noticed"])
    assert (await app.tasks.get_result(task_id)).status == "cancelled"


async def test_cancel_of_a_child_kills_it(app: Any) -> None:
    task_id = await app.tasks.submit("sleep_in_child")
    (pid,) = map(int, await until(app.told))
    began = time.monotonic()
    assert await app.tasks.cancel(task_id)
    await until(lambda: not psutil.pid_exists(pid))
    assert time.monotonic() - began < 2


async def test_cancel_of_what_has_ended_or_never_was_is_false(app: Any) -> None:
    result = await done(app, "calculate_rating", "r1")
    assert not await app.tasks.cancel(result.task_id)
    assert not await app.tasks.cancel("nobody")


async def test_a_cancelled_delayed_task_never_runs(app: Any) -> None:
    task_id = await app.tasks.submit("sleep", 0, "never", delay=0.3)
    assert (await app.tasks.get_result(task_id)).status == "pending"
    assert await app.tasks.cancel(task_id)
    assert (await done(app, "sleep", 0, "later", delay=0.6)).status == "success"
    assert app.told() == ["slept-later"]


@pytest.mark.parametrize(
    ("name", "code"),
    [("exit", "child_died"), ("sys_exit", "task_ended"), ("cancel_itself", "task_ended"), ("eat", "out_of_memory")],
)
async def test_a_function_that_leaves_its_path_fails_alone(app: Any, name: str, code: str) -> None:
    failed, fine = await asyncio.gather(done(app, name), done(app, "process_speak_audio", "r1", []))
    assert (failed.status, code_of(failed), failed.attempts) == ("failure", code, 1)
    assert fine.status == "success"
    assert (await done(app, "calculate_rating", "r1")).status == "success"


async def test_a_fork_that_returns_is_not_taken_for_the_task(app: Any) -> None:
    assert (await done(app, "fork")).result == "from the task"
    assert (await done(app, "process_speak_audio", "r1", [])).status == "success"
    (pid,) = map(int, app.told())
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


async def test_a_process_left_behind_ends_with_the_task(app: Any) -> None:
    assert (await done(app, "leave_a_process")).status == "success"
    (pid,) = map(int, app.told())
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


VALUES: list[Any] = [None, True, 0, -1.5, "ü", [], {}, [1, [None, {"a": []}]], {"ä": [1, 2]}]


@pytest.mark.parametrize("value", VALUES)
async def test_any_json_goes_in_and_comes_out(app: Any, value: Any) -> None:
    assert (await done(app, "echo", value)).result == value


@pytest.mark.parametrize("name", ["make", "make_here"])
async def test_a_result_of_50_mb_is_kept(app: Any, name: str) -> None:
    result = await done(app, name, 50_000_000)
    made: Any = result.result
    assert (result.status, len(made)) == ("success", 50_000_000)


async def test_large_arguments_arrive(app: Any) -> None:
    assert (await done(app, "length", "y" * 3_000_000)).result == 3_000_000


async def test_a_result_that_is_not_json_is_a_failure_that_says_so_and_is_not_tried_again(app: Any) -> None:
    result = await done(app, "not_json")
    assert (result.status, result.attempts, code_of(result)) == ("failure", 1, "result_not_json")
    assert "result.when[0] is of type object" in str(result.error)


async def test_arguments_that_are_not_json_are_refused_at_submit(app: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"args\[0\] is of type bytes"):
        await app.tasks.submit("echo", b"raw")


async def test_arguments_that_do_not_fit_are_refused_at_submit(app: Any) -> None:
    with pytest.raises(InvalidRequest, match="missing a required argument"):
        await app.tasks.submit("process_speak_audio", "r1")


async def test_an_unknown_name_is_refused_and_the_known_ones_are_told(app: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await app.tasks.submit("calculate_ratings")
    assert refused.value.code == "unknown_task"
    assert "calculate_rating" in str(refused.value.hint)


async def test_an_unknown_id_is_none_and_cannot_be_waited_for(app: Any) -> None:
    assert await app.tasks.get_result("nobody") is None
    with pytest.raises(NotFound):
        await app.tasks.wait("nobody")


async def test_waiting_gives_up_after_its_time(app: Any) -> None:
    with pytest.raises(TimeoutError):
        await app.tasks.wait(await app.tasks.submit("sleep", 60), 0.05)


async def test_an_idempotency_key_gives_the_same_task_and_refuses_another_call(app: Any) -> None:
    first = await app.tasks.submit("calculate_rating", "r1", idempotency_key="k")
    assert await app.tasks.submit("calculate_rating", "r1", idempotency_key="k") == first
    with pytest.raises(IdempotencyConflict):
        await app.tasks.submit("calculate_rating", "r2", idempotency_key="k")


async def test_a_deadline_ends_what_waits_too_long(app: Any) -> None:
    result = await done(app, "sleep", 0, delay=60, deadline=0.2)
    assert (result.status, code_of(result)) == ("failure", "timeout")


async def test_urgent_tasks_go_first(tmp_path: Path) -> None:
    order: list[str] = []
    all_are_queued = asyncio.Event()
    manager = TaskManager("order", data_dir=tmp_path, loop_slots=1)

    @manager.task()
    async def note(name: str) -> None:
        order.append(name)
        await all_are_queued.wait()

    async with manager:
        await manager.submit(note, "first")
        await until(lambda: order)
        ids = [await manager.submit(note, name, priority=name) for name in ("low", "high", "urgent")]  # pyright: ignore[reportArgumentType] - names of priorities
        all_are_queued.set()
        for task_id in ids:
            await manager.wait(task_id, 10)
    assert order == ["first", "urgent", "high", "low"]


async def test_two_applications_on_one_file_do_not_see_each_other(app: Any, tmp_path: Path) -> None:
    other = TaskManager("other", data_dir=tmp_path / "data")

    @other.task("calculate_rating")
    async def calculate_rating(resource_id: str) -> str:
        return f"other {resource_id}"

    async with other:
        theirs = await other.wait(await other.submit(calculate_rating, "r1"), 10)
        assert theirs.result == "other r1"
        assert await app.tasks.get_result(theirs.task_id) is None
        assert not await app.tasks.cancel(theirs.task_id)


async def test_closing_waits_for_what_runs(app: Any) -> None:
    task_id = await app.tasks.submit("sleep", 0.3, "to its end")
    await reached(app, task_id, "running")
    await app.tasks.close()
    assert app.told() == ["slept-to", "its", "end"]
    assert (await app.tasks.get_result(task_id)).status == "success"


async def test_a_manager_can_be_used_from_another_threads_loop(app: Any) -> None:
    found: list[str] = []

    async def elsewhere() -> None:
        task_id = await app.tasks.submit("calculate_rating", "r1")
        found.append((await app.tasks.wait(task_id, 10)).status)
        found.append(str(await app.tasks.cancel(await app.tasks.submit("sleep", 60, "x"))))

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert found == ["success", "True"]


def test_the_next_loop_takes_up_what_the_last_one_left(tmp_path: Path) -> None:
    manager = TaskManager("loops", data_dir=tmp_path)

    @manager.task()
    async def double(x: int) -> int:
        return 2 * x

    async def submit() -> str:
        return await manager.submit(double, 4, delay=0.2)

    async def fetch(task_id: str) -> Any:
        result = await manager.wait(task_id, 10)
        await manager.close()
        return result.result

    assert asyncio.run(fetch(asyncio.run(submit()))) == 8


async def test_celery_without_a_broker_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASK_EXECUTOR", "celery")
    manager = TaskManager("refused", data_dir=tmp_path)
    with pytest.raises(StartupError, match="TASK_EXECUTOR"):
        await manager.get_result("x")
    monkeypatch.setenv("TASK_EXECUTOR", "background")
    async with manager:
        assert await manager.get_result("x") is None


async def test_backends_that_are_not_used_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TASK_EXECUTOR", "background")
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://:s3cret@127.0.0.1:6379/0")
    async with TaskManager("told", data_dir=tmp_path):
        assert "CELERY_BROKER_URL is set" in caplog.text
    assert "s3cret" not in caplog.text


async def added() -> str:
    return "done"


async def submitted_by_the_next_release(data_dir: Path, *deadlines: float | None) -> list[str]:
    """Ids of tasks whose name only another process knows, which serves nothing."""
    web = TaskManager("deploy", data_dir=data_dir, loop_slots=0)
    web.task()(added)
    async with web:
        return [await web.submit(added, deadline=deadline) for deadline in deadlines]


async def test_a_name_that_nobody_knows_stays_queued_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept, dropped, late = await submitted_by_the_next_release(tmp_path, None, None, 1.0)
    async with TaskManager("deploy", data_dir=tmp_path) as older:
        await until(lambda: "unknown_task_waits" in caplog.text)
        assert "task=added" in caplog.text
        assert await older.cancel(dropped)
        assert code_of(await older.wait(late, 10)) == "timeout"
        waiting = await older.get_result(kept)
        assert waiting
        assert (waiting.status, waiting.attempts) == ("pending", 0)
    newer = TaskManager("deploy", data_dir=tmp_path)
    newer.task()(added)
    async with newer:
        assert (await newer.wait(kept, 10)).result == "done"
        assert [(await newer.wait(each)).status for each in (dropped, late)] == ["cancelled", "failure"]


class Deaf:
    """An application of which one task does not stop when told to; the others tell how many run at once."""

    def __init__(self, data_dir: Path, kind: str) -> None:
        self.began, self.freed = threading.Event(), threading.Event()
        self.tasks = TaskManager("deaf", data_dir=data_dir, loop_slots=2, thread_slots=2)
        self._running = 0
        self._most = 0
        self._lock = threading.Lock()
        self.tasks.task("hang")(self.hang if kind == "thread" else self.hang_on_loop)
        self.tasks.task("probe")(self.probe if kind == "thread" else self.probe_on_loop)

    def hang(self) -> None:
        self.began.set()
        self.freed.wait()

    async def hang_on_loop(self) -> None:
        self.began.set()
        while not self.freed.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    def probe(self) -> None:
        with self._lock:
            self._running += 1
            self._most = max(self._most, self._running)
        time.sleep(0.2)
        with self._lock:
            self._running -= 1

    async def probe_on_loop(self) -> None:
        await asyncio.to_thread(self.probe)

    async def most_at_once(self) -> int:
        """How many of four run at once."""
        self._most = 0
        ids = [await self.tasks.submit("probe") for _ in range(4)]
        assert {(await self.tasks.wait(each, 20)).status for each in ids} == {"success"}
        return self._most


@pytest.mark.parametrize(("kind", "warning"), [("thread", "thread_does_not_stop"), ("loop", "task_does_not_stop")])
async def test_what_does_not_stop_is_reported_and_holds_its_slot_while_the_others_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str, warning: str
) -> None:
    monkeypatch.setattr(threads, "PATIENCE_S", 0.1)
    monkeypatch.setattr(runner, "GRACE_S", 0.1)
    deaf = Deaf(tmp_path, kind)
    async with deaf.tasks:
        try:
            task_id = await deaf.tasks.submit("hang")
            await until(deaf.began.is_set)
            assert await deaf.tasks.cancel(task_id)
            await until(lambda: warning in caplog.text)
            assert await deaf.most_at_once() == 1
        finally:
            deaf.freed.set()
        assert await deaf.most_at_once() == 2


async def test_a_signal_ends_a_manager_that_serves_alone(tmp_path: Path) -> None:
    program = "import sys; from morag import TaskManager; TaskManager('alone', data_dir=sys.argv[1]).run()"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(tmp_path))
    await until((tmp_path / "morag.db-wal").exists)
    await asyncio.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0
