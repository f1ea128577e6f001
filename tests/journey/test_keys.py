"""Alice and Bob on one server, each with a key: what is one's is not there for the other, and a revoked key is none."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.redis_server import RedisServer

from morag.bootstrap.users import opened_keys
from morag.settings import Settings

pytestmark = pytest.mark.xdist_group("keys")

Json = dict[str, Any]
StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]

WITHIN_S = 1.0
"""How soon a revoked key is refused everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A server, the variables of the store it works on, and an admin's key."""

    address: str
    variables: dict[str, str]
    admin_key: str = field(repr=False)

    def client(self, key: str) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx2.Client(base_url=self.address, headers=headers, timeout=60, trust_env=False)

    def key(self, user: str, *scopes: str) -> Json:
        """A new key, as an admin is told it."""
        with self.client(self.admin_key) as admin:
            answer = admin.post("/api/v1/auth/keys", json={"user_id": user, "scopes": scopes or ["submit"]})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def revoke(self, key_id: str) -> None:
        with self.client(self.admin_key) as admin:
            assert admin.delete(f"/api/v1/auth/keys/{key_id}").status_code == 204


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
    return subprocess.run(
        [sys.executable, "-m", "morag", *words],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def morag(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    done = run(*words, **variables)
    assert done.returncode == 0, done.stderr
    return done


def place_of(address: str, **variables: str) -> Place:
    made = morag("keys", "create", "--user", "root", "--scope", "admin", **variables)
    return Place(address=address, variables=variables, admin_key=made.stdout.strip())


@pytest.fixture(scope="module")
def place(start_server: StartServer, site: str, tmp_path_factory: pytest.TempPathFactory) -> Place:
    variables = {"MORAG_DATA_DIR": str(tmp_path_factory.mktemp("keys") / "data")}
    address, _ = start_server(MORAG_FETCH_ALLOW=site.removeprefix("http://"), **variables)
    return place_of(address, **variables)


@pytest.fixture(scope="module")
def alice(place: Place) -> Iterator[httpx2.Client]:
    with place.client(place.key("alice")["key"]) as client:
        yield client


@pytest.fixture(scope="module")
def bob(place: Place) -> Iterator[httpx2.Client]:
    with place.client(place.key("bob")["key"]) as client:
        yield client


def ended(client: httpx2.Client, task_id: str) -> Json:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        status = client.get(f"/api/v1/status/{task_id}").json()
        if status["completed_at"]:
            return status
        time.sleep(0.02)
    raise AssertionError(f"{task_id} did not end")


def ingest(client: httpx2.Client, text: str, *, headers: dict[str, str] | None = None, **fields: str) -> str:
    files = {"file": ("note.md", text.encode())}
    answer = client.post("/api/v1/ingest/file", files=files, data=fields, headers=headers or {})
    assert answer.status_code == 202, answer.text
    return answer.json()["task_id"]


@pytest.fixture(scope="module")
def task_id(alice: httpx2.Client) -> str:
    """Alice's task, that stored her document `diary`."""
    task_id = ingest(alice, "# Diary\n\nThe keeper wrote about the storm petrel.", document_id="diary")
    assert ended(alice, task_id)["status"] == "completed"
    return task_id


FOREIGN = [
    ("GET", "/api/v1/status/{task}"),
    ("GET", "/api/v1/status/{task}/history"),
    ("GET", "/api/v1/status/{task}/events"),
    ("GET", "/api/tasks/{task}/status"),
    ("POST", "/api/tasks/{task}/cancel"),
    ("DELETE", "/api/v1/ingest/{task}"),
    ("GET", "/api/v1/documents/{document}"),
    ("GET", "/api/v1/documents/{document}/markdown"),
    ("DELETE", "/api/v1/documents/{document}"),
]


@pytest.mark.parametrize(("method", "path"), FOREIGN)
def test_what_is_anothers_is_answered_as_what_is_not_there(
    alice: httpx2.Client, bob: httpx2.Client, task_id: str, method: str, path: str
) -> None:
    same = {"X-Request-Id": "same"}
    missing_id = f"{task_id[:-4]}0000"
    foreign = bob.request(method, path.format(task=task_id, document="diary"), headers=same)
    missing = bob.request(method, path.format(task=missing_id, document="dairy"), headers=same)
    assert foreign.status_code == missing.status_code == 404
    assert foreign.text.replace(task_id, "ID").replace("diary", "ID") == missing.text.replace(missing_id, "ID").replace(
        "dairy", "ID"
    )
    assert alice.get("/api/v1/documents/diary").status_code == 200


def test_lists_counts_and_search_know_only_ones_own(place: Place, alice: httpx2.Client, task_id: str) -> None:
    assert task_id in alice.get("/api/v1/status/").text
    with place.client(place.key("carol")["key"]) as carol:
        assert task_id not in carol.get("/api/v1/status/").text
        assert carol.get("/api/v1/documents").json()["documents"] == []
        _search_finds_only_ones_own(alice, carol)


def _search_finds_only_ones_own(alice: httpx2.Client, bob: httpx2.Client) -> None:
    for filters in ({}, {"document_id": "diary"}, {"content_type": "document"}):
        for mode in ("hybrid", "dense", "keyword"):
            query = {"query": "storm petrel", "mode": mode, "filters": filters}
            assert bob.post("/search", json=query).json()["hits"] == []
            assert alice.post("/api/v1/search", json=query).json()["hits"]


def test_the_same_id_and_content_are_two_documents_of_two_users(alice: httpx2.Client, bob: httpx2.Client) -> None:
    text = "# Gulls\n\nBoth of them saw the same gull."
    first, second = (ended(each, ingest(each, text)) for each in (alice, bob))
    assert "duplicate_of" not in second["result"]
    assert first["result"]["chunks_stored"] == second["result"]["chunks_stored"] == 1
    for each in (alice, bob):
        assert ended(each, ingest(each, text, document_id="gulls", replace_existing="true"))["status"] == "completed"
    assert bob.delete("/api/v1/documents/gulls").status_code == 204
    assert alice.get("/api/v1/documents/gulls").status_code == 200


def test_the_same_idempotency_key_is_two_tasks_of_two_users(alice: httpx2.Client, bob: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "monday"}
    hers = ingest(alice, "Alice's monday.", headers=headers)
    his = ingest(bob, "Bob's monday.", headers=headers)
    assert hers != his
    assert ingest(alice, "Alice's monday.", headers=headers) == hers


def test_batch_is_ones_own(alice: httpx2.Client, bob: httpx2.Client, site: str) -> None:
    answer = alice.post("/api/v1/ingest/batch", json={"items": [{"url": f"{site}/one"}, {"url": f"{site}/two"}]})
    batch = answer.json()
    for task_id in batch["task_ids"]:
        assert bob.get(f"/api/v1/status/{task_id}").status_code == 404
    assert batch["batch_id"] not in bob.get("/api/v1/status/").text
    assert [ended(alice, task_id)["status"] for task_id in batch["task_ids"]] == ["completed", "completed"]


@pytest.mark.parametrize("scope", ["worker", "admin"])
def test_keys_of_other_scopes_submit_search_and_read_nothing(place: Place, task_id: str, scope: str) -> None:
    with place.client(place.key("alice", scope)["key"]) as client:
        asked = [
            client.post("/process/file", files={"file": ("a.txt", b"x")}),
            client.post("/api/v1/ingest/file", files={"file": ("a.txt", b"x")}),
            client.post("/search", json={"query": "storm"}),
            client.get(f"/api/v1/status/{task_id}"),
            client.get("/api/v1/status/"),
            client.get("/api/v1/documents/diary/markdown"),
            client.delete("/api/v1/documents/diary"),
        ]
        assert [answer.status_code for answer in asked] == [403] * len(asked)
        assert client.get("/api/v1/auth/me").json()["scopes"] == [scope]


def test_nobody_is_anonymous_once_there_are_keys(place: Place, alice: httpx2.Client) -> None:
    assert alice.get("/api/v1/auth/me").json()["user_id"] == "alice"
    with httpx2.Client(base_url=place.address, trust_env=False) as nobody:
        assert nobody.get("/api/v1/documents").status_code == 401
        assert nobody.get("/health/ready").status_code == 200
        assert nobody.get("/metrics").status_code == 200


def until_refused_s(client: httpx2.Client, began: float) -> float:
    """When the client is no longer let in."""
    while client.get("/api/v1/auth/me").status_code != 401:
        assert time.monotonic() - began < 5
    return time.monotonic() - began


def test_key_revoked_in_the_store_is_refused_within_a_second(place: Place) -> None:
    made = place.key("carol")
    settings = Settings.model_validate({"data_dir": place.variables["MORAG_DATA_DIR"]})

    async def revoke(client: httpx2.Client) -> float:
        async with opened_keys(settings) as keys:
            assert client.get("/api/v1/auth/me").status_code == 200
            began = time.monotonic()
            await keys.revoke_api_key(made["key_id"])
        return began

    with place.client(made["key"]) as client:
        assert until_refused_s(client, asyncio.run(revoke(client))) < WITHIN_S


def test_key_revoked_from_the_command_line_is_refused(place: Place) -> None:
    made = place.key("carol")
    with place.client(made["key"]) as client:
        assert client.get("/api/v1/auth/me").status_code == 200
        assert made["key_id"] in morag("keys", "revoke", made["key_id"], **place.variables).stdout
        assert until_refused_s(client, time.monotonic()) < WITHIN_S


def test_key_revoked_over_http_is_refused_at_once(place: Place) -> None:
    made = place.key("carol")
    with place.client(made["key"]) as client:
        assert client.get("/api/v1/auth/me").status_code == 200
        place.revoke(made["key_id"])
        assert client.get("/api/v1/auth/me").status_code == 401


def test_listener_loses_a_revoked_key(place: Place, site: str) -> None:
    made = place.key("carol")
    with place.client(made["key"]) as client:
        task_id = client.post("/api/v1/ingest/url", json={"url": f"{site}/slow/sse"}).json()["task_id"]
        with client.stream("GET", f"/api/v1/status/{task_id}/events") as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("retry")
            began = time.monotonic()
            place.revoke(made["key_id"])
            assert not any("completed" in line for line in lines)
        assert time.monotonic() - began < 1 + WITHIN_S
        assert client.get(f"/api/v1/status/{task_id}/events").status_code == 401


def test_who_waits_loses_a_revoked_key_and_the_task_goes_with_them(place: Place, site: str) -> None:
    made, other = place.key("dora"), place.key("dora")
    answers: list[tuple[int, float]] = []
    with place.client(made["key"]) as client, place.client(other["key"]) as second:

        def convert() -> None:
            status = client.post("/process/url", json={"url": f"{site}/slow/wait"}).status_code
            answers.append((status, time.monotonic()))

        waiting = threading.Thread(target=convert)
        waiting.start()
        until = time.monotonic() + 10
        while not (tasks := second.get("/api/v1/status/").json()["tasks"]):
            assert time.monotonic() < until
        began = time.monotonic()
        place.revoke(made["key_id"])
        waiting.join()
        ((status, at),) = answers
        assert status == 401
        assert at - began < 1 + WITHIN_S
        assert ended(second, tasks[0]["task_id"])["status"] == "cancelled"


def test_keys_are_listed_without_themselves(place: Place) -> None:
    made = place.key("erin")
    listed = morag("keys", "list", "--user", "erin", "--json", **place.variables).stdout
    assert [key["key_id"] for key in json.loads(listed)["keys"]] == [made["key_id"]]
    shown = morag("keys", "list", **place.variables).stdout
    assert made["key_id"] in shown
    assert "mrg_" not in f"{listed}{shown}"


def test_rotation_prints_a_second_live_key(place: Place) -> None:
    old = place.key("frank")
    told = morag("keys", "rotate", old["key_id"], **place.variables)
    new = told.stdout.strip()
    assert re.fullmatch(r"mrg_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", new)
    assert "24 hours" in told.stderr
    for key in (old["key"], new):
        with place.client(key) as client:
            assert client.get("/api/v1/auth/me").json()["user_id"] == "frank"


def test_commands_present_the_key_of_the_environment(place: Place, task_id: str) -> None:
    key = place.key("alice")["key"]
    at = {"MORAG_SERVER_URL": place.address}
    listed = run("status", "--json", MORAG_API_KEY=key, **at)
    assert listed.returncode == 0, listed.stderr
    assert task_id in listed.stdout
    for wrong in ("", "mrg_nonsense", f"{key[:-1]}!"):
        refused = run("search", "storm petrel", MORAG_API_KEY=wrong, **at)
        assert refused.returncode == 1
        assert "MORAG_API_KEY" in refused.stderr
        assert "mrg_" not in refused.stderr
    forbidden = run("search", "storm petrel", MORAG_API_KEY=place.admin_key, **at)
    assert forbidden.returncode == 1
    assert "submit" in forbidden.stderr
    assert "forbidden" in forbidden.stderr


def test_no_key_is_in_any_log(place: Place, alice: httpx2.Client, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert alice.get("/api/v1/auth/me", headers={"X-API-Key": "mrg_x_wrong"}).status_code == 401
    logs = [path for path in tmp_path_factory.getbasetemp().glob("server*/log") if path.stat().st_size]
    assert logs
    for path in logs:
        assert "mrg_" not in path.read_text()
    data = Path(place.variables["MORAG_DATA_DIR"])
    for path in data.glob("morag.db*"):
        assert b"mrg_" not in path.read_bytes()


def test_first_start_for_others_says_how_to_make_a_key(tmp_path: Path) -> None:
    variables = {"MORAG_DATA_DIR": str(tmp_path / "data"), "MORAG_HOST": "0.0.0.0", "MORAG_WORKERS": "1"}  # noqa: S104
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
    words = [sys.executable, "-m", "morag", "serve", "--port", "0"]
    environment = {**kept, **variables}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        try:
            assert server.stdout
            ready = next(line for line in server.stdout if "ready at" in line)
            told = (tmp_path / "log").read_text()
            assert f"MORAG_DATA_DIR={tmp_path}/data morag keys create" in told
            address = re.findall(r"http://[^\s)]+", ready)[0].replace("localhost", "127.0.0.1")
            with httpx2.Client(base_url=address, trust_env=False) as nobody:
                assert nobody.get("/api/v1/documents").status_code == 401
            place = place_of(address, **variables)
            with place.client(place.key("alice")["key"]) as client:
                assert client.get("/api/v1/documents").status_code == 200
        finally:
            server.terminate()
    listed = json.loads(morag("keys", "list", "--json", **variables).stdout)["keys"]
    assert [key["user_id"] for key in listed if key["last_used_at"]] == ["alice", "root"]


def test_two_servers_with_their_keys_in_redis(
    redis: RedisServer, start_server: StartServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    redis.empty()
    variables = {"REDIS_URL": redis.url, "MORAG_KEY_STORE": "redis"}
    folders = [str(tmp_path_factory.mktemp("redis") / "data") for _ in range(2)]
    first, second = (start_server(MORAG_DATA_DIR=folder, **variables)[0] for folder in folders)
    place = place_of(first, **variables)
    made = place.key("alice")
    with httpx2.Client(base_url=second, headers={"X-API-Key": made["key"]}, trust_env=False) as client:
        assert client.get("/api/v1/auth/me").json()["user_id"] == "alice"
        began = time.monotonic()
        place.revoke(made["key_id"])
        assert until_refused_s(client, began) < WITHIN_S
