"""Conversions in real child processes: each end is classified, nothing leaks between users or outlives its job."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from morag.domain.content import ContentType, Document
from morag.domain.failure import AttemptFailed, FailureType
from morag.domain.json import Json
from morag.pipeline.ports import Detected, ReportProgress
from morag.worker.sandbox import probe
from morag.worker.sandbox.sandbox import ConversionJob, Sandbox

HERE = Path(__file__).parent
MIB = 1024**2
LAYERS = probe.probe()
DETECTED = Detected(content_type=ContentType.DOCUMENT, media_type="text/plain")

needs_landlock = pytest.mark.skipif(LAYERS.landlock < 6, reason="this kernel has no Landlock of ABI 6")
needs_seccomp = pytest.mark.skipif(not LAYERS.seccomp, reason="this kernel takes no filter on system calls")
needs_namespaces = pytest.mark.skipif(not LAYERS.namespaces, reason="this system lets nobody make namespaces")

Progress = list[tuple[float, str, str]]


def hearing(heard: Progress) -> ReportProgress:
    return lambda fraction, stage, message: heard.append((fraction, stage, message))


def ignore(fraction: float, stage: str, message: str) -> None:
    del fraction, stage, message


@dataclass
class Bench:
    """A sandbox of hostile converters, and a file to give them."""

    sandbox: Sandbox
    root: Path
    source: Path

    def job(self, act: str, *, user: str = "ann", **options: Json) -> ConversionJob:
        return ConversionJob(
            user_id=user,
            source=self.source,
            filename="letter.txt",
            detected=DETECTED,
            url=None,
            options={"act": act, **options},
            timeout_s=30,
            stall_s=20,
        )

    async def run(self, act: str, *, user: str = "ann", **options: Json) -> Document:
        return await self.sandbox.convert(self.job(act, user=user, **options), ignore)

    async def identity(self, user: str = "ann") -> dict[str, object]:
        return json.loads((await self.run("identify", user=user)).markdown)

    def folders(self) -> list[Path]:
        return list(self.root.glob("server-*/child-*"))


Start = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def begin(
            *,
            spares: int = 0,
            warm: int = 0,
            memory_bytes: int = 512 * MIB,
            disk_bytes: int = 512 * MIB,
            idle_s: float = 60,
        ) -> Bench:
            root = tmp_path / "sandbox"
            sandbox = Sandbox(
                root=root,
                memory_bytes=memory_bytes,
                disk_bytes=disk_bytes,
                spares=spares,
                warm=warm,
                idle_s=idle_s,
                converter="hostile:convert",
                import_paths=[HERE],
            )
            await sandbox.start()
            stack.push_async_callback(sandbox.close)
            source = tmp_path / "source"
            source.write_text("Dear reader", encoding="utf-8")
            return Bench(sandbox, root, source)

        yield begin


@pytest.fixture
async def bench(start: Start) -> Bench:
    return await start()


async def until(condition: Callable[[], object], limit_s: float = 5.0) -> None:
    """Wait for a condition; fails the test if it does not come about."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - processes and files set no event
            await asyncio.sleep(0.01)


def marked(mark: str) -> list[int]:
    """Processes with the mark on their command line, zombies aside."""
    return [process.pid for process in psutil.process_iter() if _has(process, mark)]


def _has(process: psutil.Process, mark: str) -> bool:
    try:
        return mark in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def children() -> list[psutil.Process]:
    """The sandbox's children and all they started; not what other tests of this run have running."""
    ours = [child for child in psutil.Process().children() if _is_ours(child)]
    return [process for child in ours for process in (child, *_below(child))]


def _is_ours(child: psutil.Process) -> bool:
    try:
        # the command line of a zombie is empty
        return child.status() == psutil.STATUS_ZOMBIE or "morag.worker.sandbox.child" in child.cmdline()
    except psutil.NoSuchProcess:
        return False


def _below(child: psutil.Process) -> list[psutil.Process]:
    try:
        return child.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


async def test_child_converts_its_input_and_reports_progress(bench: Bench) -> None:
    heard: Progress = []
    document = await bench.sandbox.convert(bench.job("echo"), hearing(heard))
    assert document.markdown == "Dear reader"
    assert heard == [(0.5, "parsing", "half way")]


