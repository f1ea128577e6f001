"""Uploads by programs that no library would write: each is answered or ends, leaves nothing, and harms nobody else."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

END_S = 30.0
GIB = 1024**3
SLOW = 200
"""Uploads that never get anywhere, at once."""
HEAD = b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
WHOLE = b"--b\r\n" + HEAD + b"hello there\r\n--b--\r\n"

StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]


class Place:
    """A server, by its sockets."""

    def __init__(self, address: str, data: Path, process: "subprocess.Popen[str]") -> None:
        self.address = address
        self.data = data
        self.process = process

    def connect(self) -> socket.socket:
        where = urlsplit(self.address)
        return socket.create_connection((where.hostname, where.port), timeout=END_S)

    def send(self, body: bytes, *headers: bytes, length: bool = True) -> bytes:
        """The status line and all that follows, to the end of the connection."""
        told = [*headers, *([b"Content-Length: %d" % len(body)] if length else [])]
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):  # it may answer before it has read all
                connection.sendall(head(*told, b"Connection: close") + body)
            return rest(connection)

    def left(self) -> list[Path]:
        """What stands unfinished in the data folder."""
        return [*(self.data / "blobs" / "tmp").iterdir(), *(self.data / "partial").iterdir()]

    def blobs(self) -> set[Path]:
        return {path for path in (self.data / "blobs").glob("??/*") if path.is_file()}


def head(*headers: bytes, path: bytes = b"/process/file", boundary: bytes = b"b") -> bytes:
    lines = [
        b"POST " + path + b" HTTP/1.1",
        b"Host: localhost",
        b"Content-Type: multipart/form-data; boundary=" + boundary,
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def rest(connection: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionError):
        while block := connection.recv(65536):
            answer += block
    return answer


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer[9:12])


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + END_S
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def place(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Place:
    data = tmp_path_factory.mktemp("uploads") / "data"
    address, process = start_server(MORAG_DATA_DIR=str(data), MORAG_MAX_UPLOAD_BYTES=str(4 * 1024**2))
    return Place(address, data, process)


@pytest.fixture
def http(place: Place) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=place.address, timeout=END_S, trust_env=False) as client:
        yield client


@pytest.fixture(autouse=True)
def is_well(place: Place, http: httpx2.Client) -> Iterator[None]:
    """After each test nothing is left, and the server converts."""
    yield
    until(lambda: not place.left())
    assert place.process.poll() is None
    answer = http.post("/process/file", files={"file": ("a.txt", b"All is well.")})
    assert answer.status_code == 200, answer.text


def named(filename: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + filename + b'"\r\n\r\nText.\r\n--b--\r\n'


@pytest.mark.parametrize(
    "filename",
    [
        b"/etc/passwd",
        b"../../../../tmp/owned.txt",
        b"..\\\\..\\\\owned.txt",
        b"a\x00.txt",
        b"\xff\xfe\x80.txt",
        b"caf\xe9.txt",
        "\u202etxt.exe".encode(),
        b"~root",
        b"con",
        b"\n" * 100,
        b"a" * 4000 + b".txt",
    ],
)
def test_a_name_is_never_a_path(place: Place, filename: bytes) -> None:
    answer = place.send(named(filename))
    assert status(answer) in {200, 400}
    assert b"/etc/passwd" not in answer
    assert not list(place.data.rglob("*owned*"))
    assert not list(place.data.rglob("*passwd*"))


@pytest.mark.parametrize("filename", [b"a" * 65536, b"../" * 22000, b"a\r\nb.txt"], ids=["64 KiB", "long path", "line"])
def test_a_name_that_is_too_long_or_has_lines_is_400(place: Place, filename: bytes) -> None:
    before = place.blobs()
    assert status(place.send(named(filename))) == 400
    assert place.blobs() == before


@pytest.mark.parametrize(
    "lengths",
    [
        [b"-1"],
        [b"5", b"500"],
        [b"5, 500"],
        [b"0x10"],
        [b"1e3"],
        [b"+10"],
        [b"9" * 5000],
        [b"9" * 30],
        [b"\xb2"],
        [b""],
    ],
)
def test_a_length_that_is_none_is_refused(place: Place, lengths: list[bytes]) -> None:
    answer = place.send(WHOLE, *(b"Content-Length: " + each for each in lengths), length=False)
    assert status(answer) in {400, 413}


@pytest.mark.parametrize("told", [1, 40, len(WHOLE) - 5])
def test_a_length_that_is_too_short_is_a_form_without_an_end(place: Place, told: int) -> None:
    assert status(place.send(WHOLE, b"Content-Length: %d" % told, length=False)) == 400


def test_a_length_beside_chunks_is_not_a_second_request(place: Place) -> None:
    smuggled = b"0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = place.send(smuggled, b"Transfer-Encoding: chunked", b"Content-Length: 5", length=False)
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_client_that_goes_before_its_length_is_reached_leaves_nothing(place: Place) -> None:
    with place.connect() as connection:
        connection.sendall(head(b"Content-Length: 3000000") + b"--b\r\n" + HEAD + b"x" * 1_500_000)
        until(place.left)
    until(lambda: not place.left())


@pytest.mark.parametrize(
    "chunk",
    [b"zz\r\nabc\r\n", b"-5\r\nabcde\r\n", b"ffffffffffffffffffff\r\nabc\r\n", b"5\r\nabcdefgh\r\n", b";" * 90_000],
)
def test_chunks_that_are_none_are_400(place: Place, chunk: bytes) -> None:
    assert status(place.send(chunk, b"Transfer-Encoding: chunked", length=False)) == 400


def test_chunks_without_an_end_are_read_for_seconds_beyond_the_limit_only(place: Place) -> None:
    block = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with place.connect() as connection:
        connection.sendall(
            head(b"Transfer-Encoding: chunked") + b"%x\r\n" % (5 + len(HEAD)) + b"--b\r\n" + HEAD + b"\r\n"
        )
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < END_S:
                connection.sendall(block)
        assert time.monotonic() - began < END_S / 2
        answer = rest(connection)
    assert not answer or status(answer) == 413


@pytest.mark.parametrize(
    "body",
    [
        b"".join(b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n\r\n' % n for n in range(10_000))
        + b"--b--\r\n",
        b"--b\r\n" * 10_000 + b"--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1\r\n' * 2 + b"--b--\r\n",
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n" + HEAD + b"deep\r\n--c--\r\n--b--\r\n",
        b"--b\r\n" + HEAD + b"no end",
        b"--b\r\n" + HEAD,
        b"--b\r\nContent-Disposition: " + b"form-data; " * 20_000 + b"\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\n" + b"A" * 1_000_000,
        b"--b\r\nContent-Disposition: form-data; name=file; filename*=utf-8''%00%2e%2e%2f\r\n\r\nx\r\n--b--\r\n",
    ],
    ids=[
        "10000 parts",
        "10000 boundaries",
        "twice",
        "nested",
        "endless",
        "empty",
        "long header",
        "no head",
        "coded name",
    ],
)
def test_a_form_that_is_none_is_400_and_leaves_nothing(place: Place, body: bytes) -> None:
    began = time.monotonic()
    answer = place.send(body)
    assert status(answer) == 400
    assert b"application/problem+json" in answer
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("boundary", [b"", b'""', b"x" * 300, b"x" * 60_000, b"\x00", b'"a b"; boundary=b'])
def test_a_boundary_that_is_none_is_400(place: Place, boundary: bytes) -> None:
    body = b"--" + boundary + b"\r\n" + HEAD + b"x\r\n--" + boundary + b"--\r\n"
    with place.connect() as connection:
        connection.sendall(head(b"Connection: close", b"Content-Length: %d" % len(body), boundary=boundary) + body)
        assert status(rest(connection)) in {400, 431}


def test_a_boundary_of_70_characters_and_one_of_more_are_read(place: Place) -> None:
    for boundary in (b"x" * 70, b"x" * 150):
        body = b"--" + boundary + b"\r\n" + HEAD + b"x\r\n--" + boundary + b"--\r\n"
        with place.connect() as connection:
            connection.sendall(head(b"Connection: close", b"Content-Length: %d" % len(body), boundary=boundary) + body)
            assert status(rest(connection)) == 200


def test_a_drip_is_not_waited_for_by_anybody_else(place: Place, http: httpx2.Client) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(place.connect()) for _ in range(SLOW)]
        for each in slow:
            each.sendall(
                head(b"Transfer-Encoding: chunked") + b"%x\r\n" % (5 + len(HEAD)) + b"--b\r\n" + HEAD + b"\r\n"
            )
        for _ in range(5):
            for each in slow:
                each.sendall(b"1\r\nx\r\n")
            began = time.monotonic()
            assert http.get("/health/live").status_code == 200
            assert http.post("/process/file", files={"file": ("a.txt", b"Quick.")}).status_code == 200
            assert time.monotonic() - began < 10
    until(lambda: not place.left())


def test_a_disk_that_runs_low_in_the_middle_is_507_and_leaves_nothing(
    start_server: StartServer, tmp_path: Path
) -> None:
    enough = shutil.disk_usage(tmp_path).free - GIB
    address, process = start_server(MORAG_DATA_DIR=str(tmp_path / "data"), MORAG_MIN_FREE_BYTES=str(enough))
    low = Place(address, tmp_path / "data", process)
    filler = tmp_path / "filler"
    with low.connect() as connection:
        connection.sendall(head(b"Content-Length: 9000000") + b"--b\r\n" + HEAD + b"x" * 2_500_000)
        until(low.left)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 2 * GIB)
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"x" * 3_000_000)
        answer = connection.recv(65536)
    filler.unlink()
    assert status(answer) == 507
    until(lambda: not low.left())
    assert not low.blobs()


class Attempt:
    """A lease that a machine holds, and the beginning of an upload of its result."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http
        machine = {"name": "box", "instance_id": "box-1", "version": "1", "type": "remote_cpu"}
        registered = http.post("/api/v1/workers", json={**machine, "content_types": ["document"]})
        form = {"remote": "true", "fallback_to_local": "false"}
        http.post("/process/file", files={"file": ("a.txt", b"x")}, data=form, headers={"Prefer": "wait=0"})
        claim = {"claim_id": "first", "slots": 1, "wait_s": 20}
        claimed = http.post(f"/api/v1/workers/{registered.json()['worker_id']}/claim", json=claim)
        self.path = f"/api/v1/attempts/{claimed.json()['leases'][0]['attempt_id']}/uploads"

    def begin(self, length: str) -> httpx2.Response:
        return self.http.post(self.path, headers={"Upload-Length": length})

    def add(self, upload_id: str, offset: str, content: bytes) -> httpx2.Response:
        headers = {"Upload-Offset": offset, "Content-Type": "application/offset+octet-stream"}
        return self.http.patch(f"{self.path}/{upload_id}", content=content, headers=headers)


