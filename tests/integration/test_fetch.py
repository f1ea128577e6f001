"""The fetcher against real servers on the loopback, honest and hostile."""

import asyncio
import gzip
import hashlib
import os
import socket
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from morag.domain.errors import FetchFailed, FetchRefused, StorageFull, TooLarge
from morag.storage.blobs import FolderBlobStore
from morag.storage.fetching.addresses import Patience
from morag.storage.fetching.fetcher import GuardedFetcher

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(kw_only=True)
class Site:
    """A web server that answers each path with exactly the bytes it is told."""

    port: int = 0
    answers: dict[str, bytes | Answer] = field(default_factory=dict[str, bytes | Answer])
    requests: list[str] = field(default_factory=list[str])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, path: str, body: bytes, *headers: str, status: str = "200 OK") -> str:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        self.answers[path] = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        return self.url + path

    def redirect(self, path: str, location: str) -> str:
        return self.page(path, b"", f"Location: {location}", status="302 Found")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            answer = self.answers[head.split()[1].partition("?")[0]]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away, as several tests make it do
        finally:
            writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobStore:
    return FolderBlobStore(tmp_path / "blobs", min_free_bytes=0)


def fetcher_for(site: Site, blobs: FolderBlobStore, *, max_bytes: int = 10**8, total_s: float = 30) -> GuardedFetcher:
    patience = Patience(connect_s=5, read_s=5, total_s=total_s)
    return GuardedFetcher(blobs, allow=[f"127.0.0.1:{site.port}"], max_bytes=max_bytes, patience=patience)


@pytest.fixture
def fetcher(site: Site, blobs: FolderBlobStore) -> GuardedFetcher:
    return fetcher_for(site, blobs)


def quiet(_fraction: float, _stage: str, _message: str) -> None:
    """Take progress and do nothing with it."""


def left_behind(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.name != "moving"]


async def failure_of(fetcher: GuardedFetcher, url: str) -> FetchFailed:
    with pytest.raises(FetchFailed) as failure:
        await fetcher.fetch(url, quiet)
    return failure.value


# what is there


async def test_file_arrives_with_name_type_and_url(site: Site, blobs: FolderBlobStore, fetcher: GuardedFetcher) -> None:
    url = site.page(
        "/a/report", b"%PDF", "Content-Type: Application/PDF; x=y", 'Content-Disposition: x; filename="r.pdf"'
    )
    source = await fetcher.fetch(url + "?q=1#part", quiet)
    assert source.sha256 == hashlib.sha256(b"%PDF").hexdigest()
    assert await blobs.get(source.sha256) == b"%PDF"
    assert (source.size_bytes, source.filename, source.media_type) == (4, "r.pdf", "application/pdf")
    assert source.url == url + "?q=1"


async def test_request_names_host_and_asks_for_no_compression(site: Site, fetcher: GuardedFetcher) -> None:
    await fetcher.fetch(site.page("/", b"x"), quiet)
    lines = site.requests[0].splitlines()
    assert lines[0] == "GET / HTTP/1.1"
    assert f"Host: 127.0.0.1:{site.port}" in lines
    assert "Accept-Encoding: identity" in lines


async def test_progress_tells_bytes_of_bytes(site: Site, fetcher: GuardedFetcher) -> None:
    told: list[tuple[float, str, str]] = []

    def tell(fraction: float, stage: str, message: str) -> None:
        told.append((fraction, stage, message))

    await fetcher.fetch(site.page("/big", b"x" * 3_400_000), tell)
    assert told[-1] == (1.0, "downloading_file", "3.4 MB of 3.4 MB")
    assert [fraction for fraction, *_ in told] == sorted(fraction for fraction, *_ in told)
    assert len(told) > 10