async def test_nothing_is_left_of_a_job_without_warm_children(bench: Bench) -> None:
    await bench.run("echo")
    assert (bench.folders(), children()) == ([], [])


async def test_input_at_fault_is_final_with_the_converters_own_words(bench: Bench) -> None:
    with pytest.raises(AttemptFailed) as raised:
        await bench.run("refuse")
    failure = raised.value.failure
    assert (failure.type, failure.code, failure.is_final) == (FailureType.PROCESSING_ERROR, "empty_file", True)
    assert (failure.message, failure.hint) == ("The file is empty.", "Send one with content.")


async def test_bug_of_a_converter_is_not_final_and_shows_no_path(bench: Bench) -> None:
    with pytest.raises(AttemptFailed) as raised:
        await bench.run("break_down")
    failure = raised.value.failure
    assert (failure.type, failure.code, failure.is_final) == (FailureType.PROCESSING_ERROR, "converter_error", False)
    assert failure.signature == "ValueError in hostile.break_down"
    assert "/" not in failure.message


@pytest.mark.parametrize(("act", "words"), [("crash", "SIGSEGV"), ("leave", "exit code 3")])
async def test_crash_says_how_the_child_died(bench: Bench, act: str, words: str) -> None:
    with pytest.raises(AttemptFailed) as raised:
        await bench.run(act)
    failure = raised.value.failure
    assert (failure.type, failure.code) == (FailureType.PROCESSING_ERROR, "child_crashed")
    assert words in failure.message


async def test_child_killed_from_outside_is_a_crash(bench: Bench) -> None:
    running = asyncio.create_task(bench.run("hang"))
    await until(children)
    os.kill(children()[0].pid, signal.SIGKILL)
    with pytest.raises(AttemptFailed) as raised:
        await running
    assert (raised.value.failure.code, "SIGKILL" in raised.value.failure.message) == ("child_crashed", True)


@pytest.mark.parametrize("act", ["eat_memory", "let_child_eat_memory", "run_out_of_memory"])
async def test_too_much_memory_is_exhaustion(start: Start, act: str) -> None:
    bench = await start(memory_bytes=200 * MIB)
    with pytest.raises(AttemptFailed) as raised:
        await bench.run(act)
    failure = raised.value.failure
    assert (failure.type, failure.code) == (FailureType.RESOURCE_EXHAUSTION, "child_out_of_memory")
    assert children() == []


async def test_too_many_temporary_files_are_exhaustion(start: Start) -> None:
    bench = await start(disk_bytes=20 * MIB)
    with pytest.raises(AttemptFailed) as raised:
        await bench.run("fill_the_disk")
    failure = raised.value.failure
    assert (failure.type, failure.code) == (FailureType.RESOURCE_EXHAUSTION, "child_out_of_disk")


@pytest.mark.parametrize("act", ["spin", "hold_the_lock", "keep_reporting", "flood"])
async def test_running_time_over_is_a_timeout(bench: Bench, act: str) -> None:
    with pytest.raises(AttemptFailed) as raised:
        await bench.sandbox.convert(replace(bench.job(act), timeout_s=1.0), ignore)
    assert (raised.value.failure.type, raised.value.failure.code) == (FailureType.TASK_TIMEOUT, "task_timeout")
    assert children() == []


async def test_silence_is_a_timeout_that_names_the_stage(bench: Bench) -> None:
    with pytest.raises(AttemptFailed) as raised:
        await bench.sandbox.convert(replace(bench.job("hang"), stall_s=0.3), ignore)
    failure = raised.value.failure
    assert (failure.type, failure.code) == (FailureType.TASK_TIMEOUT, "no_progress")


@pytest.mark.parametrize("left", ["garbage", "nothing", "link", "pipe", "swapped"])
async def test_what_is_no_document_is_a_bad_result(bench: Bench, tmp_path: Path, left: str) -> None:
    (tmp_path / "document.json").write_text('{"markdown":"secret","content_type":"web","media_type":"","metadata":{}}')
    with pytest.raises(AttemptFailed) as raised:
        await bench.run("lie", left=left, secret=str(tmp_path / "document.json"))
    assert (raised.value.failure.type, raised.value.failure.code) == (FailureType.PROCESSING_ERROR, "bad_result")


