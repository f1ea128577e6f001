from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest

from morag.api.app import create_app
from morag.control.auth import APIKeyService
from morag.domain.limits import Limits
from morag.settings import Settings
from morag.storage.host import SystemClock
from morag.storage.memory.keys import MemoryKeyStore

Ask = Callable[..., httpx2.Response]

INSIDE = 404
"""What a request for an unknown address is answered with once it is let in."""


async def no_limits(_user_id: str) -> Limits:
    return Limits()


UNLIMITED = SimpleNamespace(limits=no_limits)


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., "httpx2.AsyncClient"]:
    """A client of an application with these settings, calling from an address."""

    def make(
        *, peer: str = "127.0.0.1", base_url: str = "http://localhost:8000", **settings: object
    ) -> httpx2.AsyncClient:
        app = create_app(Settings.model_validate({"data_dir": tmp_path, **settings}))
        app.state.system = SimpleNamespace(keys=APIKeyService(MemoryKeyStore(), SystemClock()), store=UNLIMITED)
        transport = httpx2.ASGITransport(app, client=(peer, 4711))
        return httpx2.AsyncClient(transport=transport, base_url=base_url)

    return make


Make = Callable[..., httpx2.AsyncClient]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer mrg_x_y"},
        {"Authorization": "ApiKey mrg_x_y"},
        {"Authorization": ""},
        {"X-API-Key": "mrg_x_y"},
    ],
)
@pytest.mark.parametrize("allow_anonymous", [None, True, False])
async def test_presented_key_is_never_passed_over(
    ask: Make, headers: dict[str, str], *, allow_anonymous: bool | None
) -> None:
    async with ask(allow_anonymous=allow_anonymous) as client:
        answer = await client.get("/x", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "unauthorized"


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]", "[::1]:8000", "LOCALHOST"])
async def test_this_machine_is_anonymous(ask: Make, host: str) -> None:
    async with ask() as client:
        assert (await client.get("/x", headers={"Host": host})).status_code == INSIDE


@pytest.mark.parametrize(
    "headers",
    [
        {"Forwarded": "for=1.2.3.4"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Proto": "https"},
        {"x-forwarded-foo": ""},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
    ],
)
async def test_forwarded_request_is_not_anonymous_unless_anyone_is(ask: Make, headers: dict[str, str]) -> None:
    async with ask() as client:
        assert (await client.get("/x", headers=headers)).status_code == 401
    async with ask(allow_anonymous=True) as client:
        assert (await client.get("/x", headers=headers)).status_code == INSIDE


PROXIED = {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost", "X-Forwarded-Proto": "https"}


async def test_request_through_a_trusted_proxy_is_never_anonymous_by_being_local(ask: Make) -> None:
    async with ask(trusted_proxies="127.0.0.1, 10.0.0.0/8") as client:
        assert (await client.get("/x", headers=PROXIED)).status_code == 401
        assert (await client.get("/x")).status_code == 401
    async with ask(trusted_proxies="10.0.0.0/8") as client:
        assert (await client.get("/x")).status_code == INSIDE


async def test_trusted_proxys_host_is_the_one_that_counts(ask: Make) -> None:
    settings = {"allowed_hosts": "morag.example", "allow_anonymous": True}
    told = {"Host": "internal", "X-Forwarded-Host": "morag.example"}
    for trusted, status in (("10.0.0.1", INSIDE), ("10.0.0.2", 421)):
        async with ask(peer="10.0.0.1", trusted_proxies=trusted, **settings) as client:
            assert (await client.post("/x", headers=told)).status_code == status
            own = await client.post("/x", headers={**told, "Origin": "https://morag.example"})
            assert own.status_code == status


@pytest.mark.parametrize("bad", ["proxy.example", "10.0.0.0/99", "*"])
def test_proxies_are_named_by_address(bad: str) -> None:
    with pytest.raises(ValueError, match="name addresses or networks"):
        Settings.model_validate({"trusted_proxies": bad})


async def test_other_machine_is_not_anonymous_unless_anyone_is(ask: Make) -> None:
    async with ask(peer="192.168.1.7") as client:
        assert (await client.get("/x")).status_code == 401
    async with ask(peer="192.168.1.7", allow_anonymous=True) as client:
        assert (await client.get("/x")).status_code == INSIDE


async def test_server_on_another_address_takes_nobody_without_a_key(ask: Make) -> None:
    async with ask(host="0.0.0.0") as client:  # noqa: S104 - nothing is bound
        assert (await client.get("/x")).status_code == 401


async def test_nobody_is_anonymous_where_that_is_forbidden(ask: Make) -> None:
    async with ask(allow_anonymous=False) as client:
        assert (await client.get("/x")).status_code == 401


@pytest.mark.parametrize("path", ["/health/live", "/docs", "/openapi.json"])
async def test_open_addresses_need_no_key_and_mind_none(ask: Make, path: str) -> None:
    async with ask(allow_anonymous=False) as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.get(path, headers={"X-API-Key": "wrong"})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "[::1]x.example"])
