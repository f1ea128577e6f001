import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

pytestmark = pytest.mark.usefixtures("is_well")

Json = dict[str, Any]
Note = Callable[..., dict[str, tuple[str, bytes]]]
MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}


def problem(answer: httpx2.Response, status: int) -> Json:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: Json = answer.json()
    assert set(body) >= MEMBERS
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    assert "site-packages" not in answer.text
    return body


@pytest.mark.parametrize("path", ["/process/file", "/api/v1/ingest/file"])
@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"file": ("empty.pdf", b"")}, "empty_file"),
        ({"other": ("a.txt", b"x")}, "missing_file"),
        ({"file": ("", b"")}, "missing_file"),
    ],
)
def test_missing_or_empty_file_is_400(
    api: httpx2.Client, path: str, files: dict[str, tuple[str, bytes]], code: str
) -> None:
    body = problem(api.post(path, files=files, data={"metadata": "{}"}), 400)
    assert (body["code"], body["errors"][0]["field"]) == (code, "file")


def test_wrong_extension_is_no_obstacle(api: httpx2.Client, samples: Path) -> None:
    raw = (samples / "report.pdf").read_bytes()
    answer = api.post("/process/file", files={"file": ("report.docx", raw)})
    assert answer.status_code == 200, answer.text
    assert answer.json()["media_type"] == "application/pdf"


def test_truncated_pdf_is_415_with_what_to_do(api: httpx2.Client, samples: Path) -> None:
    raw = (samples / "report.pdf").read_bytes()
    body = problem(api.post("/process/file", files={"file": ("report.pdf", raw[: len(raw) // 3])}), 415)
    assert body["task_id"]
    assert body["hint"]


def test_file_nobody_can_convert_is_415(api: httpx2.Client) -> None:
    raw = b"\x7fELF" + bytes(range(256)) * 20
    assert problem(api.post("/process/file", files={"file": ("a.bin", raw)}), 415)["code"] == "unsupported_media_type"


def test_source_type_that_contradicts_the_bytes_is_415(api: httpx2.Client, note: Note) -> None:
    body = problem(api.post("/process/file", files=note(), data={"source_type": "audio"}), 415)
    assert (body["code"], body["errors"][0]["field"]) == ("source_type_mismatch", "source_type")


def test_url_that_is_not_there_fails_and_says_so(api: httpx2.Client, site: str) -> None:
    body = problem(api.post("/process/url", json={"url": f"{site}/missing"}), 415)
    assert body["task_id"]
    assert "404" in body["detail"]


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0x7f000001/",
        "http://[::ffff:10.0.0.1]/",
        "file:///etc/passwd",
        "http://user:secret@example.org/",
        "no url at all",
    ],
)
@pytest.mark.parametrize("path", ["/process/url", "/api/v1/ingest/url"])
def test_url_that_is_not_allowed_is_400_at_once(api: httpx2.Client, path: str, url: str) -> None:
    body = problem(api.post(path, json={"url": url}), 400)
    assert body["errors"][0]["field"] == "url"
    assert "secret" not in str(body)


def test_redirect_to_where_the_server_must_not_go_is_refused(api: httpx2.Client, site: str) -> None:
    assert problem(api.post("/process/url", json={"url": f"{site}/away"}), 400)["code"] == "url_not_allowed"


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"metadata": "{"}, 400, "metadata"),
        ({"metadata": "[1]"}, 400, "metadata"),
        ({"metadata": '{"a": NaN}'}, 422, "metadata"),
        ({"options": "nope"}, 400, "options"),
        ({"options": '{"sharpen": 3}'}, 400, "options"),
        ({"options": '{"ocr": "maybe"}'}, 400, "options"),
        ({"webhook_url": "http://169.254.169.254/"}, 400, "webhook_url"),
        ({"webhook_url": "gopher://example.org/"}, 400, "webhook_url"),
        ({"use_docling": "true"}, 400, "use_docling"),
        ({"colour": "red"}, 422, "colour"),
        ({"gpu": "perhaps"}, 422, "gpu"),
        ({"source_type": "hologram"}, 422, "source_type"),
        ({"remote_timeout": "-1"}, 422, "remote_timeout"),
    ],
)
@pytest.mark.parametrize("path", ["/process/file", "/api/v1/ingest/file"])
def test_bad_field_is_refused_by_name(
    api: httpx2.Client, note: Note, path: str, fields: dict[str, str], status: int, field: str
) -> None:
    assert problem(api.post(path, files=note(), data=fields), status)["errors"][0]["field"] == field


