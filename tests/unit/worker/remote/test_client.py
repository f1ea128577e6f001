from collections.abc import Callable

import httpx2
import pytest
from tests.far_server import FakeServer, problem

from morag.domain.errors import MoragError
from morag.protocol import ClaimWork, Heartbeat
from morag.worker.remote.answers import Away, KeyRefused, Redirected, Refused, VersionRefused
from morag.worker.remote.client import Client

BEAT = Heartbeat(seq=1)


@pytest.mark.parametrize(
    "server", ["https://far.example", "http://127.0.0.1:8000", "http://[::1]:1", "http://localhost"]
)
def test_these_addresses_get_the_key(server: str) -> None:
    assert Client(f"{server}/", "mrg_key").server == server


@pytest.mark.parametrize(
    ("server", "code"),
    [
        ("http://192.168.1.2:8000", "insecure_url"),
        ("http://far.example", "insecure_url"),
        ("http://127.0.0.1.far.example", "insecure_url"),
        ("far.example", "bad_setting"),
        ("ftp://far.example", "bad_setting"),
        ("https://", "bad_setting"),
        ("https://user:pass@far.example", "bad_setting"),
        ("https://[::1", "bad_setting"),
        ("https://far.example:port", "bad_setting"),
    ],
)
def test_these_addresses_never_get_the_key(server: str, code: str) -> None:
    with pytest.raises(MoragError) as raised:
        Client(server, "mrg_key")
    assert raised.value.code == code
    assert "mrg_key" not in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize("key", ["", "two words", "line\nline", "ключ"])
def test_what_is_no_key_is_not_sent(key: str) -> None:
    with pytest.raises(MoragError, match="not written as a key is"):
        Client("https://far.example", key)


async def test_a_redirect_is_told_and_not_followed(client: Client, far: FakeServer) -> None:
    far.on("POST", "/heartbeat", httpx2.Response(302, headers={"location": "https://other.example/x?secret"}))
    with pytest.raises(Redirected, match=r"sends on to https://other\.example,"):
        await client.heartbeat("w", BEAT)
    assert [each.url.host for each in far.requests] == ["far.example"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(401, "unauthorized"), KeyRefused),
        (problem(403, "forbidden"), KeyRefused),
        (httpx2.Response(403, text="<html>"), KeyRefused),
        (problem(426, "upgrade_required"), VersionRefused),
        (problem(409, "session_over"), Refused),
        (problem(404, "not_found"), Refused),
        (httpx2.Response(404, text="<html>of some proxy</html>"), Away),
        (problem(408, "x"), Away),
        (problem(425, "x"), Away),
        (problem(429, "limit_reached"), Away),
        (problem(500, "internal_error"), Away),
        (httpx2.Response(502, text="<html>"), Away),
        (httpx2.Response(200, text="<html>please log in</html>"), Away),
        (httpx2.Response(200, json={"leases": {"a": "what"}}), Away),
    ],
)
async def test_each_answer_is_a_word_on_the_worker_on_the_work_or_none(
    client: Client, far: FakeServer, answer: httpx2.Response, error: type[MoragError]
) -> None:
    far.on("POST", "/heartbeat", answer)
    with pytest.raises(error) as raised:
        await client.heartbeat("w", BEAT)
    assert type(raised.value) is error


@pytest.mark.parametrize(("told", "seconds"), [("7", 7.0), ("soon", None), ("-1", None), ("99999999", None)])
async def test_when_to_come_back_is_read(client: Client, far: FakeServer, told: str, seconds: float | None) -> None:
    far.on("POST", "/heartbeat", problem(503, "unavailable", **{"retry-after": told}))
    with pytest.raises(Away) as raised:
        await client.heartbeat("w", BEAT)
    assert raised.value.retry_after_s == seconds


@pytest.mark.parametrize(
    "error", [httpx2.ConnectError, httpx2.ReadError, httpx2.ReadTimeout, httpx2.RemoteProtocolError]
)
async def test_a_broken_connection_is_a_server_away(
    client: Client, far: FakeServer, error: Callable[[str], Exception]
) -> None:
    def broken(_: httpx2.Request) -> httpx2.Response:
        raise error("broken")

    far.on("POST", "/claim", broken)
    with pytest.raises(Away):
        await client.claim("w", ClaimWork(claim_id="c", slots=1))


async def test_no_work_is_no_lease(client: Client, far: FakeServer) -> None:
    far.on("POST", "/claim", httpx2.Response(204))
    assert await client.claim("w", ClaimWork(claim_id="c", slots=1)) == []


async def test_what_a_server_calls_things_stays_within_its_path(client: Client, far: FakeServer) -> None:
    far.on("DELETE", "", httpx2.Response(204))
    await client.leave("../../keys?x#y")
    assert far.requests[0].url.raw_path == b"/api/v1/workers/..%2F..%2Fkeys%3Fx%23y"


async def test_an_upload_hears_where_it_is(client: Client, far: FakeServer) -> None:
    far.on("POST", "/uploads", httpx2.Response(201, headers={"location": "https://other.example/uploads/u1"}))
    assert await client.begin_upload("a.1", 10) == "u1"
    far.on("PATCH", "/a.1/uploads/u1", httpx2.Response(409, headers={"upload-offset": "4"}), httpx2.Response(460))
    assert await client.upload_piece("a.1", "u1", 0, b"12345") == 4
    with pytest.raises(Away, match="damaged"):
        await client.upload_piece("a.1", "u1", 4, b"5")
    assert {each.url.host for each in far.requests} == {"far.example"}


async def test_an_upload_the_server_has_not_is_no_outage(client: Client, far: FakeServer) -> None:
    far.on("HEAD", "/uploads/u1", httpx2.Response(404))
    with pytest.raises(Refused):
        await client.upload_offset("a.1", "u1")
