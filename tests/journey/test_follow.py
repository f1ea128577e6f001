import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

Json = dict[str, Any]
Files = dict[str, tuple[str, bytes]]
Note = Callable[..., Files]
Ended = Callable[[str], Json]
Until = Callable[[str, str], Json]
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def events_of(api: httpx2.Client, task_id: str, last_event_id: int | None = None) -> list[Json]:
    """All events of the stream, until the server ends it."""
    headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
    found: list[Json] = []
    with api.stream("GET", f"/api/v1/status/{task_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        block: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line and not line.startswith(":"):
                block[name] = value
            elif not line and "data" in block:
                found.append({"id": int(block["id"]), "event": block["event"], "data": json.loads(block["data"])})
                block = {}
    return found


def test_status_has_the_whole_shape(api: httpx2.Client, note: Note, ended: Ended) -> None:
    status = ended(api.post("/api/v1/ingest/file", files=note()).json()["task_id"])
    names = """task_id name status stage progress message created_at started_at completed_at queue routing attempts
    remote_job_id retry_of needs_attention result error"""
    assert set(names.split()) <= set(status)
    assert (status["name"], status["stage"], status["progress"], status["error"]) == ("ingest", "completed", 1.0, None)
    assert set(status["queue"]) == {"lane", "position"}
    assert status["routing"]["lane"] == "celery"
    assert all(RFC3339.fullmatch(status[name]) for name in ("created_at", "started_at", "completed_at"))
    attempt = status["attempts"][-1]
    assert set(attempt) == {
        "n",
        "worker",
        "lane",
        "started_at",
        "ended_at",
        "outcome",
        "failure_type",
        "error",
        "decision",
    }
    child = api.get(f"/api/v1/status/{status['remote_job_id']}").json()
    assert (child["name"], child["status"]) == ("convert", "completed")


def test_failed_task_says_what_was_decided_and_why(api: httpx2.Client, site: str, ended: Ended) -> None:
    status = ended(api.post("/api/v1/ingest/url", json={"url": f"{site}/missing/{uuid.uuid4().hex}"}).json()["task_id"])
    assert status["status"] == "failed"
    assert status["error"]["message"]
    decision = status["attempts"][-1]["decision"]
    assert decision["strategy"] == "manual_intervention"
    assert decision["alternatives"][0]["why_not"]


def test_event_stream_ends_after_the_terminal_event_and_equals_the_history(api: httpx2.Client, note: Note) -> None:
    task_id = api.post("/api/v1/ingest/file", files=note()).json()["task_id"]
    events = events_of(api, task_id)
    ids = [event["id"] for event in events]
    assert ids == sorted(set(ids))
    assert events[-1]["event"] == "state"
    assert "completed" in json.dumps(events[-1]["data"])
    history = api.get(f"/api/v1/status/{task_id}/history").json()["events"]
    assert [event["data"] for event in events] == history


def test_event_stream_resumes_after_the_last_event_seen(api: httpx2.Client, note: Note, ended: Ended) -> None:
    task_id = api.post("/api/v1/ingest/file", files=note()).json()["task_id"]
    ended(task_id)
    everything = events_of(api, task_id)
    assert events_of(api, task_id, last_event_id=everything[1]["id"]) == everything[2:]
    assert events_of(api, task_id, last_event_id=everything[-1]["id"]) == []


def test_event_stream_tells_the_progress_of_the_conversion_in_between(api: httpx2.Client, samples: Path) -> None:
    files = {"file": ("speech.mp3", (samples / "speech.mp3").read_bytes())}
    task_id = api.post("/api/v1/ingest/file", files=files, data={"document_id": uuid.uuid4().hex}).json()["task_id"]
    events = events_of(api, task_id)
    states = [event["data"]["data"].get("state") for event in events]
    progress = [event["data"]["data"] for event in events if event["event"] == "progress"]
    fractions = [each["fraction"] for each in progress]
    assert fractions == sorted(fractions)
    stages = [each["stage"] for each in progress]
    assert "processing" in stages
    at = next(i for i, event in enumerate(events) if event["data"]["data"].get("stage") == "processing")
    assert states.index("waiting") < at < len(states) - 1 - states[::-1].index("running")
    history = api.get(f"/api/v1/status/{task_id}/history").json()["events"]
    assert [event["data"] for event in events] == history
    for seen in (at, at + 1):
        assert events_of(api, task_id, last_event_id=events[seen]["id"]) == events[seen + 1 :]


def test_event_stream_of_a_cancelled_wait_ends(api: httpx2.Client, samples: Path, until_status: Until) -> None:
    files = {"file": ("clip.mp4", (samples / "clip.mp4").read_bytes())}
    task_id = api.post("/api/v1/ingest/file", files=files, data={"document_id": uuid.uuid4().hex}).json()["task_id"]
    until_status(task_id, "waiting")
    with api.stream("GET", f"/api/v1/status/{task_id}/events") as answer:
        lines = answer.iter_lines()
        assert any("waiting" in line for line in lines)
        api.delete(f"/api/v1/ingest/{task_id}")
        assert any('"cancelled"' in line for line in lines)
        assert not any(line.startswith("data") for line in lines)


def test_event_stream_of_an_unknown_task_is_not_found(api: httpx2.Client) -> None:
    assert api.get(f"/api/v1/status/{uuid.uuid4()}/events").status_code == 404


def test_quiet_event_stream_is_kept_alive(api: httpx2.Client, site: str) -> None:
    task_id = api.post("/api/v1/ingest/url", json={"url": f"{site}/slow/{uuid.uuid4().hex}"}).json()["task_id"]
    with api.stream("GET", f"/api/v1/status/{task_id}/events") as answer:
        assert any(line.startswith(":") for line in answer.iter_lines())
    api.delete(f"/api/v1/ingest/{task_id}")


def test_tasks_are_listed_newest_first_and_page_by_page(api: httpx2.Client, note: Note) -> None:
    ids = [api.post("/process/file", files=note(str(n))).json()["task_id"] for n in range(3)]
    first = api.get("/api/v1/status/", params={"name": "convert", "limit": 2}).json()
    rest = api.get("/api/v1/status/", params={"name": "convert", "limit": 2, "cursor": first["next_cursor"]}).json()
    listed = [task["task_id"] for task in first["tasks"] + rest["tasks"]]
    assert listed == sorted(listed, reverse=True)
    assert set(ids) <= set(listed)
    cancelled = api.get("/api/v1/status/", params={"state": "cancelled"}).json()["tasks"]
    assert all(task["status"] == "cancelled" for task in cancelled)


def test_queues_are_counted(api: httpx2.Client, site: str, until_status: Callable[[str, str], Json]) -> None:
    task_id = api.post("/api/v1/ingest/url", json={"url": f"{site}/slow/{uuid.uuid4().hex}"}).json()["task_id"]
    until_status(task_id, "running")
    lane = api.get("/api/v1/status/stats/queues").json()["queues"]["celery"]
    api.delete(f"/api/v1/ingest/{task_id}")
    assert lane["running"] >= 1
    assert set(lane) == {"length", "running", "oldest_wait_s"}


def test_task_manager_words_are_those_of_its_callers(api: httpx2.Client, note: Note, ended: Ended) -> None:
    task_id = api.post("/api/v1/ingest/file", files=note()).json()["task_id"]
    ended(task_id)
    status = api.get(f"/api/tasks/{task_id}/status").json()
    assert (status["status"], status["error"], status["progress"]) == ("success", None, 1.0)
    assert status["result"]["chunks_stored"] >= 1
    assert api.get("/api/tasks/nothing/status").status_code == 404
