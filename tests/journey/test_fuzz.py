"""Whatever is sent to whichever route, it is answered, never with a 500."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from morag.api.app import create_app
from morag.settings import Settings

Json = dict[str, Any]

QUICK = settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
DESCRIBED = create_app(Settings(data_dir=Path("unused"))).openapi()["paths"]
ROUTES = sorted((method.upper(), path) for path, methods in DESCRIBED.items() for method in methods)
FUZZER = Path(__file__).parents[2] / "chaos" / "fuzz_api.py"
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
        "instance_id",
        "content_types",
        "slots",
        "lanes",
        "hardware",
        "fence",
        "scopes",
        "user_id",
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


@pytest.fixture(scope="module")
def asking(start_server: Callable[..., tuple[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Somebody who may do everything."""
    folder = str(tmp_path_factory.mktemp("fuzz") / "data")
    address, _ = start_server(MORAG_DATA_DIR=folder)
    scopes = ["--scope", "submit", "--scope", "worker", "--scope", "admin"]
    key = subprocess.run(
        [sys.executable, "-m", "morag", "keys", "create", "--user", "fuzz", *scopes],
        env={**os.environ, "MORAG_DATA_DIR": folder},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    with httpx2.Client(base_url=address, headers={"X-API-Key": key}, timeout=30, trust_env=False) as client:
        yield client


def test_every_answer_is_as_the_document_says() -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZER), "--requests", "400"], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) >= 400


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if "{" not in route[1]])
@QUICK
@given(body=BODIES, raw=st.none() | st.binary(max_size=200), form=st.booleans())
def test_any_body_is_answered(
    asking: httpx2.Client, method: str, path: str, body: Any, raw: bytes | None, *, form: bool
) -> None:
    if form and isinstance(body, dict):
        given_fields = cast("Json", body)
        fields = {name: str(value).encode(errors="replace") for name, value in given_fields.items()}
        parts = {name: (None, value) for name, value in fields.items()}
        answer = asking.request(
            method, path, files={"file": ("a.txt", raw or b""), **parts}, headers={"Prefer": "wait=0"}
        )
    else:
        content = raw if raw is not None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Prefer": "wait=0"}
        answer = asking.request(method, path, content=content, headers=headers)
    check(answer)


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if "{" in route[1]])
@QUICK
@given(name=IDS)
def test_any_id_is_answered(asking: httpx2.Client, method: str, path: str, name: str) -> None:
    check(asking.request(method, re.sub(r"\{\w+\}", str(httpx2.QueryParams({"a": name}))[2:], path)))


@QUICK
@given(
    query=st.dictionaries(
        st.sampled_from(["state", "name", "limit", "cursor"]), st.text(max_size=30) | st.integers().map(str)
    )
)
def test_any_query_is_answered(asking: httpx2.Client, query: dict[str, str]) -> None:
    for path in ("/api/v1/status/", "/api/v1/documents"):
        check(asking.get(path, params=query))


def check(answer: httpx2.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
