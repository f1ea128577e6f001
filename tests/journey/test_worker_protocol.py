"""A worker in another language: nothing but HTTP calls, as the reference page tells them."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.xdist_group("worker_protocol")

END_S = 60.0

StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]
Json = dict[str, Any]
MARKDOWN = "# From far\n\nThe quoll was seen on another machine."


def document(markdown: str = MARKDOWN) -> Json:
    return {
        "markdown": markdown,
        "content_type": "document",
        "media_type": "text/markdown",
        "metadata": {},
        "segments": [{"text_start": 0, "text_end": len(markdown)}],
    }


def digest(markdown: str = MARKDOWN) -> str:
    return hashlib.sha256(markdown.encode()).hexdigest()


class Far:
    """A server with two users, and what their programs hold."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self._folder = folder
        self.clients: list[httpx2.Client] = []

    def client(self, user_id: str, scope: str) -> httpx2.Client:
        made = subprocess.run(
            [sys.executable, "-m", "morag", "keys", "create", "--user", user_id, "--scope", scope],
            env={**os.environ, "MORAG_DATA_DIR": str(self._folder)},
            check=True,
            capture_output=True,
            text=True,
        )
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        client = httpx2.Client(base_url=self.address, headers=headers, timeout=END_S, trust_env=False)
        self.clients.append(client)
        return client


class Box:
    """One machine of a user."""

    def __init__(self, http: httpx2.Client, **told: Any) -> None:
        self.http = http
        body = {
            "name": "box",
            "instance_id": uuid.uuid4().hex,
            "version": "test",
            "type": "remote_gpu",
            "content_types": ["document"],
            "slots": 2,
            **told,
        }
        self.registered: Json = self.told(http.post("/api/v1/workers", json=body), 201)
        self.path = f"/api/v1/workers/{self.registered['worker_id']}"

    @staticmethod
    def told(answer: httpx2.Response, status: int = 200) -> Any:
        assert answer.status_code == status, answer.text
        return answer.json()

    def claim(self, wait_s: float = 20.0, slots: int = 1, claim_id: str | None = None) -> list[Json]:
        body = {"claim_id": claim_id or uuid.uuid4().hex, "slots": slots, "wait_s": wait_s}
        answer = self.http.post(f"{self.path}/claim", json=body)
        return [] if answer.status_code == 204 else self.told(answer)["leases"]

    def lease(self) -> Json:
        (lease,) = self.claim()
        return lease

    def heartbeat(self, *leases: Json, **more: Any) -> Json:
        held = [{"attempt_id": lease["attempt_id"], "fence": lease["fence"], "progress": 0.5} for lease in leases]
        return self.told(self.http.post(f"{self.path}/heartbeat", json={"seq": 1, "leases": held, **more}))

    def complete(self, lease: Json, **body: Any) -> httpx2.Response:
        sent = {"fence": lease["fence"], "result": document(), "sha256": digest(), **body}
        return self.http.post(f"/api/v1/attempts/{lease['attempt_id']}/complete", json=sent)