async def test_what_a_child_prints_is_no_answer(bench: Bench) -> None:
    assert (await bench.run("chatter")).markdown == "still fine"


async def test_flood_of_lines_leaves_the_event_loop_free(bench: Bench) -> None:
    flood = asyncio.create_task(bench.sandbox.convert(replace(bench.job("flood"), timeout_s=2.0), ignore))
    await until(children)
    begun, slowest = time.process_time(), 0.0
    while not flood.done():
        at = time.monotonic()
        await asyncio.sleep(0.01)
        slowest = max(slowest, time.monotonic() - at)
    assert flood.exception() is not None
    assert slowest < 1
    assert time.process_time() - begun < 1.0


async def test_cancelled_conversion_is_dead_with_all_it_started(bench: Bench, tmp_path: Path) -> None:
    heard: Progress = []
    mark = f"mark-{tmp_path}"
    job = bench.job("hide", mark=mark, stay=True)
    running = asyncio.create_task(bench.sandbox.convert(job, hearing(heard)))
    await until(lambda: heard and marked(mark))
    begun = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - begun < 2
    assert (children(), bench.folders()) == ([], [])
    if LAYERS.namespaces:
        assert marked(mark) == []


@needs_namespaces
async def test_process_that_hid_from_its_group_ends_with_the_job(bench: Bench, tmp_path: Path) -> None:
    await bench.run("hide", mark=f"mark-{tmp_path}")
    assert marked(f"mark-{tmp_path}") == []


SERVER = """
import asyncio, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from test_sandbox import Bench, Sandbox

async def main():
    root = Path({root!r})
    here = [Path({here!r})]
    sandbox = Sandbox(root=root, memory_bytes=2**29, spares=1, converter="hostile:convert", import_paths=here)
    await sandbox.start()
    bench = Bench(sandbox, root, Path({source!r}))
    job = bench.job({act!r}, mark={mark!r}, stay=True)
    await sandbox.convert(job, lambda *line: print(*line, flush=True))

asyncio.run(main())
"""


@pytest.mark.parametrize("act", ["hide", "hang", "hold_the_lock"])
async def test_no_child_survives_a_killed_server(bench: Bench, tmp_path: Path, act: str) -> None:
    mark = f"mark-{tmp_path}"
    script = SERVER.format(here=str(HERE), root=str(bench.root), source=str(bench.source), act=act, mark=mark)
    with subprocess.Popen([sys.executable, "-c", script]) as server:  # noqa: ASYNC220 - takes a millisecond
        ours = psutil.Process(server.pid)
        expected = 4 if LAYERS.namespaces else 2
        await until(lambda: len(ours.children(recursive=True)) >= expected, 10)
        if act == "hide":
            await until(lambda: marked(mark), 10)
        family = ours.children(recursive=True)
        server.kill()
        server.wait()
    await until(lambda: not any(map(is_alive, family)), 2)
    if LAYERS.namespaces:
        await until(lambda: not marked(mark), 2)


async def test_start_removes_what_dead_servers_left_and_spares_the_living(start: Start) -> None:
    bench = await start(spares=1)
    await until(bench.folders)
    dead = bench.root / "server-dead"
    (dead / "child-x" / "work").mkdir(parents=True)
    await start()
    assert not dead.exists()
    assert bench.folders()


async def test_two_users_never_share_a_child(start: Start) -> None:
    bench = await start(spares=1, warm=4)
    seen = [(user, (await bench.identity(user))["child"]) for user in ("ann", "bob", "ann", "cleo", "bob")]
    users_of = {child: {user for user, whose in seen if whose == child} for _, child in seen}
    assert all(len(users) == 1 for users in users_of.values())


async def test_warm_child_serves_its_user_again_from_an_empty_folder(start: Start) -> None:
    bench = await start(warm=1)
    first, second = await bench.identity(), await bench.identity()
    assert (first["child"], second["served"]) == (second["child"], 2)
    assert second["files"] == ["input.txt"]


async def test_warm_child_serves_one_content_type(start: Start) -> None:
    bench = await start(warm=2)
    first = await bench.identity()
    job = replace(bench.job("identify"), detected=Detected(content_type=ContentType.WEB, media_type="text/html"))
    second = json.loads((await bench.sandbox.convert(job, ignore)).markdown)
    assert first["child"] != second["child"]


