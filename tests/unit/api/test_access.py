"""Who is let in, with which key, to what. Keys are in memory; the application was never started."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from morag.api.access import Administrator, Allows, AnyCaller, Submitter, open_to_all, operator
from morag.api.app import create_app
from morag.api.door import is_open
from morag.control.auth import APIKeyService
from morag.domain.errors import Unavailable
from morag.domain.identity import Scope
from morag.domain.keys import ApiKey, key_text
from morag.domain.limits import Limits
from morag.settings import Settings
from morag.storage.host import SystemClock
from morag.storage.memory.keys import MemoryKeyStore

UNKNOWN = key_text("zzzzzzzzzzzz", "s" * 43)


async def no_limits(_user_id: str) -> Limits:
    return Limits()


UNLIMITED = SimpleNamespace(limits=no_limits)


class AwayStore(MemoryKeyStore):
    async def get(self, key_id: str) -> ApiKey | None:
        raise Unavailable(f"{key_id} cannot be looked up.", hint="Wait.")


@pytest.fixture(scope="module")
def built() -> FastAPI:
    app = create_app(Settings(data_dir=Path("nowhere")))

    @app.get("/for/submit")
    async def submit(caller: Submitter) -> str:
        return caller.user_id

    @app.get("/for/admin")
    async def admin(caller: Administrator) -> str:
        return caller.user_id

    @app.get("/for/any")
    async def anyone(caller: AnyCaller) -> str:
        return caller.user_id

    assert all((submit, admin, anyone))
    return app


@pytest.fixture
def app(built: FastAPI) -> FastAPI:
    built.state.system = SimpleNamespace(keys=APIKeyService(MemoryKeyStore(), SystemClock()), store=UNLIMITED)
    return built


@pytest.fixture
def keys(app: FastAPI) -> APIKeyService:
    return app.state.system.keys


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 4711))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        yield client


def routes(app: FastAPI) -> Iterator[tuple[str, list[Any]]]:
    """Every route, those that are not described too, with its declarations."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        assert isinstance(route, APIRoute), f"{route} is no route that can declare anything"
        assert context.dependant is not None
        yield str(context.path), list(declarations(context.dependant))


def declarations(dependant: Dependant) -> Iterator[Any]:
    for inner in dependant.dependencies:
        if isinstance(inner.call, Allows) or inner.call in {open_to_all, operator}:
            yield inner.call
        yield from declarations(inner)


def test_each_route_declares_once_whom_it_allows(app: FastAPI) -> None:
    found = list(routes(app))
    assert len(found) > 30
    assert [path for path, declared in found if len(declared) != 1] == []


def test_the_door_leaves_open_what_is_declared_so(app: FastAPI) -> None:
    for path, declared in routes(app):
        assert is_open(path.replace("{part}", "x")) == (declared[0] in {open_to_all, operator}), path


def test_keys_are_for_admins_alone(app: FastAPI) -> None:
    found = [declared for path, declared in routes(app) if path.startswith("/api/v1/auth/keys")]
    assert found == [[Allows(frozenset({Scope.ADMIN}))]] * 4


@pytest.mark.parametrize("form", ["Authorization: Bearer {}", "authorization: apikey {}", "X-API-Key: {}"])
async def test_a_key_is_taken_in_each_of_its_forms(client: httpx2.AsyncClient, keys: APIKeyService, form: str) -> None:
    name, _, value = form.format(await keys.create_api_key("ada")).partition(": ")
    answer = await client.get("/for/submit", headers={name: value})
    assert (answer.status_code, answer.json()) == (200, "ada")


async def test_whatever_is_wrong_with_a_key_is_told_alike(client: httpx2.AsyncClient, keys: APIKeyService) -> None:
    revoked, live, other = await keys.issue("ada"), await keys.issue("ada"), await keys.issue("ada")
    expired = await keys.issue("ada", expires_days=1e-12)
    await keys.revoke_api_key(revoked.key.id)
    wrong: list[list[tuple[str, str]]] = [
        [("X-API-Key", "")],
        [("X-API-Key", "mrg_x_y")],
        [("X-API-Key", UNKNOWN)],
        [("X-API-Key", revoked.text)],
        [("X-API-Key", expired.text)],
        [("X-API-Key", f"{live.text}x")],
        [("X-API-Key", f"Bearer {live.text}")],
        [("Authorization", live.text)],
        [("Authorization", f"Basic {live.text}")],
        [("Authorization", "Bearer")],
        [("X-API-Key", live.text), ("X-API-Key", other.text)],
        [("X-API-Key", live.text), ("Authorization", f"Bearer {other.text}")],
        [("X-API-Key", live.text), ("Authorization", "Basic eDp5")],
    ]
    bodies: set[bytes] = set()
    for headers in wrong:
        answer = await client.get("/for/submit", headers=[*headers, ("X-Request-Id", "same")])
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"].startswith("Bearer")
        bodies.add(answer.content)
    assert len(bodies) == 1
    assert b"mrg_" not in bodies.pop()


