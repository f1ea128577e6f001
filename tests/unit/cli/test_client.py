import io
from collections.abc import Callable

import httpx2
import pytest

from morag.cli.addresses import is_loopback
from morag.cli.answers import ServerError
from morag.cli.client import Client
from morag.domain.errors import MoragError, Unavailable

NEAR = "http://127.0.0.1:8000"
Answer = Callable[[httpx2.Request], httpx2.Response]


class Server(httpx2.AsyncBaseTransport):
    """Gives the answers it was made with, one after the other, and keeps what was asked."""

    def __init__(self, *answers: httpx2.Response | httpx2.TransportError) -> None:
        self._answers = list(answers)
        self.asked: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self.asked.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, httpx2.TransportError):
            raise answer
        return answer


class Cut(httpx2.AsyncByteStream):
    """A body whose connection breaks after it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self):  # noqa: ANN204 - as the base class has it
        yield self._content
        raise httpx2.ReadError("cut off")


def stream(text: str) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=text)


def busy() -> httpx2.Response:
    return httpx2.Response(503, json={"code": "unavailable"}, headers={"Retry-After": "0"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine_is_known_by_all_its_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["192.168.1.4", "example.org", "localhost.example.org", "0.0.0.0", ""])  # noqa: S104 - read, not bound
def test_other_machines_are_not_this_one(host: str) -> None:
    assert not is_loopback(host)


def test_a_key_is_never_sent_in_the_clear_to_another_machine() -> None:
    with pytest.raises(MoragError) as raised:
        Client("http://morag.example", "mrg_secret")
    assert raised.value.code == "insecure_url"
    assert "mrg_secret" not in raised.value.message


@pytest.mark.parametrize("url", ["", "morag.example:8000", "ftp://morag.example", "http://"])
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(MoragError) as raised:
        Client(url, None)
    assert raised.value.code == "bad_setting"


@pytest.mark.parametrize("url", [NEAR, "https://morag.example"])
async def test_the_key_goes_along_where_that_is_safe(url: str) -> None:
    server = Server(httpx2.Response(200, json={}))
    async with Client(url, "mrg_key", transport=server) as client:
        await client.get("/api/v1/status/")
    assert server.asked[0].headers["authorization"] == "Bearer mrg_key"


async def test_a_busy_server_is_asked_again_with_the_same_key_and_the_whole_file() -> None:
    server = Server(busy(), busy(), httpx2.Response(202, json={"task_id": "t"}))
    async with Client(NEAR, None, transport=server) as client:
        answer = await client.upload("/x", {"metadata": "{}"}, "a.txt", io.BytesIO(b"all of it"), key="k")
    assert answer == {"task_id": "t"}
    assert {request.headers["idempotency-key"] for request in server.asked} == {"k"}
    assert all(b"all of it" in request.content for request in server.asked)


async def test_a_server_that_stays_busy_is_given_up() -> None:
    server = Server(*[busy() for _ in range(5)])
    async with Client(NEAR, None, transport=server) as client:
        with pytest.raises(ServerError):
            await client.post("/x", {})
    assert len(server.asked) == 5


async def test_a_broken_event_stream_is_taken_up_where_it_broke() -> None:
    first = httpx2.Response(
        200,
        headers={"content-type": "text/event-stream"},
        stream=Cut(b'retry: 1000\n\nid: 1\ndata: {"n": 1}\n\nid: 2\ndata: {"n"'),
    )
    server = Server(first, stream('id: 2\ndata: {"n": 2}\n\n'))
    async with Client(NEAR, None, transport=server) as client:
        seen = [event["n"] async for event in client.events("t")]
    assert seen == [1, 2]
    assert "last-event-id" not in server.asked[0].headers
    assert server.asked[1].headers["last-event-id"] == "1"


async def test_events_of_an_unknown_task_are_the_servers_error() -> None:
    server = Server(httpx2.Response(404, json={"code": "not_found", "detail": "There is no task t."}))
    async with Client(NEAR, None, transport=server) as client:
        with pytest.raises(ServerError) as raised:
            _ = [event async for event in client.events("t")]
    assert raised.value.code == "not_found"


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with Client(NEAR, None, transport=Server(httpx2.ConnectError("refused"))) as client:
        with pytest.raises(Unavailable) as raised:
            await client.get("/health/live")
    assert raised.value.code == "server_unreachable"


@pytest.mark.parametrize("key", ["mrg_a\nX-Other: 1", "mrg_a b", "mrg_é", "mrg_a\x00"])
def test_what_is_no_key_is_sent_nowhere_and_not_repeated(key: str) -> None:
    with pytest.raises(MoragError) as raised:
        Client(NEAR, key)
    assert "MORAG_API_KEY" in raised.value.message
    assert key not in f"{raised.value.message}{raised.value.hint}"
