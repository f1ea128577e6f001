import uuid
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

Json = dict[str, Any]
Files = dict[str, tuple[str, bytes]]
Note = Callable[..., Files]
Ended = Callable[[str], Json]


def test_ingested_file_is_found_as_soon_as_its_task_has_completed(
    api: httpx2.Client, note: Note, word: str, ended: Ended
) -> None:
    answer = api.post("/api/v1/ingest/file", files=note(), data={"metadata": '{"project": "atlas"}'})
    assert answer.status_code == 202, answer.text
    taken = answer.json()
    assert taken["status"] == "pending"
    assert taken["message"]
    assert answer.headers["location"] == f"/api/v1/status/{taken['task_id']}"
    status = ended(taken["task_id"])
    assert status["status"] == "completed", status
    result = status["result"]
    assert set(result) >= {
        "document_id",
        "chunks_stored",
        "content_hash",
        "content_type",
        "processing_time",
        "processing_method",
        "worker",
        "routing",
        "metadata",
    }
    assert result["chunks_stored"] >= 1
    hits = api.post("/search", json={"query": word}).json()["hits"]
    assert hits[0]["document_id"] == result["document_id"]
    assert status["remote_job_id"]


def test_url_is_ingested(api: httpx2.Client, site: str, ended: Ended) -> None:
    name = uuid.uuid4().hex
    task = api.post("/api/v1/ingest/url", json={"url": f"{site}/{name}", "document_id": f"page-{name}"}).json()
    assert ended(task["task_id"])["result"]["content_type"] == "web"
    assert name in api.get(f"/api/v1/documents/page-{name}/markdown").text


def test_batch_is_taken_whole(api: httpx2.Client, site: str, ended: Ended) -> None:
    items = [{"url": f"{site}/{uuid.uuid4().hex}"} for _ in range(2)]
    answer = api.post("/api/v1/ingest/batch", json={"items": items})
    assert answer.status_code == 202, answer.text
    assert answer.json()["batch_id"]
    assert [ended(task_id)["status"] for task_id in answer.json()["task_ids"]] == ["completed"] * 2


def test_batch_with_one_url_that_cannot_be_is_taken_not_at_all(api: httpx2.Client, site: str) -> None:
    document_id = f"never-{uuid.uuid4().hex}"
    items = [{"url": f"{site}/x", "document_id": document_id}, {"url": "http://10.0.0.1/"}]
    assert api.post("/api/v1/ingest/batch", json={"items": items}).status_code == 400
    again = api.post("/api/v1/ingest/batch", json={"items": items[:1]})
    assert again.status_code == 202, "the id was not taken by the refused batch"


def test_batch_key_with_another_batch_is_a_conflict(api: httpx2.Client, site: str) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    items = [{"url": f"{site}/{uuid.uuid4().hex}"} for _ in range(3)]
    first = api.post("/api/v1/ingest/batch", json={"items": items[:2]}, headers=headers)
    again = api.post("/api/v1/ingest/batch", json={"items": items[:2]}, headers=headers)
    assert again.json() == first.json()
    for other in (items, items[:1]):
        assert api.post("/api/v1/ingest/batch", json={"items": other}, headers=headers).status_code == 409


def test_document_id_is_taken_from_the_submit_on(api: httpx2.Client, note: Note, ended: Ended) -> None:
    document_id = f"doc-{uuid.uuid4().hex}"
    first = api.post("/api/v1/ingest/file", files=note(), data={"document_id": document_id})
    at_once = api.post("/api/v1/ingest/file", files=note("Other."), data={"document_id": document_id})
    assert ended(first.json()["task_id"])["status"] == "completed"
    later = api.post("/api/v1/ingest/file", files=note("Other."), data={"document_id": document_id})
    for refused in (at_once, later):
        assert (refused.status_code, refused.json()["code"]) == (409, "document_exists")


def test_replacing_a_document_changes_what_is_found(api: httpx2.Client, note: Note, word: str, ended: Ended) -> None:
    document_id = f"doc-{uuid.uuid4().hex}"
    first = api.post("/api/v1/ingest/file", files=note("It sang."), data={"document_id": document_id})
    ended(first.json()["task_id"])
    data = {"document_id": document_id, "replace_existing": "true"}
    second = api.post("/api/v1/ingest/file", files=note("It slept."), data=data)
    assert ended(second.json()["task_id"])["status"] == "completed"
    texts = [hit["text"] for hit in api.post("/search", json={"query": word}).json()["hits"] if word in hit["text"]]
    assert len(texts) == 1
    assert "It slept." in texts[0]


def test_same_content_again_is_recognised(api: httpx2.Client, note: Note, ended: Ended) -> None:
    first = ended(api.post("/api/v1/ingest/file", files=note()).json()["task_id"])["result"]
    answer = api.post("/api/v1/ingest/file", files=note())
    assert (answer.status_code, answer.json()["status"]) == (202, "completed")
    again = ended(answer.json()["task_id"])["result"]
    assert again["duplicate_of"] == again["document_id"] == first["document_id"]


def test_chunking_is_taken_and_checked(api: httpx2.Client, note: Note, ended: Ended) -> None:
    long = " ".join(f"Sentence number {n} of a long tale." for n in range(80))
    data = {"chunk_size": "300", "chunk_overlap": "0", "chunking_strategy": "sentence", "priority": "high"}
    task = api.post("/api/v1/ingest/file", files=note(long), data=data).json()
    assert ended(task["task_id"])["result"]["chunks_stored"] >= 6
    data["chunk_overlap"] = "300"
    assert api.post("/api/v1/ingest/file", files=note(long), data=data).status_code == 400


def test_content_without_text_fails_and_says_so(api: httpx2.Client, ended: Ended) -> None:
    task = api.post("/api/v1/ingest/file", files={"file": ("blank.txt", b"  \n \n ")})
    assert task.status_code == 202, task.text
    status = ended(task.json()["task_id"])
    assert (status["status"], status["error"]["code"]) == ("failed", "no_text_found")
    assert status["error"]["hint"]


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/api/v1/ingest/{}"), ("POST", "/api/tasks/{}/cancel")])
def test_running_ingest_can_be_cancelled_and_stays_so(
    api: httpx2.Client, site: str, until_status: Callable[[str, str], Json], method: str, path: str
) -> None:
    task = api.post("/api/v1/ingest/url", json={"url": f"{site}/slow/{uuid.uuid4().hex}"}).json()
    until_status(task["task_id"], "running")
    for _ in range(2):
        answer = api.request(method, path.format(task["task_id"]))
        assert (answer.status_code, answer.json()) == (200, {"task_id": task["task_id"], "status": "cancelled"})
    assert api.get(f"/api/v1/status/{task['task_id']}").json()["status"] == "cancelled"


def test_cancel_of_a_completed_task_changes_nothing(api: httpx2.Client, note: Note, ended: Ended) -> None:
    task_id = api.post("/api/v1/ingest/file", files=note()).json()["task_id"]
    ended(task_id)
    assert api.delete(f"/api/v1/ingest/{task_id}").json() == {"task_id": task_id, "status": "completed"}
    assert api.post(f"/api/tasks/{task_id}/cancel").json() == {"task_id": task_id, "status": "success"}