async def test_the_same_key_twice_is_one_key(client: httpx2.AsyncClient, keys: APIKeyService) -> None:
    text = await keys.create_api_key("ada")
    answer = await client.get("/for/submit", headers={"X-API-Key": text, "Authorization": f"Bearer {text}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [(Scope.SUBMIT, {"submit", "any"}), (Scope.WORKER, {"any"}), (Scope.ADMIN, {"admin", "any"})],
)
async def test_a_key_opens_what_its_scope_is_for(
    client: httpx2.AsyncClient, keys: APIKeyService, scope: Scope, allowed: set[str]
) -> None:
    headers = {"X-API-Key": await keys.create_api_key("ada", scopes={scope})}
    for what in ("submit", "admin", "any"):
        answer = await client.get(f"/for/{what}", headers=headers)
        assert answer.status_code == (200 if what in allowed else 403)
        if what not in allowed:
            assert answer.json()["code"] == "forbidden"


async def test_this_machine_is_anonymous_only_until_a_key_is_made(
    client: httpx2.AsyncClient, keys: APIKeyService
) -> None:
    text = await keys.create_api_key("ada")
    assert (await client.get("/for/submit")).status_code == 401
    assert (await client.get("/for/submit", headers={"X-API-Key": text})).status_code == 200


async def test_anonymous_may_submit_and_nothing_else(client: httpx2.AsyncClient) -> None:
    answers = [await client.get(f"/for/{what}") for what in ("submit", "admin", "any")]
    assert [answer.status_code for answer in answers] == [200, 403, 200]
    assert answers[0].json() == "anonymous"


async def test_a_key_that_ends_is_no_way_back_to_anonymity(client: httpx2.AsyncClient, keys: APIKeyService) -> None:
    issued = await keys.issue("ada")
    await keys.revoke_api_key(issued.key.id)
    assert (await client.get("/for/submit")).status_code == 401


async def test_keys_that_cannot_be_looked_up_are_to_be_tried_later(app: FastAPI, client: httpx2.AsyncClient) -> None:
    app.state.system = SimpleNamespace(keys=APIKeyService(AwayStore(), SystemClock()), store=UNLIMITED)
    answer = await client.get("/for/submit", headers={"X-API-Key": UNKNOWN})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["code"] == "unavailable"


async def test_metrics_with_a_key_are_for_admins(client: httpx2.AsyncClient, keys: APIKeyService) -> None:
    headers = {"X-API-Key": await keys.create_api_key("ada")}
    assert (await client.get("/metrics", headers=headers)).status_code == 403
    assert (await client.get("/metrics", headers={"X-API-Key": UNKNOWN})).status_code == 401


async def test_only_an_admin_makes_keys_and_sees_the_text_once(client: httpx2.AsyncClient, keys: APIKeyService) -> None:
    admin = {"X-API-Key": await keys.create_api_key("root", scopes={Scope.ADMIN})}
    body = {"user_id": "ada", "scopes": ["submit", "worker"], "description": "laptop", "expires_days": 1}
    assert (await client.post("/api/v1/auth/keys", json=body)).status_code == 401
    answer = await client.post("/api/v1/auth/keys", json=body, headers=admin)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    listed = await client.get("/api/v1/auth/keys", params={"user_id": "ada"}, headers=admin)
    assert made["key"] not in listed.text
    assert listed.json()["keys"] == [{name: value for name, value in made.items() if name != "key"}]
    mine = {"X-API-Key": made["key"]}
    told = (await client.get("/api/v1/auth/me", headers=mine)).json()
    assert told == {"user_id": "ada", "scopes": ["submit", "worker"], "key_id": made["key_id"]}
    assert (await client.post("/api/v1/auth/keys", json=body, headers=mine)).status_code == 403
    assert (await client.get("/api/v1/auth/keys", headers=mine)).status_code == 403


async def test_an_admin_replaces_and_revokes_keys(client: httpx2.AsyncClient, keys: APIKeyService) -> None:
    admin = {"X-API-Key": await keys.create_api_key("root", scopes={Scope.ADMIN})}
    old = await keys.issue("ada")
    place = f"/api/v1/auth/keys/{old.key.id}"
    new = (await client.post(f"{place}/rotate", headers=admin)).json()
    for text in (old.text, new["key"]):
        assert (await client.get("/for/submit", headers={"X-API-Key": text})).json() == "ada"
    assert [(await client.delete(place, headers=admin)).status_code for _ in range(2)] == [204, 204]
    assert (await client.get("/for/submit", headers={"X-API-Key": old.text})).status_code == 401
    assert (await client.get("/for/submit", headers={"X-API-Key": new["key"]})).status_code == 200
    assert (await client.post(f"{place}/rotate", headers=admin)).status_code == 409
    unknown = await client.delete(f"/api/v1/auth/keys/{new['key']}", headers=admin)
    assert unknown.status_code == 404
    assert new["key"] not in unknown.text


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"user_id": "a b"},
        {"user_id": "anonymous"},
        {"user_id": "ada", "scopes": []},
        {"user_id": "ada", "scopes": ["root"]},
        {"user_id": "ada", "expires_days": 0},
        {"user_id": "ada", "expires_days": "soon"},
        {"user_id": "ada", "key": "mine"},
    ],
)
async def test_a_key_that_cannot_be_is_refused(
    client: httpx2.AsyncClient, keys: APIKeyService, wrong: dict[str, Any]
) -> None:
    admin = {"X-API-Key": await keys.create_api_key("root", scopes={Scope.ADMIN})}
    answer = await client.post("/api/v1/auth/keys", json=wrong, headers=admin)
    assert answer.status_code in {400, 422}
    assert answer.json()["errors"][0]["field"]
