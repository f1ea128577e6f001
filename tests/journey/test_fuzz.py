"""Whatever is sent to whichever route, it is answered, never with a 500."""

import json
import re
from typing import Any, cast

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Json = dict[str, Any]

QUICK = settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ROUTES = [
    ("POST", "/process/file"),
    ("POST", "/process/url"),
    ("POST", "/process/web"),
    ("POST", "/process/youtube"),
    ("POST", "/process/batch"),
    ("POST", "/api/v1/ingest/file"),
    ("POST", "/api/v1/ingest/url"),
    ("POST", "/api/v1/ingest/batch"),
    ("DELETE", "/api/v1/ingest/{id}"),
    ("GET", "/api/v1/status/"),
    ("GET", "/api/v1/status/stats/queues"),
    ("GET", "/api/v1/status/{id}"),
    ("GET", "/api/v1/status/{id}/history"),
    ("GET", "/api/v1/status/{id}/events"),
    ("GET", "/api/v1/documents"),
    ("GET", "/api/v1/documents/{id}"),
    ("GET", "/api/v1/documents/{id}/markdown"),
    ("DELETE", "/api/v1/documents/{id}"),
    ("POST", "/search"),
    ("POST", "/api/v1/search"),
    ("GET", "/api/tasks/{id}/status"),
    ("POST", "/api/tasks/{id}/cancel"),
    ("POST", "/api/v1/auth/keys"),
    ("GET", "/api/v1/auth/keys"),
    ("DELETE", "/api/v1/auth/keys/{id}"),
    ("POST", "/api/v1/auth/keys/{id}/rotate"),
    ("GET", "/api/v1/auth/me"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/metrics"),
]
NAMES = st.sampled_from(
    [
        "url",
        "source_type",
        "gpu",
        "remote",
        "use_remote",
        "allow_degraded",
        "remote_timeout",
        "fallback_to_local",
        "metadata",
        "use_docling",
        "options",
        "webhook_url",
        "document_id",
        "replace_existing",
        "chunk_size",
        "chunk_overlap",
        "chunking_strategy",
        "priority",
        "items",
        "query",
        "limit",
        "mode",
        "filters",
        "other",
    ]
)
TELLING = st.sampled_from(
    [
        "http://10.0.0.1/",
        "http://[::1]:99999/",
        "http://[",
        "//x",
        "true",
        "-1",
        "1e999",
        "normal",
        "document",
        "{}",
        '{"ocr": "always"}',
        "\x00",
        "\U0010ffff",
        "ﷺ",
        "hybrid",
    ]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | TELLING,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10) | NAMES, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=6) | VALUES
IDS = st.text(min_size=1, max_size=40) | st.sampled_from(["..", "%00", "0" * 5000, "' OR 1=1 --", "null"])


def test_every_described_route_is_fuzzed(api: httpx2.Client) -> None:
    described = api.get("/openapi.json").json()["paths"]
    there = {(method.upper(), path) for path, methods in described.items() for method in methods}
    ours = {(method, path.replace("{id}", "")) for method, path in ROUTES}
    assert {(method, re.sub(r"\{\w+\}", "", path)) for method, path in there} == ours


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if "{" not in route[1]])
@QUICK
@given(body=BODIES, raw=st.none() | st.binary(max_size=200), form=st.booleans())
def test_any_body_is_answered(
    api: httpx2.Client, method: str, path: str, body: Any, raw: bytes | None, *, form: bool
) -> None:
    if form and isinstance(body, dict):
        given_fields = cast("Json", body)
        fields = {name: str(value).encode(errors="replace") for name, value in given_fields.items()}
        parts = {name: (None, value) for name, value in fields.items()}
        answer = api.request(method, path, files={"file": ("a.txt", raw or b""), **parts}, headers={"Prefer": "wait=0"})
    else:
        content = raw if raw is not None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Prefer": "wait=0"}
        answer = api.request(method, path, content=content, headers=headers)
    check(answer)


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if "{" in route[1]])
@QUICK
@given(name=IDS)
def test_any_id_is_answered(api: httpx2.Client, method: str, path: str, name: str) -> None:
    check(api.request(method, path.format(id=httpx2.QueryParams({"a": name}).__str__()[2:])))


@QUICK
@given(
    query=st.dictionaries(
        st.sampled_from(["state", "name", "limit", "cursor"]), st.text(max_size=30) | st.integers().map(str)
    )
)
def test_any_query_is_answered(api: httpx2.Client, query: dict[str, str]) -> None:
    for path in ("/api/v1/status/", "/api/v1/documents"):
        check(api.get(path, params=query))


def check(answer: httpx2.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
