"""The server behind proxies, before hostile pages, and by HTTPS: who is taken for whom."""

import contextlib
import http.client
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.certificates import self_signed

StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]
Tell = Callable[[BaseHTTPRequestHandler], dict[str, str]]
"""What a proxy says to the server about the request it passes on."""

HOP = {"host", "connection", "keep-alive", "transfer-encoding"}
STRANGER = "203.0.113.7"


class OldConnection(http.client.HTTPConnection):
    """As proxies speak that were not told otherwise."""

    _http_vsn = 10
    _http_vsn_str = "HTTP/1.0"


@contextlib.contextmanager
def proxy(
    server: str, tell: Tell, *, connection: type[http.client.HTTPConnection] = http.client.HTTPConnection
) -> Generator[httpx2.Client]:
    """A client of a reverse proxy on this host, that passes requests on to the server with what it tells."""
    behind = urlsplit(server).netloc

    class Passing(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            kept = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = connection(behind, timeout=30)
            with contextlib.closing(upstream):
                upstream.request(self.command, self.path, body, {**kept, **tell(self)})
                answer = upstream.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {*HOP, "content-length"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def do_GET(self) -> None:
            self.pass_on()

        def do_POST(self) -> None:
            self.pass_on()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Keep the test output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Passing) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listening.server_port}"
        with httpx2.Client(base_url=address, trust_env=False, timeout=30) as client:
            yield client
        listening.shutdown()
        thread.join()


def forwarding(request: BaseHTTPRequestHandler) -> dict[str, str]:
    """As proxies do that are set up well: after what the client claims comes where it really is."""
    claimed = request.headers.get("X-Forwarded-For")
    real = request.headers.get("X-Test-Address", STRANGER)
    return {
        "X-Forwarded-For": f"{claimed}, {real}" if claimed else real,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": request.headers.get("Host", ""),
        "Host": "127.0.0.1",
    }


def naming_only_the_host(request: BaseHTTPRequestHandler) -> dict[str, str]:
    return {"Host": request.headers["Host"]}


def naming_the_server(_request: BaseHTTPRequestHandler) -> dict[str, str]:
    return {"Host": "127.0.0.1"}


@pytest.mark.parametrize(
    ("tell", "connection", "status"),
    [
        (forwarding, http.client.HTTPConnection, 401),
        (naming_only_the_host, http.client.HTTPConnection, 421),
        (naming_the_server, OldConnection, 401),
    ],
    ids=["that says so", "that passes the Host on", "that says nothing and speaks HTTP/1.0"],
)
def test_proxy_on_the_same_host_makes_nobody_anonymous(
    server: str, tell: Tell, connection: type[http.client.HTTPConnection], status: int
) -> None:
    with proxy(server, tell, connection=connection) as client:
        for _ in range(2):
            answer = client.get("/api/v1/documents", headers={"Host": "morag.example"})
            assert answer.status_code == status, answer.text
        assert client.get("/metrics", headers={"Host": "morag.example"}).status_code == status


def test_page_whose_name_was_rebound_to_this_machine_reads_and_writes_nothing(api: httpx2.Client) -> None:
    page = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}
    for answer in (
        api.get("/api/v1/documents", headers=page),
        api.get("/openapi.json", headers=page),
        api.post("/search", json={"query": "x"}, headers=page),
        api.delete("/api/v1/documents/x", headers=page),
    ):
        assert answer.status_code == 421, answer.text


def test_form_of_another_site_sends_nothing(api: httpx2.Client) -> None:
    """A form can send no JSON, but files: with the browser's marks, old browsers' and new ones'."""
    before = api.get("/api/v1/status/").json()["tasks"]
    for marks in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    ):
        files = {"file": ("a.md", b"# Planted")}
        assert api.post("/api/v1/ingest/file", files=files, headers=marks).status_code == 403
    assert api.get("/api/v1/status/").json()["tasks"] == before


@pytest.fixture(scope="module")
def trusting(start_server: StartServer) -> str:
    address, _ = start_server(
        MORAG_TRUSTED_PROXIES="127.0.0.0/8",
        MORAG_ALLOWED_HOSTS="morag.example",
        MORAG_ALLOW_ANONYMOUS="true",
        MORAG_USER_REQUESTS_PER_MINUTE="6",
        MORAG_WORKERS="0",
    )
    return address


def test_strangers_behind_a_trusted_proxy_are_told_apart_and_cannot_pretend(trusting: str) -> None:
    with proxy(trusting, forwarding) as client:

        def ask(address: str, claimed: str = "") -> int:
            headers = {"Host": "morag.example", "X-Test-Address": address}
            headers |= {"X-Forwarded-For": claimed} if claimed else {}
            return client.get("/api/v1/documents", headers=headers).status_code

        assert [ask(STRANGER) for _ in range(7)] == [200] * 6 + [429]
        assert ask("203.0.113.8") == 200
        assert ask(STRANGER, claimed="203.0.113.9") == 429


def test_trusted_proxys_host_and_scheme_count(trusting: str) -> None:
    with proxy(trusting, forwarding) as client:
        there = {"X-Test-Address": "203.0.113.20"}
        assert client.get("/api/v1/documents", headers={**there, "Host": "evil.example"}).status_code == 421
        for origin, status in (("https://morag.example", 200), ("http://morag.example:8000", 403)):
            headers = {**there, "Host": "morag.example", "Origin": origin}
            assert client.post("/search", json={"query": "x"}, headers=headers).status_code == status


def test_metrics_are_not_for_who_comes_through_a_trusted_proxy(trusting: str) -> None:
    with proxy(trusting, forwarding) as client:
        headers = {"Host": "morag.example", "X-Test-Address": "127.0.0.1"}
        assert client.get("/metrics", headers=headers).status_code == 403


# HTTPS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_server_serves_https_with_a_certificate_of_its_own(
    certificate: tuple[Path, Path], start_server: StartServer
) -> None:
    cert, key = certificate
    address, process = start_server(MORAG_TLS_CERT=str(cert), MORAG_TLS_KEY=str(key), MORAG_WORKERS="0")
    assert address.startswith("https://127.0.0.1:")
    context = ssl.create_default_context(cafile=str(cert))
    with httpx2.Client(base_url=address, verify=context, trust_env=False) as client:
        assert client.get("/api/v1/documents").json() == {"documents": [], "next_cursor": None}
        own = {"Origin": address}
        assert client.post("/search", json={"query": "x"}, headers=own).status_code == 200
    with httpx2.Client(base_url=address, trust_env=False) as wary, pytest.raises(httpx2.ConnectError):
        wary.get("/health/live")
    with (
        httpx2.Client(base_url=address.replace("https", "http"), trust_env=False) as plain,
        pytest.raises(httpx2.TransportError),
    ):
        plain.get("/health/live")
    assert process.poll() is None


def test_server_that_cannot_serve_https_as_told_does_not_start(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
    variables = {"MORAG_DATA_DIR": str(tmp_path / "data"), "MORAG_TLS_CERT": str(certificate[0])}
    words = [sys.executable, "-m", "morag", "serve", "--port", "0"]
    done = subprocess.run(words, env={**kept, **variables}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "MORAG_TLS_KEY is not set" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
