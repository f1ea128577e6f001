"""Uploads, conversions asked for by name on one's own machine, and who is there to run them."""

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
from tests.journey.test_worker_protocol import MARKDOWN, Box, Far, ended, ingest

pytestmark = pytest.mark.xdist_group("remote_jobs")

StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]
Json = dict[str, Any]

NOTE = b"# A note\n\nThe numbat sleeps at night.\n"
GPU, CPU, LOCAL = "gpu-tasks-alice", "cpu-tasks-alice", "celery"


@pytest.fixture(scope="module")
def far(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("jobs")
    address, _ = start_server(MORAG_DATA_DIR=str(folder), MORAG_MAX_UPLOAD_BYTES=str(8 * 1024**2))
    made = Far(address, folder)
    yield made
    for client in made.clients:
        client.close()


@pytest.fixture(scope="module")
def alice(far: Far) -> httpx2.Client:
    return far.client("alice", "submit")


@pytest.fixture(scope="module")
def bob(far: Far) -> httpx2.Client:
    return far.client("bob", "submit")


@pytest.fixture(scope="module")
def admin(far: Far) -> httpx2.Client:
    return far.client("root", "admin")


@pytest.fixture(scope="module")
def worker_key(far: Far) -> httpx2.Client:
    return far.client("alice", "worker")


@pytest.fixture
def box(alice: httpx2.Client, worker_key: httpx2.Client) -> Iterator[Box]:
    made = Box(worker_key)
    yield made
    stop_everything(alice)
    assert worker_key.delete(made.path).status_code == 204


def stop_everything(http: httpx2.Client) -> None:
    for task in http.get("/api/v1/status/", params={"limit": 200}).json()["tasks"]:
        if task["completed_at"] is None:
            http.post(f"/api/tasks/{task['task_id']}/cancel")


def upload(http: httpx2.Client, body: bytes = NOTE, name: str = "note.md") -> Json:
    return Box.told(http.post("/api/v1/uploads", content=body, headers={"X-Filename": name}), 201)


def job(http: httpx2.Client, **more: Any) -> str:
    body = {"upload_id": upload(http)["upload_id"], "content_type": "document", **more}
    made = Box.told(http.post("/api/v1/remote-jobs/", json=body))
    assert set(made) == {"job_id", "status", "created_at"}
    assert made["status"] == "pending"
    return made["job_id"]


def status_of(http: httpx2.Client, job_id: str) -> Json:
    return Box.told(http.get(f"/api/v1/remote-jobs/{job_id}/status"))


def test_a_job_is_converted_by_the_machine_of_its_user(alice: httpx2.Client, box: Box) -> None:
    job_id = job(alice)
    lease = box.lease()
    assert (lease["task_id"], lease["source"]["filename"]) == (job_id, "note.md")
    assert box.http.get(f"/api/v1/attempts/{lease['attempt_id']}/source").content == NOTE
    running = status_of(alice, job_id)
    assert (running["status"], running["worker_id"]) == ("processing", box.registered["worker_id"])
    Box.told(box.complete(lease, timings={"processing_s": 1.5}))
    done = status_of(alice, job_id)
    assert set(done) == {
        "job_id",
        "status",
        "worker_id",
        "created_at",
        "started_at",
        "completed_at",
        "error_message",
        "retry_count",
        "result",
    }
    assert (done["status"], done["retry_count"], done["error_message"]) == ("completed", 0, None)
    assert done["result"] == {"content": MARKDOWN, "metadata": {}, "processing_time": 1.5}
    assert alice.get(f"/api/v1/status/{job_id}").json()["attempts"][0]["worker"] == box.registered["worker_id"]


def test_a_job_waits_for_a_machine_and_takes_the_lane_of_the_one_that_is_there(
    alice: httpx2.Client, worker_key: httpx2.Client
) -> None:
    waiting = job(alice)
    assert alice.get(f"/api/v1/status/{waiting}").json()["routing"]["lane"] == CPU
    small = Box(worker_key, type="remote_cpu")
    assert small.lease()["task_id"] == waiting
    big = Box(worker_key)
    at_once = job(alice)
    assert alice.get(f"/api/v1/status/{at_once}").json()["routing"]["lane"] == GPU
    assert big.lease()["task_id"] == at_once
    stop_everything(alice)
    worker_key.delete(small.path)
    worker_key.delete(big.path)


def test_a_failed_job_is_tried_again_as_a_new_one(alice: httpx2.Client, box: Box) -> None:
    first = job(alice)
    assert alice.post(f"/api/v1/remote-jobs/{first}/retry").status_code == 409
    lease = box.lease()
    told = {"fence": lease["fence"], "failure_type": "processing_error", "message": "It is broken.", "is_final": True}
    Box.told(box.http.post(f"/api/v1/attempts/{lease['attempt_id']}/fail", json=told))
    assert status_of(alice, first)["error_message"] == "It is broken."
    key = {"Idempotency-Key": uuid.uuid4().hex}
    again = Box.told(alice.post(f"/api/v1/remote-jobs/{first}/retry", headers=key))
    assert again["retry_of"] == first
    assert Box.told(alice.post(f"/api/v1/remote-jobs/{first}/retry", headers=key))["job_id"] == again["job_id"]
    lease = box.lease()
    assert lease["task_id"] == again["job_id"]
    Box.told(box.complete(lease))
    assert status_of(alice, again["job_id"])["status"] == "completed"
    assert status_of(alice, first)["status"] == "failed"
    assert alice.get(f"/api/v1/status/{again['job_id']}").json()["retry_of"] == first


def test_a_job_that_was_given_back_counts_its_attempts(alice: httpx2.Client, box: Box) -> None:
    job_id = job(alice)
    lease = box.lease()
    Box.told(box.http.post(f"/api/v1/attempts/{lease['attempt_id']}/release", json={"fence": lease["fence"]}))
    Box.told(box.complete(box.lease()))
    assert status_of(alice, job_id)["retry_count"] == 1


def test_a_cancelled_job_ends_and_its_machine_hears_of_it(alice: httpx2.Client, box: Box) -> None:
    job_id = job(alice)
    lease = box.lease()
    cancelled = Box.told(alice.post(f"/api/v1/remote-jobs/{job_id}/cancel"))
    assert cancelled == {"job_id": job_id, "status": "cancelled"}
    assert box.heartbeat(lease)["leases"] == {lease["attempt_id"]: "cancel"}
    assert status_of(alice, job_id)["status"] == "cancelled"


def test_the_terms_of_a_job_reach_its_machine(alice: httpx2.Client, box: Box) -> None:
    parent = ingest(alice, remote="false")
    sent = upload(alice)["upload_id"]
    body = {
        "source_file_path": sent,
        "content_type": "document",
        "task_options": {"ocr": "never"},
        "ingestion_task_id": parent,
        "timeout_seconds": 12.5,
    }
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    made = Box.told(alice.post("/api/v1/remote-jobs/", json=body, headers=headers))
    assert Box.told(alice.post("/api/v1/remote-jobs/", json=body, headers=headers)) == made
    other = alice.post("/api/v1/remote-jobs/", json={**body, "timeout_seconds": 13}, headers=headers)
    assert other.status_code == 409
    lease = box.lease()
    assert (lease["task_id"], lease["timeout_s"], lease["options"]) == (made["job_id"], 12.5, {"ocr": "never"})


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"upload_id": "/etc/passwd"}, 400, "not_an_upload"),
        ({"upload_id": "../secret"}, 400, "not_an_upload"),
        ({"upload_id": f"upload-{'0' * 32}"}, 404, "not_found"),
        ({"content_type": "audio"}, 415, "source_type_mismatch"),
        ({"content_type": "youtube"}, 415, "source_type_mismatch"),
        ({"content_type": "dreams"}, 422, None),
        ({"task_options": {"no_such_option": 1}}, 400, "unknown_option"),
        ({"timeout_seconds": 0}, 422, None),
        ({"ingestion_task_id": str(uuid.uuid4())}, 404, "not_found"),
        ({"source_file_path": "also"}, 422, None),
    ],
)
def test_a_job_that_cannot_be_is_refused(alice: httpx2.Client, change: Json, status: int, code: str | None) -> None:
    body = {"upload_id": upload(alice)["upload_id"], "content_type": "document", **change}
    answer = alice.post("/api/v1/remote-jobs/", json=body)
    assert answer.status_code == status, answer.text
    assert code in {None, answer.json()["code"]}