@pytest.fixture(scope="module")
def far(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("far")
    address, _ = start_server(MORAG_DATA_DIR=str(folder))
    made = Far(address, folder)
    yield made
    for client in made.clients:
        client.close()


@pytest.fixture(scope="module")
def alice(far: Far) -> httpx2.Client:
    return far.client("alice", "submit")


@pytest.fixture(scope="module")
def worker_key(far: Far) -> httpx2.Client:
    return far.client("alice", "worker")


@pytest.fixture
def box(alice: httpx2.Client, worker_key: httpx2.Client) -> Iterator[Box]:
    made = Box(worker_key)
    yield made
    for task in alice.get("/api/v1/status/", params={"limit": 200}).json()["tasks"]:
        if task["completed_at"] is None:
            alice.post(f"/api/tasks/{task['task_id']}/cancel")
    assert worker_key.delete(made.path).status_code == 204


def ingest(http: httpx2.Client, body: bytes = b"# Note\n\nSomething.\n", **fields: str) -> str:
    files = {"file": (f"{uuid.uuid4().hex}.md", body + uuid.uuid4().hex.encode())}
    answer = http.post("/api/v1/ingest/file", files=files, data={"remote": "true", **fields})
    assert answer.status_code == 202, answer.text
    return answer.json()["task_id"]


def process(http: httpx2.Client) -> str:
    answer = http.post(
        "/process/file",
        files={"file": ("a.md", b"# Note\n")},
        data={"remote": "true"},
        headers={"Prefer": "respond-async"},
    )
    assert answer.status_code == 202, answer.text
    return answer.json()["task_id"]


def ended(http: httpx2.Client, task_id: str) -> Json:
    until = time.monotonic() + END_S
    while True:
        status = http.get(f"/api/v1/status/{task_id}").json()
        if status["status"] in {"completed", "failed", "timeout", "cancelled"}:
            return status
        assert time.monotonic() < until, status
        time.sleep(0.05)


def test_a_conversion_is_done_far_away_and_found_here(alice: httpx2.Client, box: Box) -> None:
    task_id = ingest(alice, b"# Secret of the harbour\n")
    lease = box.lease()
    assert (lease["name"], lease["content_type"]) == ("convert", "document")
    source = box.http.get(f"/api/v1/attempts/{lease['attempt_id']}/source")
    assert source.headers["etag"] == f'"{lease["source"]["sha256"]}"'
    assert hashlib.sha256(source.content).hexdigest() == lease["source"]["sha256"]
    rest = box.http.get(
        f"/api/v1/attempts/{lease['attempt_id']}/source",
        headers={"Range": "bytes=5-", "If-Range": source.headers["etag"]},
    )
    assert (rest.status_code, rest.content) == (206, source.content[5:])
    assert box.heartbeat(lease)["leases"] == {lease["attempt_id"]: "ok"}
    assert Box.told(box.complete(lease))["status"] == "committed"
    assert Box.told(box.complete(lease))["status"] == "duplicate"
    status = ended(alice, task_id)
    assert (status["status"], status["result"]["processing_method"]) == ("completed", "remote")
    assert status["result"]["worker"] == box.registered["worker_id"]
    hits = alice.post("/search", json={"query": "quoll on another machine"}).json()["hits"]
    assert "another machine" in hits[0]["text"]


def test_without_a_machine_it_is_done_here_and_says_why(far: Far) -> None:
    bob = far.client("bob", "submit")
    answer = bob.post("/process/file", files={"file": ("a.md", b"# Here\n")}, data={"remote": "true"}).json()
    assert answer["processing_method"] == "local"
    routing = bob.get(f"/api/v1/status/{answer['task_id']}").json()["routing"]
    assert (routing["lane"], routing["reason"]) == ("celery", "remote asked for, no worker of yours alive, local")


def test_a_claim_waits_and_is_answered_the_moment_there_is_work(alice: httpx2.Client, box: Box) -> None:
    assert box.claim(wait_s=0.0) == []
    began = time.monotonic()
    assert box.claim(wait_s=0.3) == []
    assert time.monotonic() - began >= 0.3
    ingest(alice)
    assert len(box.claim(wait_s=20.0)) == 1


def test_the_same_claim_gives_the_same_leases(alice: httpx2.Client, box: Box) -> None:
    process(alice)
    process(alice)
    first = box.claim(slots=2, claim_id="c1")
    assert [each["attempt_id"] for each in box.claim(slots=2, claim_id="c1")] == [each["attempt_id"] for each in first]
    assert box.claim(wait_s=0.0, slots=2, claim_id="c2") == []


def test_a_large_result_comes_in_pieces_and_goes_on_after_a_cut(alice: httpx2.Client, box: Box) -> None:
    task_id = process(alice)
    lease = box.lease()
    markdown = "# Long\n\n" + "The lamp burns. " * 80_000
    raw = json.dumps(document(markdown)).encode()
    attempt = f"/api/v1/attempts/{lease['attempt_id']}"
    begun = box.http.post(f"{attempt}/uploads", headers={"Upload-Length": str(len(raw)), "Tus-Resumable": "1.0.0"})
    place = begun.headers["location"]
    half = len(raw) // 2

    def piece(offset: int, content: bytes, told: bytes | None = None) -> httpx2.Response:
        checksum = base64.b64encode(hashlib.sha256(told or content).digest()).decode()
        headers = {
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(offset),
            "Upload-Checksum": f"sha256 {checksum}",
        }
        return box.http.patch(place, content=content, headers=headers)

    assert piece(0, raw[:half]).headers["upload-offset"] == str(half)
    assert piece(half, raw[half:], told=b"other").status_code == 460
    wrong = piece(0, raw[:10])
    assert (wrong.status_code, wrong.headers["upload-offset"]) == (409, str(half))
    assert box.http.head(place).headers["upload-offset"] == str(half)
    assert piece(half, raw[half:]).status_code == 204
    upload_id = place.rpartition("/")[2]
    told = {"fence": lease["fence"], "upload_id": upload_id, "sha256": hashlib.sha256(raw).hexdigest()}
    assert box.http.post(f"{attempt}/complete", json={**told, "sha256": "0" * 64}).status_code == 412
    assert Box.told(box.http.post(f"{attempt}/complete", json=told))["status"] == "committed"
    # as a worker does whose answer got lost; the upload is gone by now, and need not come again
    assert Box.told(box.http.post(f"{attempt}/complete", json=told))["status"] == "duplicate"
    assert ended(alice, task_id)["status"] == "completed"


def test_a_cancelled_task_is_told_at_the_next_heartbeat_and_its_result_is_refused(
    alice: httpx2.Client, box: Box
) -> None:
    task_id = ingest(alice)
    lease = box.lease()
    alice.delete(f"/api/v1/ingest/{task_id}")
    assert box.heartbeat(lease)["leases"] == {lease["attempt_id"]: "cancel"}
    assert box.complete(lease).status_code == 410


def test_a_released_task_is_granted_again_and_the_first_holder_has_lost_it(alice: httpx2.Client, box: Box) -> None:
    task_id = ingest(alice)
    lease = box.lease()
    Box.told(box.http.post(f"/api/v1/attempts/{lease['attempt_id']}/release", json={"fence": lease["fence"]}))
    again = box.lease()
    assert again["fence"] == lease["fence"] + 1
    assert box.complete(lease).status_code == 409
    Box.told(box.complete(again))
    attempts = ended(alice, task_id)
    assert attempts["status"] == "completed"


def test_a_failure_is_answered_with_what_is_done(alice: httpx2.Client, box: Box) -> None:
    task_id = ingest(alice)
    lease = box.lease()
    body = {"fence": lease["fence"], "failure_type": "from_the_future", "message": "It is broken.", "is_final": True}
    path = f"/api/v1/attempts/{lease['attempt_id']}/fail"
    assert Box.told(box.http.post(path, json=body))["decision"] == "manual_intervention"
    assert Box.told(box.http.post(path, json=body))["decision"] == "manual_intervention"
    status = ended(alice, task_id)
    assert (status["status"], status["error"]["message"]) == ("failed", "It is broken.")


def test_the_same_machine_again_ends_the_older_session(alice: httpx2.Client, worker_key: httpx2.Client) -> None:
    old = Box(worker_key, instance_id="twin")
    task_id = ingest(alice)
    lease = old.lease()
    new = Box(worker_key, instance_id="twin")
    assert (new.path, new.registered["generation"]) == (old.path, 2)
    beat: Json = {"seq": 2, "generation": 1, "leases": []}
    assert old.http.post(f"{old.path}/heartbeat", json=beat).json()["code"] == "session_over"
    again = new.lease()
    assert again["task_id"] == lease["task_id"]
    assert old.complete(lease).status_code == 409
    Box.told(new.complete(again))
    assert ended(alice, task_id)["status"] == "completed"
    worker_key.delete(new.path)


def test_a_paused_machine_gets_nothing_until_it_is_resumed(alice: httpx2.Client, box: Box) -> None:
    assert Box.told(alice.post(f"{box.path}/pause"))["state"] == "paused"
    assert box.heartbeat()["directives"]["pause"] is True
    ingest(alice, fallback_to_local="false")
    assert box.claim(wait_s=0.2) == []
    alice.post(f"{box.path}/resume")
    assert len(box.claim()) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"protocol": 99}, 426),
        ({"slots": 0}, 422),
        ({"content_types": []}, 422),
        ({"content_types": ["dreams"]}, 422),
        ({"type": "toaster"}, 422),
        ({"lanes": ["gpu-tasks-bob"]}, 400),
        ({"lanes": ["celery"]}, 400),
        ({"instance_id": "a b"}, 422),
        ({"new_field": 1}, 201),
    ],
)
def test_a_machine_that_says_what_cannot_be_is_refused(worker_key: httpx2.Client, change: Json, status: int) -> None:
    body = {
        "name": "liar",
        "instance_id": "liar",
        "version": "1",
        "type": "remote_cpu",
        "content_types": ["document"],
        **change,
    }
    assert worker_key.post("/api/v1/workers", json=body).status_code == status


