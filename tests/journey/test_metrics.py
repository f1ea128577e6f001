from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

Json = dict[str, Any]
Files = dict[str, tuple[str, bytes]]


def samples_of(answer: httpx2.Response) -> dict[tuple[str, frozenset[str]], float]:
    """By name and label values."""
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_tell_tasks_attempts_requests_index_and_disk(
    api: httpx2.Client, note: Callable[..., Files], ended: Callable[[str], Json]
) -> None:
    ended(api.post("/api/v1/ingest/file", files=note()).json()["task_id"])
    answer = api.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = samples_of(answer)
    assert found["morag_attempts_total", frozenset({"ingest", "completed"})] >= 1
    assert found["morag_attempts_total", frozenset({"convert", "completed"})] >= 1
    assert found["morag_http_request_duration_seconds_count", frozenset({"POST", "/api/v1/ingest/file", "202"})] >= 1
    assert (
        found["morag_http_request_duration_seconds_count", frozenset({"GET", "/api/v1/status/{task_id}", "200"})] >= 1
    )
    assert found["morag_index_points", frozenset()] >= 1
    assert found["morag_disk_free_bytes", frozenset()] > 0


def test_open_tasks_are_told_by_lane_and_state(
    api: httpx2.Client, site: str, until_status: Callable[[str, str], Json]
) -> None:
    task_id = api.post("/process/url", json={"url": f"{site}/slow"}, headers={"Prefer": "wait=0"}).json()["task_id"]
    until_status(task_id, "running")
    assert samples_of(api.get("/metrics"))["morag_tasks", frozenset({"celery", "running"})] >= 1
    api.post(f"/api/tasks/{task_id}/cancel")


def test_addresses_nobody_serves_make_one_row(api: httpx2.Client) -> None:
    for path in ("/wp-login.php", "/nowhere"):
        api.get(path)
    told = api.get("/metrics").text
    assert "wp-login" not in told
    assert 'route="none"' in told


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"X-Forwarded-For": "203.0.113.9"}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Host": "x.example"}, 421)],
)
def test_metrics_are_for_this_machine_only(api: httpx2.Client, headers: dict[str, str], status: int) -> None:
    answer = api.get("/metrics", headers=headers)
    assert answer.status_code == status
    assert "morag_" not in answer.text


def test_who_may_do_all_else_without_a_key_may_not_read_metrics_from_elsewhere(
    start_server: Callable[..., tuple[str, Any]],
) -> None:
    address, _ = start_server(MORAG_ALLOW_ANONYMOUS="true")
    answer = httpx2.get(f"{address}/metrics", headers={"X-Forwarded-For": "203.0.113.9"}, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_metrics_answer_from_here_also_where_anonymous_users_are_shut_out(
    start_server: Callable[..., tuple[str, Any]],
) -> None:
    address, _ = start_server(MORAG_ALLOW_ANONYMOUS="false")
    assert httpx2.get(f"{address}/metrics", trust_env=False).status_code == 200
    assert httpx2.get(f"{address}/api/v1/documents", trust_env=False).status_code == 401


def test_the_manual_needs_nothing_from_elsewhere(api: httpx2.Client) -> None:
    page = api.get("/docs", headers={"Authorization": "Bearer wrong"}).text
    assert "://" not in page
    for part, kind in (("swagger-ui-bundle.js", "text/javascript"), ("swagger-ui.css", "text/css")):
        assert f"/docs/{part}" in page
        answer = api.get(f"/docs/{part}", headers={"Authorization": "Bearer wrong"})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert len(answer.content) > 100_000
    assert api.get("/docs/favicon-32x32.png").content.startswith(b"\x89PNG")
    assert api.get("/docs/..%2fmain.py").status_code in {404, 422}