async def test_child_with_network_is_never_used_without(start: Start) -> None:
    bench = await start(warm=2, spares=1)
    job = replace(bench.job("identify"), network=True)
    online = json.loads((await bench.sandbox.convert(job, ignore)).markdown)
    assert (await bench.identity())["child"] != online["child"]


async def test_child_that_failed_on_bad_input_stays_warm(start: Start) -> None:
    bench = await start(warm=1)
    first = await bench.identity()
    with pytest.raises(AttemptFailed):
        await bench.run("refuse")
    assert (await bench.identity())["child"] == first["child"]


async def test_child_that_broke_down_is_not_used_again(start: Start) -> None:
    bench = await start(warm=1)
    first = await bench.identity()
    with pytest.raises(AttemptFailed):
        await bench.run("break_down")
    assert (await bench.identity())["child"] != first["child"]


async def test_child_that_speaks_unasked_is_not_used_again(start: Start) -> None:
    bench = await start(warm=1)
    first = json.loads((await bench.run("speak_later")).markdown)
    await until(lambda: any(process.status() == psutil.STATUS_ZOMBIE for process in children()))
    await asyncio.sleep(0.05)  # what it said on its way out is read
    assert (await bench.identity())["child"] != first["child"]


async def test_warm_child_ends_after_its_idle_time(start: Start) -> None:
    bench = await start(warm=1, idle_s=0.2)
    await bench.run("echo")
    await until(lambda: not bench.folders())
    assert children() == []


async def test_no_more_children_stay_warm_than_allowed(start: Start) -> None:
    bench = await start(warm=1)
    for user in ("ann", "bob", "cleo"):
        await bench.run("echo", user=user)
    await until(lambda: len(bench.folders()) == 1)


async def test_dead_spare_is_passed_over(start: Start) -> None:
    bench = await start(spares=1)
    await until(children)
    for process in children():
        process.kill()
    await until(lambda: not children())
    assert (await bench.run("echo")).markdown == "Dear reader"


async def test_folders_made_hard_to_delete_are_deleted(bench: Bench) -> None:
    await bench.run("resist")
    assert bench.folders() == []


async def test_child_knows_no_secret_of_the_servers_environment(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "secret")
    bench = await start()
    environment = json.loads((await bench.run("environment")).markdown)
    assert "secret" not in environment.values()
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["HOME"] == environment["TMPDIR"]
    assert Path(environment["HOME"]).is_relative_to(bench.root)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "secret"
    path.parent.mkdir()
    path.write_text("secret")
    return path


async def attempts(bench: Bench, secret: Path, *, network: bool = False) -> dict[str, str]:
    unix = secret.parent / "socket"
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(unix))
        local.listen()
        job = bench.job("reach", secret=str(secret), server=os.getpid(), port=listener.getsockname()[1], unix=str(unix))
        return json.loads((await bench.sandbox.convert(replace(job, network=network), ignore)).markdown)


@needs_landlock
async def test_child_touches_nothing_but_its_own(bench: Bench, secret: Path) -> None:
    outcome = await attempts(bench, secret)
    assert [name for name, came in outcome.items() if came == "done"] == ["work"]
    assert secret.read_text() == "secret"
    assert bench.source.read_text() == "Dear reader"


@needs_seccomp
async def test_child_has_no_network(bench: Bench, secret: Path) -> None:
    outcome = await attempts(bench, secret)
    assert {outcome[name] for name in ("connect", "datagram", "local socket")} == {"PermissionError"}


async def test_child_with_network_can_connect(bench: Bench, secret: Path) -> None:
    assert (await attempts(bench, secret, network=True))["connect"] == "done"


@needs_seccomp
async def test_child_cannot_change_modes_and_times(bench: Bench, secret: Path) -> None:
    before = [path.stat() for path in (bench.source, secret)]
    await bench.run("tamper", secret=str(secret))
    after = [path.stat() for path in (bench.source, secret)]
    assert [(s.st_mode, s.st_mtime) for s in before] == [(s.st_mode, s.st_mtime) for s in after]


@needs_landlock
async def test_input_is_not_copied_where_the_child_can_only_read_it(bench: Bench) -> None:
    running = asyncio.create_task(bench.run("hang"))
    await until(lambda: bench.source.stat().st_nlink == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.source.stat().st_nlink == 1
