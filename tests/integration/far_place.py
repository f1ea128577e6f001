"""A server, users, and machines of theirs as processes: what tests of a bad network play with.

A conversion is held where it is by stopping the processes of its child, so nothing depends on how long one takes.
"""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Self

import httpx2
import psutil
from tests.integration.faulty_proxy import Faults, FaultyProxy, Passed

READY = re.compile(r"ready at http://\S+")
WAIT_S = 60.0
CHILD = "morag.worker.sandbox.child"
ENDED = {"completed", "failed", "timeout", "cancelled"}
STATES = "SELECT json_extract(data, '$.state') FROM events WHERE kind = 'state' AND task_id = ? ORDER BY seq"

DAY_S = 86_400
A_DAY_AHEAD = f"""
import os, pathlib, time
really = time.time
time.time = lambda: really() + {DAY_S}
with pathlib.Path(__file__).with_name("ahead").open("a") as file:
    print(os.getpid(), file=file)
"""

Json = dict[str, Any]


def until(condition: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> Any:
    """The first true value of a condition, looked at often. Raises AssertionError."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {wait_s:g} s: {what}")


def environment(**more: str) -> dict[str, str]:
    """This process's, without settings of the product but `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
    return kept | {"NO_COLOR": "1"} | more


class Server:
    """A server on a port of its own that can go away and come back."""

    def __init__(self, folder: Path) -> None:
        """Keep everything in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port: int = taken.getsockname()[1]
        self.folder, self.address = folder, f"http://127.0.0.1:{self.port}"
        self.database = folder / "data" / "morag.db"
        self._process: subprocess.Popen[str] | None = None
        self._log = (folder / "server.log").open("a")

    def start(self) -> None:
        """Return once it answers."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "morag", "serve", "--port", str(self.port)],
            env=environment(MORAG_DATA_DIR=str(self.folder / "data"), MORAG_WORKERS="1"),
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout
        assert any(READY.search(line) for line in self._process.stdout), self.log()[-2000:]

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it, if it runs."""
        if self._process:
            self._process.send_signal(how)
            self._process.wait(30)
            assert self._process.stdout
            self._process.stdout.close()
            self._process = None

    def key(self, user_id: str, scope: str) -> str:
        """A new key."""
        return subprocess.run(
            [sys.executable, "-m", "morag", "keys", "create", "--user", user_id, "--scope", scope],
            env=environment(MORAG_DATA_DIR=str(self.folder / "data")),
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def log(self) -> str:
        """What it logged."""
        return (self.folder / "server.log").read_text()

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self._log.close()


class Worker:
    """A `morag worker` process with a folder of its own."""

    def __init__(self, server: str, key: str, folder: Path, *words: str, **environ: str) -> None:
        """Start it."""
        self.folder, self._path = folder, folder.with_name(f"{folder.name}-{uuid.uuid4().hex[:6]}.log")
        self._mark = 0
        given = ["--server", server, "--data-dir", str(folder), "--content-types", "document", *words]
        with self._path.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "morag", "worker", *given],
                env=environment(MORAG_API_KEY=key, **environ),
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    def log(self) -> str:
        """What it logged."""
        return self._path.read_text()

    def forget(self) -> None:
        """Let `events` tell only of what comes from now on."""
        self._mark = len(self.log())

    def events(self, name: str) -> list[Json]:
        """What it logged under a name."""
        lines = [line for line in self.log()[self._mark :].splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def heard(self, name: str, count: int = 1, wait_s: float = WAIT_S) -> Json:
        """The latest event of a name, once there were so many."""
        found = until(
            lambda: events if len(events := self.events(name)) >= count else None, f"{count} times {name}", wait_s
        )
        return found[-1]

    def ready(self) -> Self:
        """Itself, once it is registered and a child waits for work."""
        self._mark = 0
        until(lambda: self.events("registered") or self.process.poll() is not None, "it registered")
        assert self.process.poll() is None, self.log()[-2000:]
        self.spare()
        return self

    def family(self) -> list[psutil.Process]:
        """The processes below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def spare(self) -> list[psutil.Process]:
        """The processes of its children, once one waits for work."""

        def there() -> list[psutil.Process]:
            family = self.family()
            with contextlib.suppress(psutil.NoSuchProcess):
                return family if any(CHILD in " ".join(each.cmdline()) for each in family) else []
            return []

        return until(there, "a child of the sandbox")

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        """While it lasts, the next job gets no further than its child."""
        family = self.spare()
        for each in family:
            each.suspend()
        try:
            yield
        finally:
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.resume()

    def limit_files(self, size_bytes: int) -> None:
        """Let it write no file beyond `size_bytes`, as on a disk that is full; -1: any."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

    def is_clean(self) -> bool:
        """Whether nothing of a job is left on its disk."""
        return not any(any((self.folder / name).iterdir()) for name in ("incoming", "spool"))

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(30)


class Place:
    """A user of a server, one machine of the user's behind a bad line, and more if need be. A context manager.

    The wall clock of the machine behind the line is a day ahead, whatever else happens to it.
    """

    def __init__(self, server: Server, name: str) -> None:
        """Make the keys."""
        self.server, self.line = server, FaultyProxy(server.port, records=True)
        self.folder = server.folder / name
        self._clock = self.folder / "clock"
        self._clock.mkdir(parents=True)
        (self._clock / "sitecustomize.py").write_text(A_DAY_AHEAD)
        self.worker_key = server.key(name, "worker")
        headers = {"Authorization": f"Bearer {server.key(name, 'submit')}"}
        self._http = httpx2.Client(base_url=server.address, headers=headers, timeout=60.0, trust_env=False)
        self._first: Worker | None = None
        self._others: list[Worker] = []

    def __enter__(self) -> Self:
        self.line.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self.clear()
        self.dismiss()
        self.line.__exit__()

    def first(self) -> Worker:
        """The machine behind the line, ready for work; kept from one trial to the next as long as it lives."""
        if self._first is None or self._first.process.poll() is not None:
            self._first = self.worker(self.line.address, PYTHONPATH=str(self._clock))
            self._others.remove(self._first)
        self._first.ready().forget()
        return self._first

    def worker(self, address: str | None = None, *, name: str | None = None, **environ: str) -> Worker:
        """Another machine of the user that begins to start, on a good line unless told otherwise."""
        folder = self.folder / (name or uuid.uuid4().hex[:8])
        made = Worker(address or self.server.address, self.worker_key, folder, "--slots", "2", **environ)
        self._others.append(made)
        return made

    def dismiss(self) -> None:
        """End the first machine; another takes its place when it is asked for."""
        if self._first:
            self._first.close()

    def is_ahead(self, worker: Worker) -> bool:
        """Whether the worker's wall clock is a day ahead."""
        return str(worker.process.pid) in (self._clock / "ahead").read_text().split()

    def clear(self) -> None:
        """After a trial: the line is good, and only the first machine is left."""
        self.line.mend()
        self.line.faults = Faults()
        self.line.passed = Passed()
        for worker in self._others:
            worker.close()
        self._others.clear()

    def submit(self, body: bytes = b"# Note\n\nSeen from far.\n") -> str:
        """A file to be converted far away and nowhere else; its task."""
        answer = self._http.post(
            "/process/file",
            files={"file": (f"{uuid.uuid4().hex}.md", body)},
            data={"remote": "true", "fallback_to_local": "false"},
            headers={"Prefer": "respond-async"},
        )
        assert answer.status_code == 202, answer.text
        return answer.json()["task_id"]

    def status(self, task_id: str) -> Json:
        """How a task stands; nothing while the server does not answer."""
        with contextlib.suppress(httpx2.TransportError, ValueError):
            return self._http.get(f"/api/v1/status/{task_id}").json()
        return {}

    def ended(self, task_id: str, wait_s: float = WAIT_S) -> Json:
        """The task at its end."""
        until(lambda: self.status(task_id).get("status") in ENDED, f"{task_id} ended", wait_s)
        return self.status(task_id)

    def completed(self, task_id: str) -> Json:
        """The task at its end, which must be one commit in every respect. Raises AssertionError."""
        status = self.ended(task_id)
        assert status["status"] == "completed", status
        assert [each["outcome"] for each in status["attempts"]].count("completed") == 1, status["attempts"]
        with contextlib.closing(
            sqlite3.connect(f"file:{self.server.database}?mode=ro", uri=True, timeout=30)
        ) as record:
            ends = [state for (state,) in record.execute(STATES, (task_id,)) if state in ENDED]
        assert ends == ["completed"], ends
        return status


def markdown(size_bytes: int) -> bytes:
    """A file that is converted in no time to a result of about its own size."""
    line = b"- The lamp burns at four.\n"
    return line * (size_bytes // len(line))
