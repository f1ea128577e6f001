"""Webhooks over HTTP: a receiver that verifies, fails, comes back, while the server is killed in between."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks.webhooks import Webhook

pytestmark = pytest.mark.xdist_group("webhooks")

END_S = 60.0

StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]
Files = Callable[..., dict[str, tuple[str, bytes]]]


@dataclass
class Hook:
    """A receiver in this process; what it answers can be changed."""

    port: int = 0
    status: int = 204
    got: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list[tuple[str, bytes, dict[str, str]]])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def about(self, task_id: str) -> list[tuple[str, bytes, dict[str, str]]]:
        """The requests it took about a task; several servers and secrets send to it."""
        return [each for each in self.got if json.loads(each[1])["data"]["task_id"] == task_id]

    def told(self, task_id: str) -> list[dict[str, Any]]:
        """What it took about a task."""
        return [json.loads(body) for _, body, _ in self.about(task_id)]


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    made = Hook()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if made.status < 300:
                made.got.append((self.path, body, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(made.status)
            if made.status == 302:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Keep the test output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        made.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def answering(hook: Hook) -> None:
    hook.status = 204


@pytest.fixture(scope="module")
def address(start_server: StartServer, hook: Hook) -> str:
    return start_server(MORAG_FETCH_ALLOW=f"127.0.0.1:{hook.port}")[0]


@pytest.fixture
def hooked(address: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=address, timeout=END_S, trust_env=False) as client:
        yield client


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + END_S
    while not (found := condition()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)
    return found


def submit(api: httpx2.Client, files: dict[str, tuple[str, bytes]], hook: Hook, **fields: str) -> str:
    answer = api.post("/api/v1/ingest/file", files=files, data={"webhook_url": hook.url, **fields})
    assert answer.status_code == 202, answer.text
    return answer.json()["task_id"]


def test_an_ingest_is_told_signed_with_the_document(hooked: httpx2.Client, note: Files, hook: Hook) -> None:
    task_id = submit(hooked, note(), hook)
    until(lambda: len(hook.told(task_id)) == 2)
    secret = hooked.get("/api/v1/webhooks/secret").json()["secret"]
    for _, body, headers in hook.about(task_id):
        assert Webhook(secret).verify(body, headers)
    told = {each["type"]: each["data"] for each in hook.told(task_id)}
    assert told["task.completed"]["status"] == "completed"
    assert told["document.ingested"]["result"]["chunks_stored"] >= 1


def test_a_failed_ingest_is_told_with_the_reason(hooked: httpx2.Client, hook: Hook) -> None:
    task_id = submit(hooked, {"file": ("a.pdf", b"%PDF-1.7 and then nothing")}, hook)
    until(lambda: hook.told(task_id))
    (told,) = hook.told(task_id)
    assert told["type"] == "task.failed"
    assert told["data"]["error"]["message"]


def test_a_new_secret_signs_at_once(hooked: httpx2.Client, note: Files, hook: Hook) -> None:
    before = hooked.get("/api/v1/webhooks/secret").json()["secret"]
    after = hooked.post("/api/v1/webhooks/secret/rotate").json()["secret"]
    assert before != after
    task_id = submit(hooked, note(), hook)
    until(lambda: hook.told(task_id))
    _, body, headers = hook.about(task_id)[0]
    assert Webhook(after).verify(body, headers)
    assert Webhook(before).verify(body, headers)


@pytest.mark.parametrize("status", [500, 302])
def test_a_receiver_that_does_not_take_it_is_listed_and_tried_again(
    hooked: httpx2.Client, note: Files, hook: Hook, status: int
) -> None:
    hook.status = status
    task_id = submit(hooked, note(), hook)

    def tried() -> list[dict[str, Any]]:
        listed = hooked.get("/api/v1/webhooks/deliveries").json()["deliveries"]
        return [each for each in listed if each["task_id"] == task_id and each["tries"]]

    delivery = until(tried)[0]
    assert (delivery["last_status"], delivery["delivered_at"]) == (status, None)
    hook.status = 204
    until(lambda: len(hook.told(task_id)) == 2)


def test_what_could_not_be_told_before_a_kill_is_told_after_the_restart(
    start_server: StartServer, note: Files, hook: Hook, tmp_path: Path
) -> None:
    variables = {"MORAG_FETCH_ALLOW": f"127.0.0.1:{hook.port}", "MORAG_DATA_DIR": str(tmp_path / "data")}
    hook.status = 503
    address, process = start_server(**variables)
    with httpx2.Client(base_url=address, timeout=END_S, trust_env=False) as api:
        task_id = submit(api, note(), hook)
        until(lambda: api.get(f"/api/v1/status/{task_id}").json()["status"] == "completed")
    process.kill()
    process.wait(10)
    hook.status = 204
    start_server(**variables)
    until(lambda: len({each["type"] for each in hook.told(task_id)}) == 2)


def test_deliveries_are_paged(hooked: httpx2.Client, note: Files, hook: Hook) -> None:
    task_id = submit(hooked, note(), hook)
    until(lambda: len(hook.told(task_id)) == 2)
    first = hooked.get("/api/v1/webhooks/deliveries", params={"limit": 1}).json()
    second = hooked.get("/api/v1/webhooks/deliveries", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert first["deliveries"][0]["webhook_id"] > second["deliveries"][0]["webhook_id"]