def test_refused_features_may_be_declined(api: httpx2.Client, note: Note) -> None:
    declined = {"gpu": "false", "remote": "false", "use_docling": "false", "webhook_url": "", "allow_degraded": "false"}
    assert api.post("/process/file", files=note(), data=declined).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "..\\..\\boot.ini", "a\x00b.txt", "x" * 5000 + ".txt", "..", "/", "naïve☃.txt", "a\r\nb"],
)
def test_hostile_file_names_are_only_shown(api: httpx2.Client, name: str) -> None:
    boundary = uuid.uuid4().hex
    quoted = name.encode().replace(b"\r\n", b"%0D%0A").replace(b"\\", b"\\\\")
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="'.encode()
        + quoted
        + f'"\r\n\r\nSome text.\r\n--{boundary}--\r\n'.encode()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = api.post("/process/file", content=body, headers=headers)
    assert answer.status_code in {200, 400}, answer.text
    if answer.status_code == 200:
        title = answer.json()["metadata"].get("title", "")
        assert len(title) <= 300
        assert not set(title) & set("/\\\x00\r\n")


def test_too_large_upload_is_413(api: httpx2.Client) -> None:
    big = {"file": ("big.txt", b"word " * 1_100_000)}
    assert problem(api.post("/process/file", files=big), 413)["code"] == "too_large"


def test_too_large_upload_without_a_length_is_413(api: httpx2.Client) -> None:
    def blocks() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        for _ in range(200):
            yield b"x" * 65536
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert problem(api.post("/process/file", content=blocks(), headers=headers), 413)["code"] == "too_large"


def test_huge_json_is_413(api: httpx2.Client) -> None:
    raw = b'{"query": "' + b"x" * (5 * 1024**2) + b'"}'
    problem(api.post("/search", content=raw, headers={"Content-Type": "application/json"}), 413)


@pytest.mark.parametrize("told", [10, 10_000_000_000])
def test_lying_content_length_harms_nobody(server: str, told: int) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello there\r\n--b--\r\n'
    answer = raw_request(
        server,
        f"POST /process/file HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {told}\r\n\r\n".encode()
        + body,
    )
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413"))


def test_upload_that_breaks_off_leaves_nothing(api: httpx2.Client, server: str, data_dir: Path) -> None:
    before = api.get("/api/v1/status/", params={"limit": 1}).json()["tasks"]
    head = (
        b"POST /process/file HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 3000000\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + b"x" * 2_000_000
    )
    where, incoming = urlsplit(server), data_dir / "blobs" / "tmp"
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall(head)
        wait_until(lambda: any(incoming.iterdir()))
    wait_until(lambda: not any(incoming.iterdir()))
    assert api.get("/api/v1/status/", params={"limit": 1}).json()["tasks"] == before


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello',
        b"no boundary here at all",
        b"--b\r\n\r\n\r\n--b--\r\n",
        b"--b\r\n" + b"X: y\r\n" * 1000 + b"\r\n\r\n--b--\r\n",
        b"".join(b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nv\r\n' % number for number in range(200))
        + b"--b--\r\n",
    ],
)
def test_broken_form_is_400(api: httpx2.Client, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    problem(api.post("/process/file", content=body, headers=headers), 400)


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b"[" * 100_000, b'"\\ud800"', b'{"url": "\\ud800"}', b"1" * 5000])
def test_broken_json_is_refused(api: httpx2.Client, raw: bytes) -> None:
    answer = api.post("/process/url", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_unknown_address_and_wrong_method_are_problems(api: httpx2.Client) -> None:
    assert problem(api.get("/no/such/thing"), 404)["code"] == "not_found"
    answer = api.put("/search")
    assert problem(answer, 405)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"


def raw_request(server: str, raw: bytes) -> bytes:
    where = urlsplit(server)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(raw)
        answer = b""
        while block := connection.recv(65536):
            answer += block
        return answer