def test_what_is_anothers_is_not_there(alice: httpx2.Client, bob: httpx2.Client, worker_key: httpx2.Client) -> None:
    job_id, sent = job(alice), upload(alice)["upload_id"]
    stolen = bob.post("/api/v1/remote-jobs/", json={"upload_id": sent, "content_type": "document"})
    belongs = {"upload_id": upload(bob)["upload_id"], "content_type": "document", "ingestion_task_id": job_id}
    foreign = [
        stolen,
        bob.post("/api/v1/remote-jobs/", json=belongs),
        bob.get(f"/api/v1/remote-jobs/{job_id}/status"),
        bob.post(f"/api/v1/remote-jobs/{job_id}/cancel"),
        bob.post(f"/api/v1/remote-jobs/{job_id}/retry"),
    ]
    assert {each.status_code for each in foreign} == {404}
    assert worker_key.get(f"/api/v1/remote-jobs/{job_id}/status").status_code == 403
    assert worker_key.post("/api/v1/uploads", content=b"x", headers={"X-Filename": "a.md"}).status_code == 403
    assert status_of(alice, job_id)["status"] == "pending"
    stop_everything(alice)


def test_a_task_of_another_kind_is_no_job(alice: httpx2.Client) -> None:
    task_id = ingest(alice, remote="false")
    assert alice.get(f"/api/v1/remote-jobs/{task_id}/status").status_code == 404
    ended(alice, task_id)