async def test_body_without_a_length_is_read_to_its_end(
    site: Site, blobs: FolderBlobStore, fetcher: GuardedFetcher
) -> None:
    site.answers["/"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert await blobs.get((await fetcher.fetch(site.url, quiet)).sha256) == b"onetwo"


@pytest.mark.parametrize(
    ("coding", "body"),
    [("gzip", gzip.compress(b"text")), ("x-gzip", gzip.compress(b"text")), ("deflate", zlib.compress(b"text"))],
    ids=["gzip", "x-gzip", "deflate"],  # the bytes tell the time
)
async def test_compressed_body_is_stored_unpacked(
    site: Site, blobs: FolderBlobStore, fetcher: GuardedFetcher, coding: str, body: bytes
) -> None:
    source = await fetcher.fetch(site.page("/", body, f"Content-Encoding: {coding}"), quiet)
    assert await blobs.get(source.sha256) == b"text"


async def test_environment_proxies_and_netrc_are_ignored(
    site: Site, fetcher: GuardedFetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    await fetcher.fetch(site.page("/", b"x"), quiet)
    assert "authorization" not in site.requests[0].lower()


# redirects


async def test_redirect_is_followed_and_the_last_url_kept(site: Site, fetcher: GuardedFetcher) -> None:
    site.page("/c", b"x")
    site.redirect("/b", f"{site.url}/c#f")
    source = await fetcher.fetch(site.redirect("/a", "b"), quiet)
    assert source.url == f"{site.url}/c"


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2/",
        "http://169.254.169.254/",
        "http://[::1]/",
        "file:///etc/passwd",
        "http://2130706433/",
        "http://localhost/",
    ],
)
async def test_redirect_to_a_private_place_is_refused(
    site: Site, fetcher: GuardedFetcher, tmp_path: Path, location: str
) -> None:
    with pytest.raises(FetchRefused):
        await fetcher.fetch(site.redirect("/", location), quiet)
    assert len(site.requests) == 1
    assert left_behind(tmp_path) == []


async def test_redirects_end_after_three(site: Site, fetcher: GuardedFetcher) -> None:
    failure = await failure_of(fetcher, site.redirect("/loop", "/loop"))
    assert failure.code == "too_many_redirects"
    assert not failure.is_temporary
    assert len(site.requests) == 4


# where connections go


@dataclass(kw_only=True)
class Rebinding:
    """A name server that answers differently each time it is asked; the last answer stays."""

    answers: list[list[str]]
    asked: list[str] = field(default_factory=list[str])

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(f"{host}:{port}")
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def rebound(blobs: FolderBlobStore, resolver: Rebinding, *allow: str) -> GuardedFetcher:
    patience = Patience(connect_s=2, read_s=5, total_s=10)
    return GuardedFetcher(blobs, allow=allow, max_bytes=100, patience=patience, resolver=resolver)


async def test_connection_goes_to_the_address_that_was_checked(site: Site, blobs: FolderBlobStore) -> None:
    site.page("/", b"x")
    resolver = Rebinding(answers=[["127.0.0.1"], ["127.0.0.9"]])
    await rebound(blobs, resolver, f"site.test:{site.port}").fetch(f"http://site.test:{site.port}/", quiet)
    assert resolver.asked == [f"site.test:{site.port}"]
    assert f"Host: site.test:{site.port}" in site.requests[0]


async def test_name_that_rebinds_to_a_private_address_is_refused(site: Site, blobs: FolderBlobStore) -> None:
    site.redirect("/", f"http://site.test:{site.port}/again")
    site.page("/again", b"secret")
    resolver = Rebinding(answers=[["127.0.0.1"], ["127.0.0.2"]])
    # the network entry allows the first answer only, the name entry the port
    fetcher = rebound(blobs, resolver, "127.0.0.1", f"127.0.0.1:{site.port}")
    with pytest.raises(FetchRefused):
        await fetcher.fetch(f"http://127.0.0.1:{site.port}/", quiet)
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%eth0"],
        ["168.63.129.16"],
    ],
)
async def test_public_name_with_any_private_address_is_refused(blobs: FolderBlobStore, answer: list[str]) -> None:
    with pytest.raises(FetchRefused) as refusal:
        await rebound(blobs, Rebinding(answers=[answer])).fetch("http://site.test/?token=secret", quiet)
    assert "site.test" in refusal.value.message
    assert "secret" not in f"{refusal.value.message}{refusal.value.hint}"