def test_results_that_cannot_be_are_refused_and_the_grant_stays(alice: httpx2.Client, box: Box) -> None:
    task_id = ingest(alice)
    lease = box.lease()
    assert box.complete(lease, sha256="0" * 64).status_code == 412
    assert box.complete(lease, result=None).status_code == 400
    assert box.complete(lease, fence=lease["fence"] + 1).status_code == 400
    beyond = document()
    beyond["segments"] = [{"text_start": 0, "text_end": 10_000}]
    assert box.complete(lease, result=beyond).status_code == 415
    over = {"seq": 1, "leases": [{"attempt_id": lease["attempt_id"], "fence": lease["fence"], "progress": 7.3}]}
    assert box.http.post(f"{box.path}/heartbeat", json=over).status_code == 422
    assert box.http.post(f"{box.path}/claim", json={"claim_id": "x", "slots": 3}).status_code == 400
    assert Box.told(box.complete(lease))["status"] == "committed"
    assert ended(alice, task_id)["status"] == "completed"


def test_a_worker_key_sees_nothing_of_anothers_and_cannot_submit(far: Far, alice: httpx2.Client, box: Box) -> None:
    eve = far.client("eve", "worker")
    ingest(alice)
    lease = box.lease()
    attempt = f"/api/v1/attempts/{lease['attempt_id']}"
    foreign = [
        eve.get(f"{attempt}/source"),
        eve.post(f"{attempt}/complete", json={"fence": lease["fence"], "result": document(), "sha256": digest()}),
        eve.post(f"{attempt}/release", json={"fence": lease["fence"]}),
        eve.post(f"{box.path}/claim", json={"claim_id": "c", "slots": 1}),
        eve.post(f"{box.path}/heartbeat", json={"seq": 1}),
        eve.delete(box.path),
    ]
    assert {each.status_code for each in foreign} == {404}
    hers = Box(eve)
    assert hers.heartbeat(lease)["leases"] == {lease["attempt_id"]: "lost"}
    assert hers.claim(wait_s=0.0) == []
    assert eve.post("/search", json={"query": "x"}).status_code == 403
    assert eve.get("/api/v1/documents").status_code == 403
    assert alice.post("/api/v1/workers", json={}).status_code in {403, 422}
    assert box.heartbeat(lease)["leases"] == {lease["attempt_id"]: "ok"}


def test_a_workers_key_cannot_settle_what_the_server_runs(alice: httpx2.Client, box: Box) -> None:
    answer = alice.post("/process/file", files={"file": ("a.md", b"# Here\n")}).json()
    settled = box.complete({"attempt_id": f"{answer['task_id']}.1", "fence": 1})
    assert settled.status_code == 404