def test_a_file_comes_raw_or_as_a_form(alice: httpx2.Client, box: Box) -> None:
    form = Box.told(alice.post("/api/v1/uploads", files={"file": ("note.md", NOTE)}), 201)
    raw = upload(alice, name="..%2F%C3%BCber.md")
    assert {name: form[name] for name in ("size", "sha256")} == {name: raw[name] for name in ("size", "sha256")}
    assert form["upload_id"] != raw["upload_id"]
    job_id = Box.told(
        alice.post("/api/v1/remote-jobs/", json={"upload_id": raw["upload_id"], "content_type": "document"})
    )["job_id"]
    lease = box.lease()
    assert (lease["task_id"], lease["source"]["filename"]) == (job_id, "über.md")


@pytest.mark.parametrize(
    ("told", "status", "code"),
    [
        ({"content": NOTE}, 400, "invalid_request"),
        ({"content": b"", "headers": {"X-Filename": "a.md"}}, 400, "empty_file"),
        ({"files": {"file": ("a.md", NOTE)}, "data": {"other": "1"}}, 400, "invalid_request"),
        ({"files": {"other": ("a.md", NOTE)}}, 400, "missing_file"),
        ({"content": bytes(9 * 1024**2), "headers": {"X-Filename": "a.bin"}}, 413, "too_large"),
    ],
)
def test_an_upload_that_cannot_be_is_refused(alice: httpx2.Client, told: Json, status: int, code: str) -> None:
    answer = alice.post("/api/v1/uploads", **told)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_large_file_is_taken_raw_and_a_large_question_is_not(alice: httpx2.Client) -> None:
    large = b"x" * (5 * 1024**2)
    assert upload(alice, large)["size"] == len(large)
    for content_type in ("application/json", "multipart/form-data; boundary=x"):
        answer = alice.post("/search", content=large, headers={"Content-Type": content_type})
        assert answer.status_code == 413, answer.text