@pytest.fixture(scope="module")
def attempt(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attempt]:
    data = str(tmp_path_factory.mktemp("attempt") / "data")
    address, _ = start_server(MORAG_DATA_DIR=data, MORAG_WORKERS="0")
    key = subprocess.run(
        [sys.executable, "-m", "morag", "keys", "create", "--user", "a", "--scope", "submit", "--scope", "worker"],
        env={**os.environ, "MORAG_DATA_DIR": data},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    with httpx2.Client(base_url=address, headers={"X-API-Key": key}, timeout=END_S, trust_env=False) as http:
        yield Attempt(http)


@pytest.mark.parametrize("length", ["-1", "0", "9" * 30, "9" * 4000, "1e3", "many", str(2**40)])
def test_an_upload_of_a_length_that_cannot_be_is_422(attempt: Attempt, length: str) -> None:
    assert attempt.begin(length).status_code == 422


def test_pieces_that_do_not_fit_change_nothing(attempt: Attempt) -> None:
    upload_id = attempt.begin("10").headers["upload-id"]
    assert attempt.add(upload_id, "0", b"12345").status_code == 204
    refused = {
        409: [("0", b"1"), ("4", b"1"), ("6", b"1"), ("9" * 15, b"1")],
        413: [("5", b"123456"), ("5", b"x" * 1_000_000)],
        422: [("-1", b"1"), ("9" * 5000, b"1"), ("x", b"1")],
    }
    for expected, pieces in refused.items():
        for offset, content in pieces:
            answer = attempt.add(upload_id, offset, content)
            assert answer.status_code == expected, (offset[:20], answer.text)
    there = attempt.http.head(f"{attempt.path}/{upload_id}").headers["upload-offset"]
    assert attempt.add(upload_id, there, b"x" * (10 - int(there))).status_code == 204


@pytest.mark.parametrize("upload_id", ["0" * 32, "..", "%2e%2e", "x" * 3000, "*", "%00"])
def test_an_upload_nobody_began_is_404(attempt: Attempt, upload_id: str) -> None:
    assert attempt.add(upload_id, "0", b"1").status_code in {404, 405}