async def test_next_address_is_tried_when_the_first_is_dead(site: Site, blobs: FolderBlobStore) -> None:
    site.page("/", b"x")
    resolver = Rebinding(answers=[["127.0.0.77", "127.0.0.1"]])
    source = await rebound(blobs, resolver, f"site.test:{site.port}").fetch(f"http://site.test:{site.port}/", quiet)
    assert source.size_bytes == 1


async def test_unknown_host_is_not_temporary_and_a_dumb_name_server_is(blobs: FolderBlobStore) -> None:
    for errno, is_temporary in ((socket.EAI_NONAME, False), (socket.EAI_AGAIN, True)):

        async def fails(_host: str, _port: int, errno: int = errno) -> Sequence[str]:
            raise socket.gaierror(errno, "no")

        failure = await failure_of(GuardedFetcher(blobs, max_bytes=1, resolver=fails), "http://site.test/")
        assert (failure.code, failure.is_temporary) == ("host_not_found", is_temporary)


async def test_closed_port_is_a_temporary_failure(blobs: FolderBlobStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    fetcher = GuardedFetcher(blobs, allow=[f"localhost:{port}"], max_bytes=1)
    failure = await failure_of(fetcher, f"http://localhost:{port}/")
    assert (failure.code, failure.is_temporary) == ("host_unreachable", True)


# TLS


@dataclass(kw_only=True)
class Authority:
    """A certificate for one host name, and contexts for both sides."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("site.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path_factory.mktemp("tls") / "site.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pem)
    return Authority(server=server, client=ssl.create_default_context(cafile=str(pem)))


@pytest.fixture
async def tls_site(authority: Authority) -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=authority.server)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


async def test_certificate_is_checked_against_the_name_not_the_address(
    tls_site: Site, blobs: FolderBlobStore, authority: Authority
) -> None:
    tls_site.page("/", b"x")

    def asking(tls: ssl.SSLContext | None) -> GuardedFetcher:
        hosts = [f"{host}:{tls_site.port}" for host in ("site.test", "other.test")]
        resolver = Rebinding(answers=[["127.0.0.1"]])
        return GuardedFetcher(blobs, allow=hosts, max_bytes=9, resolver=resolver, tls=tls)

    source = await asking(authority.client).fetch(f"https://site.test:{tls_site.port}/", quiet)
    assert source.size_bytes == 1
    wrong_name = await failure_of(asking(authority.client), f"https://other.test:{tls_site.port}/")
    unknown_authority = await failure_of(asking(None), f"https://site.test:{tls_site.port}/")
    assert wrong_name.code == unknown_authority.code == "bad_certificate"
    assert len(tls_site.requests) == 1


# what is not there, or not to be had


@pytest.mark.parametrize(
    ("status", "is_temporary"),
    [
        ("404 Not Found", False),
        ("410 Gone", False),
        ("403 No", False),
        ("429 Slow", True),
        ("500 Oh", True),
        ("503 Busy", True),
        ("206 Part", False),
        ("304 Same", False),
        ("599 What", True),
    ],
)
async def test_status_is_told_in_words(site: Site, fetcher: GuardedFetcher, status: str, *, is_temporary: bool) -> None:
    failure = await failure_of(fetcher, site.page("/x", b"body", status=status) + "?token=secret")
    assert failure.code == f"http_{status[:3]}"
    assert status[:3] in failure.message
    assert failure.is_temporary == is_temporary
    assert "secret" not in f"{failure.message}{failure.hint}"


async def test_empty_body_is_a_failure(site: Site, fetcher: GuardedFetcher, tmp_path: Path) -> None:
    failure = await failure_of(fetcher, site.page("/", b""))
    assert (failure.code, failure.is_temporary) == ("empty_file", False)
    assert left_behind(tmp_path) == []


async def test_announced_size_over_the_limit_is_not_downloaded(site: Site, blobs: FolderBlobStore) -> None:
    site.answers["/"] = b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n"
    with pytest.raises(TooLarge):
        await fetcher_for(site, blobs, max_bytes=1000).fetch(site.url, quiet)


async def test_endless_body_ends_at_the_limit(site: Site, blobs: FolderBlobStore, tmp_path: Path) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    site.answers["/"] = endless
    with pytest.raises(TooLarge):
        await fetcher_for(site, blobs, max_bytes=5_000_000).fetch(site.url, quiet)
    assert left_behind(tmp_path) == []


async def test_gzip_bomb_ends_early(site: Site, fetcher: GuardedFetcher, tmp_path: Path) -> None:
    bomb = gzip.compress(b"\0" * 200_000_000, compresslevel=1)
    failure = await failure_of(fetcher, site.page("/", bomb, "Content-Encoding: gzip"))
    assert failure.code == "decompression_bomb"
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "zstd"])
async def test_unknown_coding_is_told(site: Site, fetcher: GuardedFetcher, coding: str) -> None:
    failure = await failure_of(fetcher, site.page("/", b"x", f"Content-Encoding: {coding}"))
    assert failure.code == "bad_encoding"


async def test_slow_body_meets_the_total_time(site: Site, blobs: FolderBlobStore, tmp_path: Path) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    site.answers["/"] = drip
    started = time.monotonic()
    failure = await failure_of(fetcher_for(site, blobs, total_s=0.5), site.url)
    assert (failure.code, failure.is_temporary) == ("fetch_timeout", True)
    assert time.monotonic() - started < 5
    assert left_behind(tmp_path) == []


async def test_silent_server_meets_the_read_time(site: Site, blobs: FolderBlobStore) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    site.answers["/"] = silent
    patience = Patience(connect_s=5, read_s=0.2, total_s=30)
    fetcher = GuardedFetcher(blobs, allow=[f"127.0.0.1:{site.port}"], max_bytes=9, patience=patience)
    failure = await failure_of(fetcher, site.url)
    assert (failure.code, failure.is_temporary) == ("fetch_timeout", True)


@pytest.mark.parametrize("head", [b"X: " + b"a" * 300_000, b"".join(b"X-%d: a\r\n" % i for i in range(30_000))])
async def test_huge_header_is_not_read(site: Site, fetcher: GuardedFetcher, head: bytes) -> None:
    site.answers["/"] = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n"
    assert (await failure_of(fetcher, site.url)).code == "bad_response"


@pytest.mark.parametrize(
    "sent",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 302 Found\r\n\r\n"],
)
async def test_broken_answer_is_told(site: Site, fetcher: GuardedFetcher, sent: bytes, tmp_path: Path) -> None:
    site.answers["/"] = sent
    assert (await failure_of(fetcher, site.url)).code == "bad_response"
    assert left_behind(tmp_path) == []


async def test_low_disk_ends_the_download(site: Site, tmp_path: Path) -> None:
    full = FolderBlobStore(tmp_path / "blobs", min_free_bytes=1, measure_free=lambda _: 0)
    with pytest.raises(StorageFull):
        await fetcher_for(site, full).fetch(site.page("/", b"x"), quiet)


async def test_cancelled_fetch_closes_its_connection(site: Site, fetcher: GuardedFetcher, tmp_path: Path) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        begun.set()
        try:
            while True:
                writer.write(os.urandom(65_536))
                await writer.drain()
        finally:
            ended.set()

    site.answers["/"] = endless
    fetch = asyncio.create_task(fetcher.fetch(site.url, quiet))
    await begun.wait()
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    await asyncio.wait_for(ended.wait(), 10)
    assert left_behind(tmp_path) == []


def test_url_is_refused_at_submit_by_its_text(fetcher: GuardedFetcher, site: Site) -> None:
    fetcher.check_url(site.url)
    with pytest.raises(FetchRefused):
        fetcher.check_url(f"http://{ip_address('127.0.0.2')}/")