async def test_foreign_host_is_misdirected(ask: Make, host: str) -> None:
    async with ask() as client:
        answer = await client.get("/health/live", headers={"Host": host})
    assert answer.status_code == 421


async def test_allowed_hosts_are_those_that_are_named(ask: Make) -> None:
    async with ask(allowed_hosts="Morag.example, other.example", host="10.0.0.1", allow_anonymous=True) as client:
        for host, status in (("morag.example:443", INSIDE), ("other.example", INSIDE), ("localhost", 421)):
            assert (await client.get("/x", headers={"Host": host})).status_code == status


async def test_any_host_is_answered_where_others_can_reach_the_server(ask: Make) -> None:
    async with ask(host="10.0.0.1", allow_anonymous=True) as client:
        assert (await client.get("/x", headers={"Host": "anything.example"})).status_code == INSIDE


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://localhost:8000"}, INSIDE),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Origin": "http://localhost:notaport"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8000"}, INSIDE),
        ({"Sec-Fetch-Site": "none"}, INSIDE),
    ],
)
async def test_writes_are_taken_from_own_pages_only(ask: Make, headers: dict[str, str], status: int) -> None:
    async with ask() as client:
        for method in ("POST", "DELETE", "PUT", "PATCH"):
            assert (await client.request(method, "/x", headers=headers)).status_code == status
        assert (await client.get("/x", headers=headers)).status_code == INSIDE


async def test_default_ports_are_the_same_origin(ask: Make) -> None:
    async with ask() as client:
        headers = {"Host": "localhost:80", "Origin": "http://localhost"}
        assert (await client.post("/x", headers=headers)).status_code == INSIDE


async def test_request_id_is_taken_or_made(ask: Make) -> None:
    async with ask() as client:
        taken = await client.get("/x", headers={"X-Request-Id": "abc-123.D:e"})
        made = await client.get("/x")
        refused = [await client.get("/x", headers={"X-Request-Id": bad}) for bad in ("a b", "x" * 129, '"')]
    assert taken.headers["x-request-id"] == taken.json()["request_id"] == "abc-123.D:e"
    assert len(made.headers["x-request-id"]) == 32
    assert all(len(answer.headers["x-request-id"]) == 32 for answer in refused)


async def test_traceparent_is_returned_if_it_is_one(ask: Make) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with ask() as client:
        assert (await client.get("/x", headers={"traceparent": trace})).headers["traceparent"] == trace
        assert "traceparent" not in (await client.get("/x", headers={"traceparent": "nonsense"})).headers


async def test_bug_is_a_problem_without_details(ask: Make) -> None:
    async with ask() as client:
        answer = await client.get("/api/v1/documents")  # the application was never started: its system has keys alone
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal_error"
    assert "system" not in answer.json()["detail"]


async def test_every_operation_is_described_with_its_problem(ask: Make) -> None:
    async with ask() as client:
        document = (await client.get("/openapi.json")).json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all("application/problem+json" in operation["responses"]["default"]["content"] for operation in operations)
    assert all(operation.get("description") for operation in operations)
    form = document["paths"]["/api/v1/ingest/file"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "metadata", "document_id", "chunk_size"} <= set(form["properties"])


async def test_every_reference_of_the_description_leads_somewhere(ask: Make) -> None:
    async with ask() as client:
        answer = await client.get("/openapi.json")
    named = answer.json()["components"]["schemas"]
    found = [part.partition('"')[0] for part in answer.text.split('"$ref":"#/components/schemas/')[1:]]
    assert found
    assert set(found) <= set(named)