def test_an_ingest_tells_that_it_waits_for_a_machine(alice: httpx2.Client, box: Box) -> None:
    task_id = ingest(alice)
    waiting = until(lambda: alice.get(f"/api/v1/status/{task_id}").json(), lambda each: each["status"] == "waiting")
    assert (waiting["stage"], waiting["routing"]["lane"]) == ("creating_remote_job", GPU)
    lease = box.lease()
    box.heartbeat(lease)
    running = alice.get(f"/api/v1/status/{task_id}").json()
    assert (running["stage"], running["remote_job_id"]) == ("waiting_for_remote_completion", lease["task_id"])
    assert running["progress"] == pytest.approx(0.45)
    assert status_of(alice, lease["task_id"])["status"] == "processing"
    Box.told(box.complete(lease))
    done = ended(alice, task_id)
    assert (done["result"]["processing_method"], done["result"]["worker"]) == ("remote", box.registered["worker_id"])
    history = alice.get(f"/api/v1/status/{task_id}/history").json()["events"]
    stages = dict.fromkeys(each["data"]["stage"] for each in history if each["event"] == "progress")
    assert [stage for stage in stages if "remote" in stage] == ["creating_remote_job", "waiting_for_remote_completion"]
    with alice.stream("GET", f"/api/v1/status/{task_id}/events") as stream:
        told = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    assert told == history


def until(look: Callable[[], Json], is_so: Callable[[Json], bool]) -> Json:
    end = time.monotonic() + 30
    while not is_so(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def test_workers_and_lanes_are_told_to_their_owner_and_to_an_admin(
    alice: httpx2.Client, bob: httpx2.Client, admin: httpx2.Client, box: Box
) -> None:
    job(alice)
    lease, worker_id = box.lease(), box.registered["worker_id"]
    job(alice)
    box.heartbeat(lease)
    hers = alice.get("/api/v1/status/workers").json()
    assert set(hers) == {"workers", "queues", "gpu_available"}
    assert hers["gpu_available"] is True
    counts = {name: hers["workers"][name] for name in ("total", "gpu", "cpu", "local")}
    assert counts == {"total": 2, "gpu": 1, "cpu": 0, "local": 1}
    mine = hers["workers"]["details"][worker_id]
    assert mine.pop("last_seen_s") < 10
    assert mine == {
        "name": "box",
        "type": "remote_gpu",
        "state": "active",
        "active_tasks": 1,
        "max_tasks": 2,
        "queues": [GPU, CPU],
        "reliability": None,
        "breaker": None,
    }
    (local,) = (each for each in hers["workers"]["details"].values() if each["type"] == "local")
    assert (local["active_tasks"], local["queues"]) == (0, [LOCAL])
    lane = hers["queues"][GPU]
    assert (lane["length"], lane["running"], lane["workers"]) == (1, 1, 1)
    assert lane["oldest_wait_s"] >= 0
    assert hers["queues"][LOCAL]["workers"] == 1
    assert worker_id in admin.get("/api/v1/status/workers").json()["workers"]["details"]
    assert GPU in admin.get("/api/v1/status/workers").json()["queues"]
    his = bob.get("/api/v1/status/workers").json()
    assert (his["workers"]["total"], his["gpu_available"]) == (1, False)
    assert set(his["queues"]) == {LOCAL, "gpu-tasks-bob", "cpu-tasks-bob"}
    assert box.http.get("/api/v1/status/workers").status_code == 403


def test_the_command_lists_workers_and_pauses_them(far: Far, alice: httpx2.Client, box: Box, tmp_path: Path) -> None:
    key = str(alice.headers["authorization"]).removeprefix("Bearer ")
    environment = {**os.environ, "MORAG_SERVER_URL": far.address, "MORAG_API_KEY": key, "COLUMNS": "200"}

    def morag(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "morag", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    worker_id = box.registered["worker_id"]
    listed = morag("workers")
    (line,) = (each for each in listed.splitlines() if worker_id in each)
    assert line.split()[1:4] == ["box", "remote_gpu", "active"]
    assert GPU in listed
    assert worker_id in morag("workers", "pause", worker_id)
    assert json.loads(morag("workers", "--json"))["workers"]["details"][worker_id]["state"] == "paused"
    assert json.loads(morag("workers", "drain", worker_id, "--json"))["state"] == "draining"
    morag("workers", "resume", worker_id)
    note = tmp_path / "note.md"
    note.write_bytes(NOTE + uuid.uuid4().hex.encode())
    task_id = json.loads(morag("ingest", str(note), "--gpu", "--no-wait", "--json"))["inputs"][0]["task_id"]
    lease = box.lease()
    Box.told(box.complete(lease))
    assert ended(alice, task_id)["result"]["processing_method"] == "remote"
