import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest
from tests.far_server import FakeServer, problem

from morag.domain.failure import AttemptFailed, FailureType
from morag.protocol import LeaseMessage
from morag.worker.remote.answers import Refused
from morag.worker.remote.client import Client
from morag.worker.remote.patience import Patience
from morag.worker.remote.transfer import PIECE_BYTES, Download, Upload, begin

MakeLease = Callable[..., LeaseMessage]
BODY = bytes(range(256)) * 40
DIGEST = hashlib.sha256(BODY).hexdigest()


class Cut(httpx2.AsyncByteStream):
    """Some bytes, and then the line is cut."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content
        raise httpx2.ReadError("cut")


def given(lease: MakeLease, size: int = len(BODY), sha256: str = DIGEST) -> LeaseMessage:
    return lease(source={"size": size, "sha256": sha256, "filename": "a.bin"})


async def fetch(client: Client, lease: LeaseMessage, path: Path, patience: Patience) -> bytes:
    assert lease.source
    await Download(client, lease, lease.source, path).run(patience, lambda _: None)
    return path.read_bytes()


async def test_a_download_goes_on_where_it_was_cut(
    client: Client, far: FakeServer, lease: MakeLease, patience: Patience, tmp_path: Path
) -> None:
    far.on(
        "GET",
        "/t1.1/source",
        httpx2.Response(200, stream=Cut(BODY[:1000])),
        httpx2.Response(206, stream=Cut(BODY[1000:5000])),
        httpx2.Response(206, content=BODY[5000:]),
    )
    assert await fetch(client, given(lease), tmp_path / "a", patience) == BODY
    ranges = [(each.headers.get("range"), each.headers.get("if-range")) for each in far.requests]
    assert ranges == [(None, None), ("bytes=1000-", f'"{DIGEST}"'), ("bytes=5000-", f'"{DIGEST}"')]


async def test_a_server_that_cannot_go_on_there_begins_anew(
    client: Client, far: FakeServer, lease: MakeLease, patience: Patience, tmp_path: Path
) -> None:
    cut = httpx2.Response(200, stream=Cut(BODY[:1000]))
    far.on("GET", "/t1.1/source", cut, httpx2.Response(200, content=BODY))
    assert await fetch(client, given(lease), tmp_path / "a", patience) == BODY


async def test_an_empty_file_arrives(
    client: Client, far: FakeServer, lease: MakeLease, patience: Patience, tmp_path: Path
) -> None:
    far.on("GET", "/t1.1/source", httpx2.Response(200, content=b""))
    empty = given(lease, 0, hashlib.sha256(b"").hexdigest())
    assert await fetch(client, empty, tmp_path / "a", patience) == b""


async def test_a_file_damaged_once_is_fetched_again(
    client: Client, far: FakeServer, lease: MakeLease, patience: Patience, tmp_path: Path
) -> None:
    damaged = httpx2.Response(200, content=b"x" + BODY[1:])
    far.on("GET", "/t1.1/source", damaged, httpx2.Response(200, content=BODY))
    assert await fetch(client, given(lease), tmp_path / "a", patience) == BODY


@pytest.mark.parametrize("content", [b"x" + BODY[1:], BODY + b"more"])
async def test_a_file_that_stays_damaged_is_a_failure_of_the_network(
    client: Client, far: FakeServer, lease: MakeLease, patience: Patience, tmp_path: Path, content: bytes
) -> None:
    far.on("GET", "/t1.1/source", lambda _: httpx2.Response(200, content=content))
    with pytest.raises(AttemptFailed) as raised:
        await fetch(client, given(lease), tmp_path / "a", patience)
    assert (raised.value.failure.type, raised.value.failure.code) == (FailureType.NETWORK_FAILURE, "source_damaged")


async def test_a_file_larger_than_the_disk_is_not_begun(
    client: Client, far: FakeServer, lease: MakeLease, patience: Patience, tmp_path: Path
) -> None:
    with pytest.raises(AttemptFailed) as raised:
        await fetch(client, given(lease, 10**18), tmp_path / "a", patience)
    assert raised.value.failure.type is FailureType.RESOURCE_EXHAUSTION
    assert far.requests == []


async def test_a_source_that_is_gone_is_told(
    client: Client, far: FakeServer, lease: MakeLease, patience: Patience, tmp_path: Path
) -> None:
    far.on("GET", "/t1.1/source", problem(404, "not_found"))
    with pytest.raises(Refused):
        await fetch(client, given(lease), tmp_path / "a", patience)


class Tus:
    """The server's side of one upload, whose line is cut after some requests."""

    def __init__(self, length: int, cuts: set[int]) -> None:
        self.got, self.length, self.received, self._cuts, self._seen = b"", length, 0, cuts, 0

    def head(self, _: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"upload-offset": str(len(self.got))})

    def patch(self, request: httpx2.Request) -> httpx2.Response:
        self._seen += 1
        self.received += len(request.content)
        if self._seen in self._cuts and self._seen % 2:
            raise httpx2.WriteError("cut on the way there")
        assert int(request.headers["upload-offset"]) == len(self.got)
        self.got += request.content
        if self._seen in self._cuts:
            raise httpx2.ReadError("cut on the way back")
        return httpx2.Response(204, headers={"upload-offset": str(len(self.got))})


async def test_an_upload_goes_on_from_where_the_server_is(
    client: Client, far: FakeServer, patience: Patience, tmp_path: Path
) -> None:
    path = tmp_path / "document"
    path.write_bytes(BODY * 300)
    size = path.stat().st_size
    tus = Tus(size, {1, 4})
    far.on("HEAD", "/uploads/u1", tus.head)
    far.on("PATCH", "/uploads/u1", tus.patch)
    await Upload(client, "t1.1", "u1", path).run(patience, lambda _: None)
    assert tus.got == path.read_bytes()
    assert tus.received <= size + PIECE_BYTES


async def test_an_upload_of_an_earlier_session_is_gone_on_with_if_it_is_there(client: Client, far: FakeServer) -> None:
    far.on("HEAD", "/uploads/u1", httpx2.Response(200, headers={"upload-offset": "5"}))
    far.on("HEAD", "/uploads/u2", httpx2.Response(404))
    far.on("POST", "/uploads", httpx2.Response(201, headers={"location": "/api/v1/attempts/t1.1/uploads/u3"}))
    assert await begin(client, "t1.1", 9, "u1") == "u1"
    assert await begin(client, "t1.1", 9, "u2") == "u3"
    assert await begin(client, "t1.1", 9, None) == "u3"
