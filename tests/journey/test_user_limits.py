"""What one user may ask, send and store: kept by the server, set and shown by `morag users` beside it."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from tests.journey.isolation.place import make_keys, told

StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]
Json = dict[str, Any]

WITHIN_S = 1.5
"""How soon limits count that were set beside a server."""


@dataclass(slots=True)
class Place:
    """A server that allows each user little, and its store."""

    data_dir: str
    clients: dict[str, httpx2.Client] = field(default_factory=dict[str, httpx2.Client])

    def users(self, *words: str, status: int = 0) -> str:
        """Run `morag users`: what it answers, or says if it is to fail."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
        done = subprocess.run(
            [sys.executable, "-m", "morag", "users", *words],
            env={**kept, "MORAG_DATA_DIR": self.data_dir},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    def listed(self, user_id: str) -> Json:
        (found,) = [user for user in json.loads(self.users("--json"))["users"] if user["user_id"] == user_id]
        return found


@pytest.fixture(scope="module")
def place(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data_dir = str(tmp_path_factory.mktemp("limits") / "data")
    address, _ = start_server(
        MORAG_DATA_DIR=data_dir,
        MORAG_WORKERS="0",
        MORAG_USER_QUEUED="3",
        MORAG_USER_UPLOAD_BYTES="2000",
        MORAG_USER_REQUESTS_PER_MINUTE="600",
    )
    made = Place(data_dir)
    for name, key in make_keys(data_dir).items():
        headers = {"Authorization": f"Bearer {key}"}
        made.clients[name] = httpx2.Client(base_url=address, headers=headers, timeout=30, trust_env=False)
    yield made
    for client in made.clients.values():
        client.close()


def convert(client: httpx2.Client) -> httpx2.Response:
    """Ask for a conversion, which will not begin: nobody works here."""
    files = {"file": ("a.md", uuid.uuid4().hex.encode())}
    return client.post("/process/file", files=files, headers={"Prefer": "wait=0"})


def test_answers_tell_what_is_left(place: Place) -> None:
    answer = place.clients["alice"].get("/api/v1/auth/me")
    assert answer.headers["RateLimit-Policy"] == '"requests";q=600;w=60'
    name, left, _ = answer.headers["RateLimit"].split(";")
    assert name == '"requests"'
    assert 0 < int(left.removeprefix("r=")) < 600
    assert "RateLimit" not in place.clients["alice"].get("/health/live").headers


def test_queue_of_a_user_is_full_for_that_user_alone(place: Place) -> None:
    answers = [convert(place.clients["alice"]) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    refused = answers[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert (refused.json()["code"], refused.headers["Retry-After"]) == ("limit_reached", "5")
    assert '"limit_reached";r=0;t=5' in refused.headers["RateLimit"]
    assert '"requests";r=' in refused.headers["RateLimit"]
    assert convert(place.clients["bob"]).status_code == 202
    shown = place.listed("alice")
    assert (shown["queued"], shown["limits"]["queued"]) == (3, 3)
    # the file of each that waits counts
    assert shown["stored_bytes"] == 3 * 32


def test_file_larger_than_a_user_may_send_is_refused(place: Place) -> None:
    refused = place.clients["bob"].post("/process/file", files={"file": ("a.md", b"x" * 2001)})
    assert refused.status_code == 413, refused.text
    assert refused.json()["detail"] == "The file is larger than 2.0 kB."


def test_limits_of_one_are_set_beside_the_server(place: Place) -> None:
    client = place.clients["admin"]
    assert client.get("/api/v1/auth/me").headers["RateLimit-Policy"] == '"requests";q=600;w=60'
    said = place.users("limit", "root", "--requests-per-minute", "2", "--weight", "2")
    assert "requests_per_minute 2" in said
    until = time.monotonic() + WITHIN_S
    while (answer := client.get("/api/v1/auth/me")).status_code == 200:
        assert time.monotonic() < until
    assert answer.status_code == 429
    assert answer.json()["code"] == "too_many_requests"
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert answer.headers["RateLimit"].startswith('"too_many_requests";r=0;t=')
    assert place.clients["bob"].get("/api/v1/auth/me").status_code == 200
    limits = place.listed("root")["limits"]
    assert (limits["requests_per_minute"], limits["weight"], limits["queued"]) == (2, 2.0, 3)
    assert "queued 3" in place.users("unlimit", "root")
    until = time.monotonic() + WITHIN_S
    while (answer := client.get("/api/v1/auth/me")).headers.get("RateLimit-Policy") != '"requests";q=600;w=60':
        assert time.monotonic() < until
        time.sleep(0.05)
    assert place.listed("root")["limits"]["weight"] == 1.0


def test_users_are_listed_with_keys_use_and_limits(place: Place) -> None:
    told(place.clients["alice"].get("/api/v1/auth/me"))
    listed = {user["user_id"]: user for user in json.loads(place.users("--json"))["users"]}
    assert {"alice", "bob", "root"} <= set(listed)
    assert listed["bob"]["keys"] == 1
    assert listed["alice"]["keys"] == 4
    head, *lines = place.users().splitlines()
    assert head.split()[:4] == ["USER", "KEYS", "RUNNING", "QUEUED"]
    assert [line.split()[0] for line in lines] == sorted(listed)


@pytest.mark.parametrize(
    ("words", "about"),
    [
        (("limit", "alice", "--running", "many"), "--running takes a whole number"),
        (("limit", "alice", "--running", "-1"), "--running takes a whole number"),
        (("limit", "a b", "--running", "1"), "no user id"),
        (("limit", "alice", "--weight", "0"), "weight"),
    ],
)
def test_limits_that_cannot_be_are_refused(place: Place, words: tuple[str, ...], about: str) -> None:
    assert about in place.users(*words, status=1)


def test_limit_is_taken_back_by_name(place: Place) -> None:
    place.users("limit", "dora", "--running", "4", "--queued", "none")
    limits = place.listed("dora")["limits"]
    assert (limits["running"], limits["queued"], limits["upload_bytes"]) == (4, None, 2000)
