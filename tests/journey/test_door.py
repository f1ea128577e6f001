from urllib.parse import urlsplit

import httpx2
import pytest


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Authorization": "Bearer mrg_nobody_nothing"}, 401),
        ({"Authorization": "ApiKey mrg_nobody_nothing"}, 401),
        ({"X-API-Key": "mrg_nobody_nothing"}, 401),
        ({"Forwarded": "for=127.0.0.1"}, 401),
        ({"X-Forwarded-For": "127.0.0.1"}, 401),
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 200),
    ],
)
def test_who_may_read(api: httpx2.Client, headers: dict[str, str], status: int) -> None:
    answer = api.get("/api/v1/documents", headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
    if status == 401:
        assert answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_which_pages_may_write(api: httpx2.Client, headers: dict[str, str], status: int) -> None:
    assert api.post("/search", json={"query": "harbour"}, headers=headers).status_code == status


def test_own_page_may_write(api: httpx2.Client, server: str) -> None:
    own = f"http://localhost:{urlsplit(server).port}"
    headers = {"Origin": own, "Host": own.removeprefix("http://")}
    assert api.post("/search", json={"query": "harbour"}, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_may_be_asked_for_its_status_alone(api: httpx2.Client, path: str) -> None:
    answer = api.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/docs", "/openapi.json"])
def test_open_addresses_need_nothing(api: httpx2.Client, path: str) -> None:
    assert api.get(path, headers={"X-Forwarded-For": "10.1.2.3"}).status_code == 200


def test_request_id_and_trace_come_back(api: httpx2.Client) -> None:
    sent = {"X-Request-Id": "journey-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    answer = api.get("/api/v1/documents", headers=sent)
    assert all(answer.headers[name] == value for name, value in sent.items())
