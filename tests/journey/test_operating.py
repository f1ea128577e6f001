"""Servers as operators run them: low disks, no workers, wrong settings, backups put to use."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.xdist_group("operating")

Json = dict[str, Any]
StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]


def client_of(address: str) -> httpx2.Client:
    return httpx2.Client(base_url=address, timeout=60, trust_env=False)


def ingest(client: httpx2.Client, text: str, **fields: str) -> str:
    answer = client.post("/api/v1/ingest/file", files={"file": ("note.md", text.encode())}, data=fields)
    assert answer.status_code == 202, answer.text
    return answer.json()["task_id"]


def ended(client: httpx2.Client, task_id: str) -> Json:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        status = client.get(f"/api/v1/status/{task_id}").json()
        if status["completed_at"]:
            return status
        time.sleep(0.05)
    raise AssertionError(f"{task_id} did not end")


def morag(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
    return subprocess.run(
        [sys.executable, "-m", "morag", *map(str, words)],
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_low_disk_refuses_what_is_new_and_still_settles_what_runs(
    start_server: StartServer, site: str, tmp_path: Path
) -> None:
    allowed = {"MORAG_FETCH_ALLOW": site.removeprefix("http://"), "MORAG_DATA_DIR": str(tmp_path / "data")}
    address, process = start_server(MORAG_WORKERS="0", **allowed)
    with client_of(address) as client:
        waiting = ingest(client, "The cistern is half empty.")
    process.kill()
    process.wait(30)

    address, _ = start_server(MORAG_MIN_FREE_BYTES=str(10**15), **allowed)
    with client_of(address) as client:
        answers = [
            client.post("/process/file", files={"file": ("a.txt", b"new")}),
            client.post("/api/v1/ingest/file", files={"file": ("a.txt", b"new")}),
            client.post("/process/url", json={"url": f"{site}/new"}),
            client.post("/api/v1/ingest/url", json={"url": f"{site}/new"}),
        ]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(507, "disk_low")] * 4
        assert ended(client, waiting)["status"] == "completed"
        assert client.get("/health/ready").json()["checks"]["disk"].startswith("low")


def test_without_workers_tasks_wait_and_a_waiting_client_is_told_where(start_server: StartServer) -> None:
    address, _ = start_server(MORAG_WORKERS="0")
    with client_of(address) as client:
        answer = client.post("/process/file", files={"file": ("a.txt", b"later")}, headers={"Prefer": "wait=1"})
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        assert client.get(answer.headers["location"]).json()["queue"] == {"lane": "celery", "position": 0}


def test_a_start_without_its_embedding_model_says_so(tmp_path: Path) -> None:
    done = morag("serve", "--port", "0", MORAG_DATA_DIR=str(tmp_path), MORAG_EMBEDDING_MODEL=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "embedding_model_missing" in done.stderr
    assert "hint: Set MORAG_EMBEDDING_MODEL" in done.stderr
    assert "Traceback" not in done.stderr
    doctor = morag("doctor", MORAG_DATA_DIR=str(tmp_path), MORAG_EMBEDDING_MODEL=str(tmp_path / "none"))
    assert doctor.returncode == 1
    assert "BAD   embedding" in doctor.stdout


def test_the_doctor_notes_that_a_speech_model_is_not_there(tmp_path: Path) -> None:
    doctor = morag("doctor", MORAG_DATA_DIR=str(tmp_path), MORAG_WHISPER_MODEL=str(tmp_path / "none"))
    assert doctor.returncode == 0
    assert "note  speech" in doctor.stdout


def test_the_local_lane_is_told_when_nothing_stands_in_it(start_server: StartServer) -> None:
    address, _ = start_server()
    with client_of(address) as client:
        told = client.get("/api/v1/status/stats/queues").json()["queues"]
    assert told == {"celery": {"length": 0, "running": 0, "oldest_wait_s": None}}


def test_variables_of_later_versions_are_told_once(start_server: StartServer) -> None:
    address, _ = start_server(QDRANT_URL="http://:s3cret@127.0.0.1:1", MORAG_BLOB_URL="s3://bucket")
    with client_of(address) as client:
        notes = client.get("/health/ready").json()["notes"]
    assert [note.split()[0] for note in notes] == ["QDRANT_URL", "MORAG_BLOB_URL"]
    assert "s3cret" not in str(notes)
    told = json.loads(morag("doctor", "--json", QDRANT_URL="http://:s3cret@127.0.0.1:1").stdout)["checks"]
    assert [(check["verdict"], check["told"]) for check in told if check["name"] == "settings"] == [("note", notes[0])]


def test_a_backup_served_without_reindex_says_that_search_is_not_whole(
    start_server: StartServer, tmp_path: Path
) -> None:
    data, copy = str(tmp_path / "data"), str(tmp_path / "copy")
    address, _ = start_server(MORAG_DATA_DIR=data)
    with client_of(address) as client:
        ended(client, ingest(client, "The gannet returned in March."))
    assert morag("backup", copy, MORAG_DATA_DIR=data).returncode == 0

    address, process = start_server(MORAG_DATA_DIR=copy)
    with client_of(address) as client:
        assert "morag reindex" in str(client.get("/health/ready").json()["notes"])
        ended(client, ingest(client, "The puffin came later."))
        assert client.get("/api/v1/documents").json()["documents"]
    process.terminate()
    process.wait(30)
    address, process = start_server(MORAG_DATA_DIR=copy)
    with client_of(address) as client:
        assert "morag reindex" in str(client.get("/health/ready").json()["notes"])
    process.terminate()
    process.wait(30)

    assert morag("reindex", MORAG_DATA_DIR=copy).returncode == 0
    address, _ = start_server(MORAG_DATA_DIR=copy)
    with client_of(address) as client:
        assert client.get("/health/ready").json()["notes"] == []
        assert client.post("/search", json={"query": "gannet", "mode": "keyword"}).json()["hits"]


@pytest.mark.parametrize("where", ["data/blobs/copy", "note.txt", "note.txt/copy"])
def test_a_backup_to_where_none_can_be_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "note.txt").write_text("not a folder")
    data = tmp_path / "data"
    assert morag("reindex", MORAG_DATA_DIR=str(data)).returncode == 0
    done = morag("backup", tmp_path / where, MORAG_DATA_DIR=str(data))
    assert done.returncode == 1
    assert "hint: Name a new folder." in done.stderr
    assert "Traceback" not in done.stderr
