"""`morag worker` against a real server: real processes, real sockets, cut lines, kills and restarts.

A conversion is held where it is by stopping the processes of its child, so nothing here depends on how long one takes.
"""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Self, TextIO

import httpx2
import psutil
import pytest
from PIL import Image, ImageDraw
from tests.certificates import self_signed

pytestmark = [pytest.mark.xdist_group("remote_worker"), pytest.mark.timeout(120)]

READY = re.compile(r"ready at https?://\S+")
WAIT_S = 40.0
SAMPLES = Path(__file__).parents[2] / "examples" / "samples"
NOTE = b"# Note\n\nSeen from far.\n"
CHILD = "morag.worker.sandbox.child"

Json = dict[str, Any]


def until(condition: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> Any:
    """The first true value of a condition, looked at often."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {wait_s:g} s: {what}")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
    return kept | {"NO_COLOR": "1"} | more


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Server:
    """A server on a port of its own that can go away and come back."""

    def __init__(self, folder: Path, scheme: str = "http", **variables: str) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"{scheme}://127.0.0.1:{self.port}"
        self._variables = variables
        self.process: subprocess.Popen[str] | None = None
        self.clients: list[httpx2.Client] = []
        self._log = (folder / "server.log").open("a")

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "morag", "serve", "--port", str(self.port)],
            env=environment(MORAG_DATA_DIR=str(self.folder / "data"), MORAG_WORKERS="1", **self._variables),
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self.process.stdout
        assert any(READY.search(line) for line in self.process.stdout), (self.folder / "server.log").read_text()[-2000:]

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process:
            self.process.send_signal(how)
            self.process.wait(30)
            assert self.process.stdout
            self.process.stdout.close()
            self.process = None

    def key(self, user_id: str, scope: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "morag", "keys", "create", "--user", user_id, "--scope", scope],
            env=environment(MORAG_DATA_DIR=str(self.folder / "data")),
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def client(self, key: str) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {key}"}
        made = httpx2.Client(base_url=self.address, headers=headers, timeout=60.0, trust_env=False)
        self.clients.append(made)
        return made

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.stop()
        self._log.close()


class Worker:
    """A `morag worker` process with a folder of its own."""

    def __init__(
        self, server: str, key: str, folder: Path, *words: str, types: str = "document", **variables: str
    ) -> None:
        self.folder, self.log_path = folder, folder.with_name(f"{folder.name}-{uuid.uuid4().hex[:6]}.log")
        self._log: TextIO = self.log_path.open("w")
        more = ["--content-types", types] if types else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "morag", "worker", "--server", server, "--data-dir", str(folder), *more, *words],
            env=environment(MORAG_API_KEY=key, **variables),
            stdin=subprocess.DEVNULL,
            stderr=self._log,
        )

    def events(self, name: str) -> list[Json]:
        lines = [line for line in self.log_path.read_text().splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def registered(self) -> Json:
        return until(lambda: self.events("registered"), f"registered: {self.log_path.read_text()[-1500:]}")[0]

    def started(self, count: int = 1) -> Json:
        def enough() -> Json | None:
            found = self.events("job_started")
            return found[-1] if len(found) >= count else None

        return until(enough, "a job started")

    def fetched(self) -> None:
        """Wait until a job has its source, which is all it needs of the server before it has a result."""
        self.started()
        size = len(NOTE)
        until(lambda: [each for each in (self.folder / "incoming").iterdir() if each.stat().st_size == size], "fetched")

    def spare(self) -> list[psutil.Process]:
        """The processes of its children, once one waits for work."""

        def there() -> list[psutil.Process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                family = psutil.Process(self.process.pid).children(recursive=True)
                return family if any(CHILD in " ".join(each.cmdline()) for each in family) else []
            return []

        return until(there, "a child of the sandbox")

    @contextlib.contextmanager
    def held(self) -> Generator[list[psutil.Process]]:
        """While it lasts, the next job gets no further than its child."""
        family = self.spare()
        for each in family:
            each.suspend()
        try:
            yield family
        finally:
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.resume()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self, wait_s: float = WAIT_S) -> int:
        return self.process.wait(wait_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)
        self._log.close()

    def is_clean(self) -> bool:
        """Whether nothing of a job is left on its disk."""
        return not any(any((self.folder / name).iterdir()) for name in ("incoming", "spool"))


class Place:
    """A server, its user alice, and workers that end with the test."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self._folder = server, folder
        self.worker_key, self.submit_key = server.key("alice", "worker"), server.key("alice", "submit")
        self.http = server.client(self.submit_key)
        self._workers: list[Worker] = []

    def worker(self, *words: str, name: str | None = None, key: str | None = None, **more: str) -> Worker:
        server = more.pop("server", self.server.address)
        folder = self._folder / (name or uuid.uuid4().hex[:8])
        made = Worker(server, key or self.worker_key, folder, *words, **more)
        self._workers.append(made)
        return made

    def ready(self, *words: str, **more: str) -> Worker:
        made = self.worker(*words, **more)
        made.registered()
        return made

    def submit(self, body: bytes = NOTE, **fields: str) -> str:
        answer = self.http.post(
            "/process/file",
            files={"file": (f"{uuid.uuid4().hex}.md", body)},
            data={"remote": "true", "fallback_to_local": "false", **fields},
            headers={"Prefer": "respond-async"},
        )
        assert answer.status_code == 202, answer.text
        return answer.json()["task_id"]

    def status(self, task_id: str) -> Json:
        return self.http.get(f"/api/v1/status/{task_id}").json()

    def completed(self, task_id: str, wait_s: float = WAIT_S) -> Json:
        def ended() -> Json | None:
            with contextlib.suppress(httpx2.TransportError, ValueError):
                status = self.status(task_id)
                return status if status.get("status") in {"completed", "failed", "timeout", "cancelled"} else None
            return None

        status = until(ended, f"{task_id} ended", wait_s)
        assert status["status"] == "completed", status
        return status

    def close_workers(self) -> None:
        for worker in self._workers:
            worker.close()
        self._workers.clear()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("remote"))
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def settled_place(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(server, tmp_path_factory.mktemp("workers"))


@pytest.fixture
def place(settled_place: Place) -> Iterator[Place]:
    if settled_place.server.process is None:
        settled_place.server.start()
    yield settled_place
    settled_place.close_workers()


class CuttingLine:
    """A proxy that cuts each connection after so many bytes, whichever way they went."""

    def __init__(self, port: int, limit_bytes: int) -> None:
        self._to, self._limit_bytes = port, limit_bytes
        self.cuts = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for writer in self._writers:  # also of those that were never begun
            writer.transport.abort()
        await asyncio.sleep(0)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        task = asyncio.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers.append(far_writer)
        left = [self._limit_bytes]

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while left[0] > 0 and (data := await source.read(16_384)):
                left[0] -= len(data)
                target.write(data)
                await target.drain()

        ways = [asyncio.create_task(pass_on(reader, far_writer)), asyncio.create_task(pass_on(far_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.cuts += left[0] <= 0
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, far_writer):
                end.transport.abort()


def picture() -> bytes:
    """A line of text as a small PNG."""
    image = Image.new("RGB", (420, 70), "white")
    ImageDraw.Draw(image).text((20, 20), "The lamp burns at four.", fill="black", font_size=30)
    raw = io.BytesIO()
    image.save(raw, "PNG")
    return raw.getvalue()


def test_what_is_converted_far_away_is_the_same_to_the_byte(place: Place) -> None:
    worker = place.ready(types="document,image")
    letter = (SAMPLES / "letter.docx").read_bytes()
    for name, body, text in (("letter.docx", letter, "#"), ("picture.png", picture(), "lamp burns")):
        made: list[Json] = []
        for remote in ("false", "true"):
            answer = place.http.post("/process/file", files={"file": (name, body)}, data={"remote": remote})
            assert answer.status_code == 200, answer.text
            made.append(answer.json())
        here, there = made
        assert (here["processing_method"], there["processing_method"]) == ("local", "remote")
        assert text in here["content"]
        differing = {key for key in here if here[key] != there.get(key)}
        assert differing <= {"task_id", "processing_time", "processing_method", "worker"}, differing
    until(worker.is_clean, "nothing of the jobs is left")


def test_a_cancelled_job_is_killed_within_seven_seconds(place: Place) -> None:
    worker = place.ready("--slots", "1")
    with worker.held() as family:
        task_id = place.submit()
        worker.started()
        began = time.monotonic()
        place.http.post(f"/api/tasks/{task_id}/cancel")
        until(lambda: not any(each.is_running() for each in family), "the child is gone", 7.0)
        assert time.monotonic() - began <= 7.0
    until(worker.is_clean, "nothing of the job is left")
    place.completed(place.submit())
    assert not worker.events("job_done")[0]["attempt_id"].startswith(task_id)


def test_a_worker_that_starts_again_takes_up_what_it_left_by_dying(place: Place) -> None:
    worker = place.ready(name="phoenix")
    with worker.held():
        task_id = place.submit()
        worker.started()
        worker.signal(signal.SIGKILL)
        worker.ended()
    again = place.ready(name="phoenix")
    assert again.registered()["worker_id"] == worker.registered()["worker_id"]
    assert again.registered()["generation"] == 2
    place.completed(task_id)
    assert again.started()["attempt_id"] == f"{task_id}.2"
    until(again.is_clean, "nothing of the job is left")


def test_a_worker_that_dies_is_replaced_by_another_within_its_lease(place: Place) -> None:
    first = place.ready()
    with first.held():
        task_id = place.submit()
        first.started()
        second = place.ready()
        first.signal(signal.SIGKILL)
        began = time.monotonic()
    place.completed(task_id)
    assert time.monotonic() - began <= 22.0
    assert second.started()["attempt_id"] == f"{task_id}.2"


def test_a_restart_of_the_server_restarts_no_conversion(place: Place) -> None:
    worker = place.ready()
    with worker.held():
        task_id = place.submit()
        worker.started()
        place.server.stop()
        until(lambda: worker.events("server_away"), "the worker noticed")
        place.server.start()
        until(lambda: worker.events("server_back"), "the worker noticed")
    assert place.completed(task_id)["status"] == "completed"
    until(lambda: worker.events("job_done"), "the worker heard")
    assert [event["attempt_id"] for event in worker.events("job_started")] == [f"{task_id}.1"]
    assert worker.events("job_done")[0]["told"].startswith("committed")


def test_a_result_survives_an_outage_of_the_server_and_a_restart_of_the_worker(place: Place) -> None:
    worker = place.ready(name="keeper")
    with worker.held():
        task_id = place.submit()
        worker.fetched()
        place.server.stop(signal.SIGKILL)
    until(lambda: list((worker.folder / "spool").glob("*.json")), "the result is on disk")
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0
    again = place.worker(name="keeper")
    until(lambda: again.events("server_away"), "it tries while the server is away")
    place.server.start()
    place.completed(task_id)
    again.registered()
    assert again.events("job_done")[0]["told"].startswith("committed")
    assert not again.events("job_started")
    until(again.is_clean, "nothing of the job is left")


def test_sigterm_ends_an_idle_worker_within_a_second(place: Place) -> None:
    worker = place.ready()
    worker.spare()
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0
    assert time.monotonic() - began <= 1.0
    known = place.http.get("/api/v1/status/workers").json()["workers"]["details"]
    assert worker.registered()["worker_id"] not in known


def test_sigterm_lets_a_busy_worker_finish_and_take_nothing_new(place: Place) -> None:
    worker = place.ready("--slots", "2")
    with worker.held():
        task_id = place.submit()
        worker.started()
        worker.signal(signal.SIGTERM)
        until(lambda: worker.events("leaving"), "it heard")
        later = place.submit()
    assert worker.ended() == 0
    place.completed(task_id)
    assert [event["attempt_id"] for event in worker.events("job_done")] == [f"{task_id}.1"]
    place.http.post(f"/api/tasks/{later}/cancel")


def test_a_second_signal_gives_back_what_runs_at_once(place: Place) -> None:
    worker = place.ready()
    other = place.worker()
    with worker.held():
        task_id = place.submit()
        worker.started()
        other.registered()
        worker.signal(signal.SIGINT)
        until(lambda: worker.events("leaving"), "it heard")
        worker.signal(signal.SIGINT)
        assert worker.ended() == 0
    place.completed(task_id, 5.0)
    assert other.started()["attempt_id"] == f"{task_id}.2"


def test_large_files_and_results_pass_a_line_that_is_cut_again_and_again(place: Place) -> None:
    body = b"".join(b"- The lamp burns for the %d. time.\n" % number for number in range(100_000))
    with CuttingLine(place.server.port, limit_bytes=1_200_000) as line:
        worker = place.ready(server=f"http://127.0.0.1:{line.port}")
        task_id = place.submit(body)
        status = place.completed(task_id)
        until(lambda: worker.events("job_done"), "the worker heard")
    assert line.cuts >= 4
    assert [event["attempt_id"] for event in worker.events("job_started")] == [f"{task_id}.1"]
    until(worker.is_clean, "nothing of the job is left")
    local = place.http.post("/process/file", files={"file": ("a.md", body)}).json()["content"]
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in (status["result"]["content"], local)]
    assert digests[0] == digests[1]


def test_once_does_one_job_and_leaves(place: Place) -> None:
    worker = place.ready("--once")
    task_id, later = place.submit(), place.submit()
    assert worker.ended() == 0
    assert len(worker.events("job_done")) == 1
    place.completed(task_id)
    place.http.post(f"/api/tasks/{later}/cancel")


def test_an_idle_worker_leaves_after_the_time_it_was_given(place: Place) -> None:
    worker = place.ready("--idle-exit", "0.5s")
    began = time.monotonic()
    assert worker.ended() == 0
    assert time.monotonic() - began <= 3.0
    assert worker.events("leaving")[0]["why"] == "no work for 0.5 s"


def test_a_copy_of_a_workers_folder_ends_the_older_worker_with_a_reason(place: Place) -> None:
    first = place.ready()
    copy = first.folder.with_name("copy")
    copy.mkdir()
    (copy / "instance_id").write_text((first.folder / "instance_id").read_text())
    second = place.ready(name="copy")
    assert second.registered()["worker_id"] == first.registered()["worker_id"]
    assert first.ended(15.0) == 1
    assert "Another worker with the same instance id took over" in first.log_path.read_text()
    assert second.process.poll() is None


def test_a_certificate_must_be_trusted_and_then_the_work_goes_over_https(tmp_path: Path) -> None:
    cert, key_file = self_signed(tmp_path / "tls")
    server = Server(tmp_path, "https", MORAG_TLS_CERT=str(cert), MORAG_TLS_KEY=str(key_file))
    with contextlib.closing(server):
        server.start()
        key = server.key("alice", "worker")
        with contextlib.closing(Worker(server.address, key, tmp_path / "stranger")) as stranger:
            away = until(lambda: stranger.events("server_away"), "it does not trust the server")[0]
            assert (away["code"], "SSL_CERT_FILE" in away["hint"]) == ("untrusted_certificate", True)
        with contextlib.closing(Worker(server.address, key, tmp_path / "friend", SSL_CERT_FILE=str(cert))) as friend:
            assert friend.registered()["lanes"] == ["cpu-tasks-alice"]


@pytest.mark.parametrize(
    ("key", "words", "told"),
    [
        ("mrg_wrong_key", (), "unauthorized"),
        ("submit", (), "scope"),
        ("worker", ("--server", "http://192.0.2.1"), "insecure_url"),
        ("worker", ("--server", "ftp://example.org"), "no address of a server"),
        ("worker", ("--lanes", "gpu-tasks-bob"), "no lane"),
        ("", (), "needs an API key"),
    ],
)
def test_a_worker_that_cannot_work_stops_and_says_why(
    place: Place, key: str, words: tuple[str, ...], told: str
) -> None:
    given = {"submit": place.submit_key, "worker": place.worker_key}.get(key, key)
    worker = Worker(place.server.address, given, place.server.folder / uuid.uuid4().hex, *words)
    assert worker.ended() == 1
    worker.close()
    said = worker.log_path.read_text()
    assert told in said
    assert "Traceback" not in said
    assert given == "" or given not in said


def test_the_folder_of_a_running_worker_is_not_shared(place: Place) -> None:
    place.ready(name="only")
    second = place.worker(name="only")
    assert second.ended() == 1
    assert "folder_in_use" in second.log_path.read_text()


def test_a_worker_loads_no_part_of_the_server() -> None:
    program = """
import sys
import morag.cli.main
import morag.cli.worker
import morag.worker.remote.trial
names = {"fastapi", "starlette", "uvicorn", "apsw", "qdrant_edge", "onnxruntime", "tokenizers", "asyncpg", "redis"}
parts = ("morag.bootstrap", "morag.api", "morag.storage", "morag.control.tasks", "morag.pipeline.ingestion")
print(*[name for name in sys.modules if name in names or name.startswith(parts)])
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
