import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

Json = dict[str, Any]
Files = dict[str, tuple[str, bytes]]


def test_file_comes_back_as_markdown_with_provenance(api: httpx2.Client, samples: Path) -> None:
    with (samples / "report.pdf").open("rb") as file:
        answer = api.post("/process/file", files={"file": file}, data={"metadata": '{"project": "atlas"}'})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {
        "success",
        "task_id",
        "content",
        "content_type",
        "media_type",
        "metadata",
        "segments",
        "processing_time",
        "processing_method",
        "worker",
        "error_message",
    }
    assert (body["success"], body["error_message"], body["processing_method"]) == (True, None, "local")
    assert (body["content_type"], body["media_type"]) == ("document", "application/pdf")
    assert body["metadata"]["project"] == "atlas"
    assert {segment["page"] for segment in body["segments"]} >= {1, 2}
    assert all("slide" not in segment and "start_s" not in segment for segment in body["segments"])
    assert body["processing_time"] > 0


def test_accept_markdown_gives_the_markdown_alone(api: httpx2.Client, note: Callable[..., Files], word: str) -> None:
    answer = api.post("/process/file", files=note(), headers={"Accept": "text/markdown"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text.startswith(f"# About {word}")


def test_url_is_fetched_and_converted(api: httpx2.Client, site: str) -> None:
    answer = api.post("/process/url", json={"url": f"{site}/bell"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["content_type"] == "web"
    assert "lighthouse named bell" in answer.json()["content"]


def test_web_address_takes_only_web_pages(api: httpx2.Client, site: str) -> None:
    assert api.post("/process/web", json={"url": f"{site}/buoy"}).json()["content_type"] == "web"
    answer = api.post("/process/web", json={"url": f"{site}/buoy", "source_type": "audio"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "source_type")


def test_batch_gives_each_item_its_own_result_in_order(api: httpx2.Client, site: str) -> None:
    urls = [f"{site}/one", f"{site}/missing", "http://10.0.0.1/", f"{site}/two"]
    answer = api.post("/process/batch", json={"items": [{"url": url} for url in urls]})
    assert answer.status_code == 200, answer.text
    one, missing, refused, two = answer.json()["results"]
    assert "named one" in one["content"]
    assert "named two" in two["content"]
    assert (one["success"], missing["success"], refused["success"]) == (True, False, False)
    assert missing["error_message"]
    assert missing["task_id"]
    assert refused["code"] == "url_not_allowed"


def test_batch_of_more_than_a_hundred_is_malformed(api: httpx2.Client, site: str) -> None:
    answer = api.post("/process/batch", json={"items": [{"url": site}] * 101})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "items")


def test_who_prefers_not_to_wait_gets_a_task_and_later_its_result(
    api: httpx2.Client, note: Callable[..., Files], word: str, ended: Callable[[str], Json]
) -> None:
    answer = api.post("/process/file", files=note(), headers={"Prefer": "wait=0"})
    assert answer.status_code == 202
    task_id = answer.json()["task_id"]
    assert set(answer.json()) == {"task_id", "status"}
    assert answer.headers["location"] == f"/api/v1/status/{task_id}"
    status = ended(task_id)
    assert status["status"] == "completed"
    assert word in status["result"]["content"]


def test_same_idempotency_key_gives_the_same_task(api: httpx2.Client, note: Callable[..., Files]) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = api.post("/process/file", files=note(), headers=key)
    again = api.post("/process/file", files=note(), headers=key)
    other = api.post("/process/file", files=note("More."), headers=key)
    assert first.json()["task_id"] == again.json()["task_id"]
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_task_of_a_client_that_hangs_up_is_cancelled(api: httpx2.Client, server: str, site: str) -> None:
    url = f"{site}/slow/{uuid.uuid4().hex}"
    with httpx2.Client(base_url=server, timeout=1.0, trust_env=False) as hasty, pytest.raises(httpx2.ReadTimeout):
        hasty.post("/process/url", json={"url": url})
    assert _newest_is(api, "cancelled")


def test_task_of_a_client_that_hangs_up_with_a_key_goes_on(api: httpx2.Client, server: str, site: str) -> None:
    key = uuid.uuid4().hex
    body = {"url": f"{site}/slow/{key}"}
    headers = {"Idempotency-Key": key}
    with httpx2.Client(base_url=server, timeout=1.0, trust_env=False) as hasty, pytest.raises(httpx2.ReadTimeout):
        hasty.post("/process/url", json=body, headers=headers)
    answer = api.post("/process/url", json=body, headers={**headers, "Prefer": "respond-async"})
    assert answer.status_code == 202
    assert api.delete(f"/api/v1/ingest/{answer.json()['task_id']}").json()["status"] == "cancelled"
    assert api.post("/process/url", json=body, headers=headers).status_code == 410


def _newest_is(api: httpx2.Client, state: str) -> bool:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        newest = api.get("/api/v1/status/", params={"name": "process", "limit": 1}).json()["tasks"][0]
        if newest["status"] == state:
            return True
        time.sleep(0.05)
    return False
