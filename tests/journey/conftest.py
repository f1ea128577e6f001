"""One real server for the journeys of a test run, on a port of its own, and a web server for it to fetch from."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

READY = re.compile(r"ready at (https?://\S+)")
START_S = 60.0
END_S = 90.0

Json = dict[str, Any]


class Site(BaseHTTPRequestHandler):
    """A few pages; `/slow` answers only when the run ends."""

    released = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            self.released.wait(60)
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            self.end_headers()
            return
        name = self.path.rpartition("/")[2]
        body = f"""<html><head><title>Page {name}</title></head><body><main><h1>Page {name}</h1>
        <p>The keeper of the lighthouse named {name} writes down the weather every evening before supper.</p>
        <p>In winter the lamp burns from four in the afternoon until eight in the morning.</p></main></body></html>"""
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Keep the test output quiet."""


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        Site.released.set()
        server.shutdown()
        thread.join()


StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start a server with these variables in its environment: its address and its process."""
    started: list[subprocess.Popen[str]] = []

    def start(**variables: str) -> tuple[str, "subprocess.Popen[str]"]:
        folder = tmp_path_factory.mktemp("server")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "morag", "serve", "--port", "0"],
                env={**kept, "MORAG_DATA_DIR": str(folder / "data"), "MORAG_WORKERS": "2", **variables},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        started.append(process)
        return _address(process, folder / "log"), process

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(30)
        assert process.stdout
        process.stdout.close()


def _address(process: "subprocess.Popen[str]", log: Path) -> str:
    assert process.stdout
    for line in process.stdout:
        if found := READY.search(line):
            return found[1]
    raise AssertionError(f"the server did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the server."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def server(start_server: StartServer, site: str, data_dir: Path) -> str:
    address, _ = start_server(
        MORAG_DATA_DIR=str(data_dir),
        MORAG_FETCH_ALLOW=site.removeprefix("http://"),
        MORAG_MAX_UPLOAD_BYTES=str(4 * 1024**2),
    )
    return address


@pytest.fixture
def api(server: str) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=server, timeout=END_S, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the sample files."""
    return Path(__file__).parents[2] / "examples" / "samples"


@pytest.fixture
def word() -> str:
    """A word nothing else in the run contains."""
    return f"quoll{uuid.uuid4().hex[:12]}"


@pytest.fixture
def note(word: str) -> Callable[..., dict[str, tuple[str, bytes]]]:
    """The `files` of an upload of a small Markdown file that contains the word."""

    def make(text: str = "", name: str = "note.md") -> dict[str, tuple[str, bytes]]:
        body = f"# About {word}\n\nThe {word} was seen near the old harbour in spring. {text}\n"
        return {"file": (name, body.encode())}

    return make


@pytest.fixture
def ended(api: httpx2.Client) -> Callable[[str], Json]:
    """Wait for the end of a task: its status."""

    def wait(task_id: str) -> Json:
        until = time.monotonic() + END_S
        while time.monotonic() < until:
            status = api.get(f"/api/v1/status/{task_id}").json()
            if status["status"] in {"completed", "failed", "timeout", "cancelled"}:
                return status
            time.sleep(0.05)
        raise AssertionError(f"{task_id} did not end")

    return wait


@pytest.fixture
def until_status(api: httpx2.Client) -> Callable[[str, str], Json]:
    """Wait until a task is in a state: its status."""

    def wait(task_id: str, state: str) -> Json:
        until = time.monotonic() + END_S
        while time.monotonic() < until:
            status = api.get(f"/api/v1/status/{task_id}").json()
            if status["status"] == state:
                return status
            time.sleep(0.02)
        raise AssertionError(f"{task_id} did not become {state}")

    return wait


@pytest.fixture
def is_well(api: httpx2.Client) -> Iterator[None]:
    """After the test the server still answers, and still converts."""
    yield
    assert api.get("/health/ready").status_code == 200
    answer = api.post("/process/file", files={"file": ("a.txt", b"All is well.")})
    assert answer.status_code == 200, answer.text
    assert "All is well." in answer.json()["content"]
